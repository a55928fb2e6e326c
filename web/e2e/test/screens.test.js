// What people see: pictures of every page, and whether everybody can use them (axe).

import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { after, before, test } from 'node:test'
import { Server } from '../../../tests/interop/lib/server.js'
import { atEnd } from '../lib/at-end.js'
import { violations } from '../lib/axe.js'
import { closeBrowser, Person } from '../lib/people.js'

const PICTURES = process.env.E2E_PICTURES ?? fileURLToPath(new URL('../pictures/', import.meta.url))

let server

before(async () => {
  server = await Server.start()
  await mkdir(PICTURES, { recursive: true })
})
after(async () => {
  await closeBrowser()
  await server.stop()
})

const shot = (page, name) => page.screenshot({ path: `${PICTURES}/${name}.png` })

/** What the pages look like for whom. */
const VIEWS = [
  ['light', 'Ada Lovelace', { colorScheme: 'light' }],
  ['dark', 'Dorothy Vaughan', { colorScheme: 'dark' }],
  ['narrow', 'Edsger Dijkstra', { colorScheme: 'light', viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }]
]

/** Two people who are busy with `dashboard` whenever they are told to live for so many steps. */
async function busy (t, dashboard) {
  const bob = await Person.open(t, server.http, dashboard, { name: 'Bob Metcalfe' })
  await bob.settled()
  const cem = await Person.open(t, server.http, dashboard, { name: 'Cem Yilmaz' })
  await cem.settled()
  await bob.tile('moves').click()
  await cem.editor('note').locator('p').first().click()
  await cem.page.keyboard.press('End')
  const live = async steps => {
    for (let step = 0; step < steps; step++) {
      await bob.page.mouse.move(300 + step * 450 / steps, 420 + 60 * Math.sin(step / 7))
      await cem.page.mouse.move(1000 - step * 180 / steps, 600 + 40 * Math.cos(step / 9))
      if (step % 7 < 3) await bob.edit((dashboard, step) => dashboard.preferences.set({ compactMode: step % 2 === 0 }), step)
      await bob.page.waitForTimeout(60)
    }
  }
  return { bob, cem, live }
}

test('the dashboard looks as it should and can be used by everybody', { timeout: 240_000 }, async t => {
  const { cem, live } = await busy(t, 'demo')
  const viewers = []
  for (const [, name, options] of VIEWS) viewers.push(await (await Person.open(t, server.http, 'demo', { name, ...options })).settled())
  await live(180)
  await cem.page.keyboard.type(' Like here.', { delay: 15 })
  for (const [at, [view]] of VIEWS.entries()) {
    await t.test(view, async () => {
      const viewer = viewers[at]
      await viewer.editor('note').getByText('Like here.').waitFor()
      await shot(viewer.page, `demo-${view}`)
      assert.deepEqual(await violations(viewer.page), [])
      await viewer.button('More')
      assert.deepEqual(await violations(viewer.page), [], 'with its menu')
      await viewer.page.keyboard.press('Escape')
      await viewer.button('You and 4 more')
      await shot(viewer.page, `demo-${view}-people`)
      assert.deepEqual(await violations(viewer.page), [], 'with the list of people')
      await viewer.page.keyboard.press('Escape')
      await viewer.button('Actions for Cursor moves: yours, too')
      await viewer.page.getByRole('menuitem', { name: 'Settings' }).click()
      await viewer.page.getByLabel('Title', { exact: true }).waitFor()
      await shot(viewer.page, `demo-${view}-configure`)
      assert.deepEqual(await violations(viewer.page), [], 'with settings')
      await viewer.button('Done')
      await viewer.menu('More', 'Work offline')
      await viewer.page.getByRole('alert').waitFor()
      await shot(viewer.page, `demo-${view}-offline`)
      assert.deepEqual(await violations(viewer.page), [], 'offline')
      await viewer.menu('More', 'Go online')
      await viewer.settled()
    })
  }
})

