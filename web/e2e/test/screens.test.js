// What people see: pictures of every page, and whether everybody can use them (axe).

import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { after, before, describe, test } from 'node:test'
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

/** A dashboard with some life in it. */
async function lively (t, dashboard, options) {
  const ada = await Person.open(t, server.http, dashboard, { name: 'Ada Lovelace', ...options })
  await ada.settled()
  const bob = await Person.open(t, server.http, dashboard, { name: 'Bob Metcalfe' })
  await bob.settled()
  const cem = await Person.open(t, server.http, dashboard, { name: 'Cem Yilmaz' })
  await cem.settled()
  await bob.tile('moves').click()
  await cem.editor('note').locator('p').first().click()
  await cem.page.keyboard.press('End')
  await cem.page.keyboard.type(' Like here.', { delay: 15 })
  for (let step = 0; step < 90; step++) {
    await bob.page.mouse.move(300 + step * 5, 420 + 60 * Math.sin(step / 7))
    await cem.page.mouse.move(1000 - step * 2, 600 + 40 * Math.cos(step / 9))
    if (step % 6 === 0) await bob.edit((dashboard, step) => dashboard.preferences.set({ compactMode: step % 12 === 0 }), step)
    await ada.page.waitForTimeout(60)
  }
  return { ada, bob, cem }
}

describe('the dashboard', () => {
  for (const [name, options] of [
    ['demo-light', { colorScheme: 'light' }],
    ['demo-dark', { colorScheme: 'dark' }],
    ['demo-narrow', { colorScheme: 'light', viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }]
  ]) {
    test(`${name}: looks as it should and can be used by everybody`, { timeout: 120_000 }, async t => {
      const { ada } = await lively(t, name, options)
      await shot(ada.page, name)
      assert.deepEqual(await violations(ada.page), [])
      await ada.button('More')
      assert.deepEqual(await violations(ada.page), [], 'with its menu')
      await ada.page.keyboard.press('Escape')
      await ada.button('You and 2 more')
      await shot(ada.page, `${name}-people`)
      assert.deepEqual(await violations(ada.page), [], 'with the list of people')
      await ada.page.keyboard.press('Escape')
      await ada.tile('moves').hover()
      await ada.button('Configure Cursor moves: yours, too')
      await shot(ada.page, `${name}-configure`)
      assert.deepEqual(await violations(ada.page), [], 'with a dialog')
      await ada.button('Done')
      await ada.menu('More', 'Pull the plug')
      await ada.page.getByRole('alert').waitFor()
      assert.deepEqual(await violations(ada.page), [], 'offline')
    })
  }
})

describe('the inspector', () => {
  for (const [name, options] of [
    ['inspector-light', { colorScheme: 'light' }],
    ['inspector-dark', { colorScheme: 'dark' }],
    ['inspector-narrow', { colorScheme: 'light', viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }]
  ]) {
    test(`${name}: shows rooms, members, the document with who changes it, and the log`, { timeout: 120_000 }, async t => {
      const { ada, bob } = await lively(t, name, {})
      const { context } = await Person.open(t, server.http, `other-${name}`, options)
      const page = await context.newPage()
      const problems = []
      page.on('pageerror', error => problems.push(error.stack))
      page.on('console', message => { if (message.type() === 'error') problems.push(message.text()) })
      await page.goto(`${server.http}/inspector`)
      await page.getByPlaceholder('Find a room').fill(name)
      await page.getByRole('button', { name: `default/${name}`, exact: true }).click()
      await page.getByRole('heading', { name: '4 members' }).waitFor()
      await page.getByRole('rowheader', { name: 'Ada Lovelace' }).first().waitFor()
      await page.getByRole('rowheader', { name: 'shows nothing of itself' }).waitFor()
      await page.getByRole('treeitem', { name: /widgets/ }).first().waitFor()
      await bob.edit(dashboard => dashboard.meta.set({ title: 'Seen in the inspector' }))
      await page.getByRole('treeitem', { name: /Seen in the inspector.*Bob Metcalfe/ }).last().waitFor()
      await page.getByRole('region', { name: 'Log' }).getByRole('rowheader', { name: 'Bob Metcalfe' }).first().waitFor()
      await ada.edit(dashboard => dashboard.layout.move('note', { x: 0, y: 20 }))
      await shot(page, name)
      await page.waitForTimeout(3_000) // what changed has faded
      assert.deepEqual(await violations(page), [])
      assert.deepEqual(problems, [])
    })
  }
})
