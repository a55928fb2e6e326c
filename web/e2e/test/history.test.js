// Looking back from the page: a dashboard as it was, the way back, and a new one made of it.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Server } from '../../../tests/interop/lib/server.js'
import { violations } from '../lib/axe.js'
import { closeBrowser, Person } from '../lib/people.js'
import { eventually } from '../lib/wait.js'

let server

before(async () => { server = await Server.start() })
after(async () => {
  await closeBrowser()
  await server.stop()
})

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

test('a dashboard is shown as it was, while it is edited, and becomes a new one', async t => {
  const ada = await (await Person.open(t, server.http, 'looked-back-at', { name: 'Ada L', begin: 'blank' })).settled()
  await ada.edit(dashboard => dashboard.meta.set({ title: 'As it was' }))
  await ada.settled()
  // Times have whole seconds: nothing is written in this one, nor in the next.
  await sleep(1_100)
  const then = `${new Date().toISOString().slice(0, 19)}Z`
  await sleep(1_100)
  await ada.edit(dashboard => dashboard.meta.set({ title: 'As it is' }))
  await ada.settled()

  const bob = await Person.visit(t, `${server.http}/d/default/@at/${then}/looked-back-at`, { name: 'Bob M' })
  const { page } = bob
  await page.getByRole('heading', { name: 'As it was' }).waitFor({ state: 'attached' })
  await page.getByText(/This is default\/looked-back-at as it was on .*Nothing can be changed here/).waitFor()
  assert.deepEqual(await violations(page), [])
  assert.equal(await page.getByRole('button', { name: 'Add a widget' }).isEnabled().catch(() => false), false)
  await ada.edit(dashboard => dashboard.meta.set({ title: 'As it will be' }))
  await ada.settled()
  assert.equal((await bob.content()).meta.title, 'As it was')

  await bob.button('Make a dashboard of it')
  await page.waitForURL(url => url.pathname === '/d/default/looked-back-at-as-it-was')
  await page.getByRole('heading', { name: 'As it was' }).waitFor({ state: 'attached' })
  await bob.settled()
  await bob.edit(dashboard => dashboard.meta.set({ title: 'A copy' }))
  await bob.settled()
  assert.equal((await ada.content()).meta.title, 'As it will be')
})

test('a version gets a name, is renamed, opens when others look, and is removed', async t => {
  const ada = await (await Person.open(t, server.http, 'named', { name: 'Ada L', begin: 'blank' })).settled()
  const { page } = ada
  await ada.edit(dashboard => dashboard.meta.set({ title: 'As agreed' }))
  await ada.settled()
  await ada.menu('More', 'Version history')
  await page.getByText('None yet.').waitFor()
  await page.getByLabel('Name what is shown now').fill('Q3')
  await ada.button('Keep this version')
  const kept = page.getByRole('list', { name: 'Kept versions' })
  await kept.getByRole('link', { name: /^Q3/ }).waitFor()
  assert.deepEqual(await violations(page), [])
  await kept.getByRole('button', { name: 'Rename Q3' }).click()
  await kept.getByLabel('Name of the version').fill('Q3, final')
  assert.deepEqual(await violations(page), [])
  await kept.getByRole('button', { name: 'Rename' }).click()
  await kept.getByRole('link', { name: /^Q3, final/ }).waitFor()
  await page.emulateMedia({ colorScheme: 'dark' })
  assert.deepEqual(await violations(page), [])
  await page.emulateMedia({ colorScheme: 'light' })
  await ada.edit(dashboard => dashboard.meta.set({ title: 'As it is' }))
  await ada.settled()

  const address = await kept.getByRole('link', { name: /^Q3, final/ }).getAttribute('href')
  const bob = await Person.visit(t, server.http + address, { name: 'Bob M' })
  await bob.page.setViewportSize({ width: 390, height: 800 })
  await bob.page.getByRole('heading', { name: 'As agreed' }).waitFor({ state: 'attached' })
  await bob.page.getByText(/as it was on .*, “Q3, final”\. Nothing can be changed here/).waitFor()
  assert.deepEqual(await violations(bob.page), [])
  await bob.button('Another time')
  await bob.page.getByRole('list', { name: 'Kept versions' }).getByRole('link', { name: /^Q3, final/, current: 'page' }).waitFor()
  assert.equal(await bob.page.getByRole('button', { name: 'Keep this version' }).count(), 0, 'nothing is named above a version')
  assert.deepEqual(await violations(bob.page), [])

  await kept.getByRole('button', { name: 'Remove Q3, final' }).click()
  await ada.button('Remove it')
  await page.getByText('None yet.').waitFor()
})

test('the panel leads to earlier times, and from one that is not kept back to now', async t => {
  const expects = problem => /Permission denied|status of 40[13]/.test(problem)
  const ada = await (await Person.open(t, server.http, 'begun-today', { name: 'Ada L', begin: 'blank', expects })).settled()
  const { page } = ada
  await ada.menu('More', 'Version history')
  await page.getByRole('list', { name: 'Earlier versions' }).waitFor()
  assert.deepEqual(await violations(page), [])
  await page.getByRole('link', { name: '2 hours ago' }).click()
  await page.getByRole('heading', { name: 'This version cannot be shown' }).waitFor()
  await page.getByRole('main').getByRole('link', { name: 'Back to now' }).click()
  await ada.settled()
  await eventually(async () => (await page.evaluate(() => location.pathname)) === '/d/default/begun-today')
})