test('the first minute, the board at work, and home look as they should and can be used by everybody', { timeout: 300_000 }, async t => {
  for (const [view, name, options] of VIEWS) {
    await t.test(view, async t => {
      const own = await Server.start()
      atEnd(t, () => own.stop())
      const ada = await Person.visit(t, `${own.http}/`, { name, viewport: { width: 1440, height: 900 }, ...options })
      const { page } = ada
      await ada.settled()
      await page.locator('.cursor', { hasText: 'Mia (demo)' }).waitFor()
      await ada.tile('note').scrollIntoViewIfNeeded()
      await ada.editor('note').getByText('This board is shared').waitFor()
      await page.evaluate(() => scrollTo(0, 0))
      await shot(page, `first-${view}`)
      assert.deepEqual(await violations(page), [], 'the first minute')
      await ada.button('Close the welcome')
      await ada.head('months').click({ button: 'right' })
      await page.getByRole('menuitem', { name: 'Settings' }).waitFor()
      assert.deepEqual(await violations(page), [], 'with a menu of a widget')
      await page.getByRole('menuitem', { name: 'Settings' }).click()
      await page.getByRole('complementary', { name: 'Chart' }).waitFor()
      await shot(page, `panel-${view}`)
      assert.deepEqual(await violations(page), [], 'with the settings of a widget')
      await page.getByLabel('Comes from').selectOption('push')
      await page.getByText('Waiting for the first value').first().waitFor()
      await shot(page, `push-${view}`)
      assert.deepEqual(await violations(page), [], 'with a command to push')
      await page.keyboard.press('Escape')
      await ada.menu('More', 'Your code')
      await page.getByRole('region', { name: 'command that reads' }).waitFor()
      await shot(page, `code-${view}`)
      assert.deepEqual(await violations(page), [], 'with code')
      await page.keyboard.press('Escape')
      await page.keyboard.press('Control+k')
      await page.getByRole('combobox').waitFor()
      await shot(page, `commands-${view}`)
      assert.deepEqual(await violations(page), [], 'with the commands')
      await page.keyboard.press('Escape')
      await page.keyboard.press('?')
      await page.getByRole('complementary', { name: 'Keyboard shortcuts' }).waitFor()
      assert.deepEqual(await violations(page), [], 'with the shortcuts')
      await page.keyboard.press('Escape')
      await page.goto(`${own.http}/d/default/welcome?tv`)
      await page.locator('header.bar').waitFor({ state: 'hidden' })
      await ada.tile('months').waitFor()
      await page.waitForTimeout(600)
      await shot(page, `tv-${view}`)
      await page.goto(`${own.http}/d/default/nothing`)
      await page.getByText('Put something on this board').waitFor()
      await shot(page, `empty-${view}`)
      assert.deepEqual(await violations(page), [], 'an empty board')
      await page.goto(`${own.http}/?home`)
      await page.locator('.preview span').nth(5).waitFor()
      await shot(page, `home-${view}`)
      assert.deepEqual(await violations(page), [], 'home')
      await ada.button('New')
      await shot(page, `new-${view}`)
      assert.deepEqual(await violations(page), [], 'a new dashboard')
      await page.goto('about:blank')
      await page.goto(`${own.http}/#a/../b`)
      await page.getByRole('heading', { name: 'No dashboard can be called that' }).waitFor()
      assert.deepEqual(await violations(page), [], 'a name that cannot be')
    })
  }
})

test('the inspector shows rooms, members, the document with who changes it, the log, the store and the nodes', { timeout: 240_000 }, async t => {
  const { bob, cem, live } = await busy(t, 'inspected')
  const pages = []
  for (const [, , options] of VIEWS) {
    const { context } = await Person.open(t, server.http, 'elsewhere', { viewport: { width: 1280, height: 1040 }, ...options })
    const page = await context.newPage()
    const problems = []
    page.on('pageerror', error => problems.push(error.stack))
    page.on('console', message => { if (message.type() === 'error') problems.push(message.text()) })
    await page.goto(`${server.http}/inspector`)
    await page.getByPlaceholder('Find a room').fill('spec')
    await page.getByRole('button', { name: 'default/inspected', exact: true }).click()
    await page.getByPlaceholder('Find a room').fill('')
    pages.push({ page, problems })
  }
  await live(120)
  for (const [at, [view]] of VIEWS.entries()) {
    await t.test(view, async () => {
      const { page, problems } = pages[at]
      await page.getByRole('heading', { name: '5 members' }).waitFor()
      await page.getByRole('rowheader', { name: 'Cem Yilmaz' }).first().waitFor()
      await page.getByRole('rowheader', { name: 'shows nothing of itself' }).first().waitFor()
      const company = page.getByRole('region', { name: 'Store and nodes' })
      await company.getByText('takes edits').waitFor()
      await company.getByRole('heading', { name: '1 node' }).waitFor()
      await page.getByRole('treeitem', { name: /widgets/ }).first().waitFor()
      await page.getByRole('region', { name: 'Log' }).getByRole('rowheader', { name: 'Bob Metcalfe' }).first().waitFor()
      await cem.edit((dashboard, x) => dashboard.layout.move('note', { x, y: 20 }), at)
      await bob.edit((dashboard, view) => dashboard.meta.set({ title: `Seen in the inspector, ${view}` }), view)
      await page.getByRole('treeitem', { name: new RegExp(`title.*Seen in the inspector, ${view}.*Bob Metcalfe`) }).last().waitFor()
      await shot(page, `inspector-${view}`)
      await page.locator('.who').first().waitFor({ state: 'detached' }) // what fades has no contrast
      assert.deepEqual(await violations(page), [])
      assert.deepEqual(problems, [])
    })
  }
})
