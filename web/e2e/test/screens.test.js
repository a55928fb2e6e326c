// What people see: pictures of every page, and whether everybody can use them (axe).

import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { after, before, test } from 'node:test'
import { Server } from '../../../tests/interop/lib/server.js'
import { closeBrowser, Person } from '../lib/people.js'

const PICTURES = process.env.E2E_PICTURES ?? fileURLToPath(new URL('../pictures/', import.meta.url))
const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

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

/** What axe finds, in one line per element. */
async function violations (page) {
  await page.waitForTimeout(400) // what fades in has its contrast only then
  // Evaluated, not added as a script: the page's own policy holds for what is added.
  const source = await import('node:fs/promises').then(({ readFile }) => readFile(AXE, 'utf8'))
  await page.evaluate(source)
  return page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
    return violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary.replaceAll('\n', ' ')}`))
  })
}

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
      await viewer.tile('moves').hover()
      await viewer.button('Configure Cursor moves: yours, too')
      await shot(viewer.page, `demo-${view}-configure`)
      assert.deepEqual(await violations(viewer.page), [], 'with a dialog')
      await viewer.button('Done')
      await viewer.menu('More', 'Pull the plug')
      await viewer.page.getByRole('alert').waitFor()
      await shot(viewer.page, `demo-${view}-offline`)
      assert.deepEqual(await violations(viewer.page), [], 'offline')
      await viewer.menu('More', 'Connect again')
      await viewer.settled()
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
