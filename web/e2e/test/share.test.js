// Sharing from the page: people with roles, links, invitations; and what those see who came by them.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { after, before, test } from 'node:test'
import { BINARY, Server } from '../../../tests/interop/lib/server.js'
import { atEnd } from '../lib/at-end.js'
import { violations } from '../lib/axe.js'
import { closeBrowser, Person } from '../lib/people.js'
import { eventually } from '../lib/wait.js'

const SECRET = 'a secret that is long enough to sign tokens with'
/** What the provider and the browser say of a refusal. */
const expects = problem => /Permission denied|status of 40[13]/.test(problem)

let server

before(async () => { server = await Server.start({ args: ['--auth-secret', SECRET] }) })
after(async () => {
  await closeBrowser()
  await server.stop()
})

const link = (...args) => execFileSync(BINARY, ['token', '--auth-secret', SECRET, ...args, '--link', '--url', server.http], { encoding: 'utf8' }).trim()

/** Ada, who owns a dashboard that is begun, with what she can share open beside it. */
async function owner (t, dashboard, options = {}) {
  const ada = await Person.visit(t, link('--user', 'ada', '--name', 'Ada Lovelace', '--role', 'owner', '--dashboard', dashboard).replace('#', '?new=sample#'), { expects, ...options })
  await ada.settled()
  await ada.button('Share')
  await ada.page.getByRole('list', { name: 'Links' }).waitFor({ state: 'attached' })
  return ada
}

async function makeLink (ada, label, role) {
  const { page } = ada
  await page.getByLabel('What it is for').fill(label)
  await page.getByLabel('Whoever has it').selectOption(role)
  await page.getByLabel('How long').selectOption('day')
  await ada.button('Make a link')
  const made = page.getByRole('region', { name: 'new link' })
  await page.getByRole('list', { name: 'Links' }).getByText(label).waitFor()
  return made.textContent()
}

test('a link lets somebody in with its role until it is revoked', async t => {
  const ada = await owner(t, 'acme/linked')
  const address = await makeLink(ada, 'For Bob', 'editor')
  assert.match(address, /\/d\/acme\/linked#token=yd_/)
  await ada.page.getByRole('list', { name: 'Links' }).getByText(/can edit, ends in 24 h/).waitFor()

  assert.deepEqual(await violations(ada.page), [])
  const bob = await Person.visit(t, address, { name: 'Bob M', expects })
  await bob.settled()
  assert.equal(await bob.page.evaluate(() => location.hash), '')
  await bob.edit(dashboard => dashboard.meta.set({ title: 'Bob was here' }))
  await ada.page.getByRole('heading', { name: 'Bob was here' }).waitFor({ state: 'attached' })
  await bob.page.reload()
  await bob.settled()
  await bob.button('Share')
  await bob.page.getByText('You can edit this dashboard. Who else may is up to its owners').waitFor()

  await ada.button('Revoke For Bob')
  await bob.page.getByText('You no longer have access to this dashboard').waitFor()
  await eventually(async () => await ada.page.getByRole('list', { name: 'Links' }).locator('li').count() === 0)
})

test('whoever may only look sees at once that it is so, and is let in to edit without a reload', async t => {
  const ada = await owner(t, 'acme/viewed')
  const bob = await Person.visit(t, await makeLink(ada, 'For looking', 'viewer'), { name: 'Bob M', expects })
  await bob.page.getByText('View only', { exact: true }).waitFor()
  await bob.page.getByText('You can view this dashboard, and not change it').waitFor()
  assert.equal(await bob.page.getByRole('button', { name: 'Add a widget' }).count(), 0)
  await ada.page.getByLabel('Anyone, without signing in').selectOption('editor')
  await ada.page.getByText('Anyone, without signing in: can edit').waitFor()
  await bob.page.getByRole('button', { name: 'Add a widget' }).waitFor()
  await ada.page.getByLabel('Anyone, without signing in').selectOption('none')
  await bob.page.getByText('View only', { exact: true }).waitFor()
})

test('people are added, get another role in the middle of their work, and are removed', async t => {
  const ada = await owner(t, 'acme/people')
  const bob = await Person.visit(t, link('--user', 'bob', '--name', 'Bob Metcalfe', '--dashboard', 'acme/people'), { expects })
  await bob.page.getByText('You have no access to this dashboard').waitFor()
  await bob.page.getByText('You are here as Bob Metcalfe').waitFor()
  assert.deepEqual(await violations(bob.page), [])

  await ada.page.getByLabel('User to add').fill('bob')
  await ada.button('Add')
  await ada.page.getByLabel('Role of bob').waitFor()
  await bob.page.reload()
  await bob.settled()
  await bob.page.getByRole('button', { name: 'Add a widget' }).waitFor()

  await ada.page.getByLabel('Role of bob').selectOption('viewer')
  await bob.page.getByText('View only', { exact: true }).waitFor()
  await ada.page.getByLabel('Role of bob').selectOption('editor')
  await bob.page.getByRole('button', { name: 'Add a widget' }).waitFor()
  await ada.button('Remove bob')
  await bob.page.getByText('You no longer have access to this dashboard').waitFor()
})

test('an invitation makes a collaborator of whoever is signed in, once', async t => {
  const ada = await owner(t, 'acme/invited')
  await ada.button('Invite by a link that works once')
  const address = await ada.page.getByRole('region', { name: 'invitation' }).textContent()
  const cem = await Person.visit(t, link('--user', 'cem', '--name', 'Cem Yilmaz', '--dashboard', 'acme/invited'), { expects })
  await cem.page.getByText('You have no access to this dashboard').waitFor()
  await cem.page.goto('about:blank')
  await cem.page.goto(address)
  await cem.page.getByText('You have accepted the invitation').waitFor()
  await cem.settled()
  const dan = await Person.visit(t, link('--user', 'dan', '--dashboard', 'acme/invited'), { expects })
  await dan.page.goto('about:blank')
  await dan.page.goto(address)
  await dan.page.getByText('This invitation has been used').waitFor()
})

test('a link to one dashboard leaves whoever opens it signed in everywhere else', async t => {
  const ada = await owner(t, 'acme/lent')
  const address = await makeLink(ada, 'Lent', 'viewer')
  const bob = await Person.visit(t, link('--user', 'bob', '--name', 'Bob Metcalfe', '--role', 'editor', '--dashboard', 'acme/own'), { expects })
  await bob.settled()
  await bob.page.goto('about:blank')
  await bob.page.goto(address)
  await bob.page.getByText('View only', { exact: true }).waitFor()
  await bob.page.goto(`${server.http}/d/acme/own`)
  await bob.settled()
  await bob.page.getByRole('button', { name: 'Add a widget' }).waitFor()
})

test('a server that asks nobody who they are says that anyone may come', async t => {
  const open = await Server.start()
  atEnd(t, () => open.stop())
  const ada = await Person.open(t, open.http, 'open', { begin: 'sample', name: 'Ada L', expects })
  await ada.settled()
  await ada.button('Share')
  await ada.page.getByText('anyone who can reach it can open this dashboard and change it').waitFor()
  await ada.page.getByRole('img', { name: /^QR code of/ }).waitFor()
})
