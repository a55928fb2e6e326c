// Editing as in the tools that people know: beside the board, by hand, by key, by name; and with a word to whom it concerns.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Server } from '../../../tests/interop/lib/server.js'
import { agreed, closeBrowser, Person } from '../lib/people.js'
import { eventually } from '../lib/wait.js'

let server
let n = 0

before(async () => { server = await Server.start() })
after(async () => {
  await closeBrowser()
  await server.stop()
})

async function on (t, names, options = {}) {
  const dashboard = `editing-${++n}`
  const people = []
  for (const name of names) people.push(await (await Person.open(t, server.http, dashboard, { name, begin: 'sample', ...options })).settled())
  for (const person of people) {
    for (const other of people) if (other !== person) await person.page.getByRole('button', { name: `Follow ${names[people.indexOf(other)]}` }).waitFor()
    await person.page.getByRole('button', { name: 'Close the welcome' }).click()
  }
  return people
}

describe('the panel', () => {
  test('stands beside the board, which stays sharp and as it is used', async t => {
    const [ada, bob] = await on(t, ['Ada L', 'Bob M'])
    await ada.tile('months').hover()
    await ada.button('Configure Revenue and costs')
    const panel = ada.page.getByRole('complementary', { name: 'Chart' })
    await eventually(async () => {
      const [tile, beside] = [await ada.tile('stock').boundingBox(), await panel.boundingBox()]
      return tile.x + tile.width <= beside.x
    })
    assert.equal(await ada.page.locator('.board').evaluate(board => getComputedStyle(board).filter), 'none')
    await panel.getByLabel('Drawn as').selectOption('line')
    await panel.getByLabel('Title', { exact: true }).fill('Money')
    await bob.page.getByRole('article', { name: 'Money' }).waitFor()
    // Others' pointers are seen meanwhile, and another widget can be chosen.
    await bob.tile('best').hover()
    await ada.page.locator('.cursor', { hasText: 'Bob M' }).waitFor()
    await ada.tile('best').hover()
    await ada.button('Configure Best sellers')
    await ada.page.getByRole('complementary', { name: 'Bars' }).waitFor()
    await ada.page.keyboard.press('Escape')
    await ada.page.locator('.panel').waitFor({ state: 'detached' })
    await bob.tile('months').locator('.lock').waitFor({ state: 'detached' })
  })

  test('opens for what was added, with its title to be written; a note is ready to be written itself', async t => {
    const [ada] = await on(t, ['Ada L'])
    await ada.menu('Add a widget', 'Gauge')
    await ada.page.getByRole('complementary', { name: 'Gauge' }).waitFor()
    await ada.page.keyboard.type('Fill level')
    await ada.page.getByRole('article', { name: 'Fill level' }).waitFor()
    await ada.page.keyboard.press('Escape')
    await ada.menu('Add a widget', 'Note')
    await ada.page.getByRole('textbox', { name: 'Note' }).and(ada.page.locator(':focus')).waitFor()
    await ada.page.keyboard.type('At once')
    await ada.page.getByRole('article', { name: 'Note' }).getByText('At once').waitFor()
    await ada.menu('Add a widget', 'Note')
    await ada.page.getByRole('article', { name: 'Note 2' }).waitFor()
  })
})

describe('by hand and by key', () => {
  test('a double click renames, one person at a time', async t => {
    const [ada, bob] = await on(t, ['Ada L', 'Bob M'])
    await ada.head('best').dblclick()
    const title = ada.page.getByLabel('Title of Best sellers')
    await title.waitFor()
    await bob.tile('best').locator('.lock').waitFor()
    await bob.tile('best').click()
    await bob.page.keyboard.press('F2')
    assert.equal(await bob.page.locator('.rename').count(), 0)
    await title.fill('What sells')
    await ada.page.keyboard.press('Enter')
    await bob.page.getByRole('article', { name: 'What sells' }).waitFor()
    await ada.head('best').dblclick()
    await ada.page.keyboard.type('x')
    await ada.page.keyboard.press('Escape')
    assert.equal(await ada.head('best').textContent(), 'What sells')
  })

  test('several are duplicated, copied to another dashboard, and removed at once', async t => {
    const [ada] = await on(t, ['Ada L'])
    await ada.head('orders').click()
    await ada.head('note').click({ modifiers: ['Shift'] })
    assert.equal(await ada.page.locator('[data-selected=true]').count(), 2)
    await ada.page.keyboard.press('Control+d')
    await ada.page.getByRole('article', { name: 'Orders 2' }).waitFor()
    await ada.page.getByRole('article', { name: 'Read me 2' }).getByText('This board is shared').waitFor()
    await ada.page.keyboard.press('Delete')
    await ada.page.getByRole('article', { name: 'Orders 2' }).waitFor({ state: 'detached' })
    await ada.page.getByRole('article', { name: 'Read me 2' }).waitFor({ state: 'detached' })
    await ada.page.getByRole('button', { name: 'Undo' }).last().click()
    await ada.page.getByRole('article', { name: 'Read me 2' }).getByText('This board is shared').waitFor()

    await ada.head('orders').click()
    await ada.head('note').click({ modifiers: ['Shift'] })
    const copied = await ada.page.evaluate(() => {
      const data = new DataTransfer()
      document.body.dispatchEvent(new ClipboardEvent('copy', { clipboardData: data, bubbles: true, cancelable: true }))
      return data.getData('text/plain')
    })
    const bob = await Person.open(t, server.http, `${n}-elsewhere`, { begin: 'blank' })
    await bob.settled()
    await bob.paste(copied)
    await bob.page.getByRole('article', { name: 'Orders' }).getByText('1,902').waitFor()
    await bob.page.getByRole('article', { name: 'Read me' }).getByText('This board is shared').waitFor()
    assert.deepEqual(Object.keys((await bob.content()).tables), ['sales'])
  })

  test('a right click offers what can be done, Ctrl K all of it by name, and ? the keys', async t => {
    const [ada] = await on(t, ['Ada L'])
    await ada.tile('best').click({ button: 'right' })
    await ada.page.getByRole('menuitem', { name: 'Duplicate' }).click()
    await ada.page.getByRole('article', { name: 'Best sellers 2' }).waitFor()
    await ada.page.keyboard.press('Control+k')
    await ada.page.getByRole('combobox', { name: 'Find a command or a widget' }).waitFor()
    await ada.page.keyboard.type('add status')
    await ada.page.keyboard.press('Enter')
    await ada.page.getByRole('complementary', { name: 'Status list' }).waitFor()
    await ada.page.keyboard.press('Escape')
    await ada.page.keyboard.press('Control+k')
    await ada.page.getByRole('combobox', { name: 'Find a command or a widget' }).waitFor()
    await ada.page.keyboard.type('go to tasks')
    await ada.page.keyboard.press('Enter')
    await ada.tile('work').and(ada.page.locator('[data-selected=true]')).waitFor()
    await ada.page.keyboard.press('?')
    await ada.page.getByRole('complementary', { name: 'Keyboard shortcuts' }).waitFor()
    // Gaps that were left are closed, and back again.
    await ada.edit(dashboard => dashboard.layout.move('best', { x: 0, y: 40 }))
    await ada.menu('More', 'Tidy up')
    await ada.page.getByText('Gaps closed').waitFor()
  })

  test('a widget that is resized at the lower edge does not run away', async t => {
    const ada = await Person.open(t, server.http, `editing-${++n}`, { viewport: { width: 1440, height: 900 } })
    await ada.settled()
    const { x, y, width, height } = await ada.tile('edits').boundingBox()
    await ada.page.evaluate(bottom => scrollBy(0, bottom - innerHeight + 40), y + height)
    const before = { ...(await ada.layout()).edits, scroll: await ada.page.evaluate(() => scrollY), page: await ada.page.evaluate(() => document.documentElement.scrollHeight) }
    const grip = await ada.tile('edits').locator('.resize').boundingBox()
    await ada.page.mouse.move(grip.x + 10, grip.y + 10)
    await ada.page.mouse.down()
    await ada.page.mouse.move(grip.x + 12, grip.y + 20, { steps: 4 })
    // As many frames as it once took to run away.
    for (let frame = 0; frame < 60; frame++) await ada.page.evaluate(() => new Promise(requestAnimationFrame))
    await ada.page.mouse.up()
    const rows = (await ada.layout()).edits.h - before.h
    const room = before.page - 900 - before.scroll
    assert.ok(rows <= Math.ceil(room / 58) + 1, `it grew by ${rows} rows, and there was room to scroll for ${room} pixels`)
    void [x, width]
  })

  test('Tab goes where the eye does', async t => {
    const [ada] = await on(t, ['Ada L'])
    const tops = await ada.page.locator('[data-widget]').evaluateAll(tiles => tiles.map(tile => new DOMMatrix(tile.style.transform)).map(({ e, f }) => f * 10_000 + e))
    assert.deepEqual(tops, [...tops].sort((a, b) => a - b))
  })

  test('TV mode shows nothing but the widgets, also by its address', async t => {
    const [ada] = await on(t, ['Ada L'])
    await ada.page.keyboard.press('Shift+f')
    await ada.page.locator('header.bar').waitFor({ state: 'hidden' })
    await ada.page.locator('[data-widget]').first().waitFor()
    assert.match(ada.page.url(), /\?tv$/)
    await ada.page.keyboard.press('Escape')
    await ada.page.locator('header.bar').waitFor()
    await ada.page.goto(`${ada.page.url()}?tv`)
    await ada.page.locator('header.bar').waitFor({ state: 'hidden' })
  })
})

describe('whom it concerns', () => {
  test('hears who removed what, and brings it back as it was', async t => {
    const [ada, bob] = await on(t, ['Ada L', 'Bob M'])
    await bob.editor('note').locator('h3').waitFor()
    const before = await ada.content()
    await bob.remove('note')
    await bob.page.getByText('“Read me” removed').waitFor()
    const toast = ada.page.locator('.toast', { hasText: 'Bob M removed “Read me”' })
    await toast.getByRole('button', { name: 'Undo' }).click()
    await bob.page.getByRole('article', { name: 'Read me' }).getByText('This board is shared').waitFor()
    await agreed([ada, bob])
    assert.deepEqual((await ada.content()).widgets.note, before.widgets.note)
    assert.deepEqual((await ada.layout()).note, before.layout.note)
  })

  test('is not robbed of a widget without a question', async t => {
    const [ada, bob] = await on(t, ['Ada L', 'Bob M'])
    await bob.tile('best').hover()
    await bob.button('Configure Best sellers')
    await ada.tile('best').locator('.lock').waitFor()
    await ada.remove('best')
    const question = ada.page.getByRole('alertdialog')
    await question.getByText('Bob M is working in it right now').waitFor()
    await question.getByRole('button', { name: 'Keep' }).click()
    assert.equal(await ada.tile('best').count(), 1)
    await ada.remove('best')
    await question.getByRole('button', { name: 'Remove' }).click()
    await bob.page.getByText('Ada L removed “Best sellers”').waitFor()
    await bob.page.locator('.panel').waitFor({ state: 'detached' })
  })

  test('hears who took over', async t => {
    const [ada, bob] = await on(t, ['Ada L', 'Bob M'])
    await bob.tile('best').hover()
    await bob.button('Configure Best sellers')
    await ada.tile('best').getByRole('button', { name: 'Take over' }).click()
    await bob.page.getByText('Ada L took over “Best sellers”').waitFor()
    await bob.page.getByText('Ada L is working on it').waitFor()
  })

  test('keeps the time range, until somebody shares theirs by name', async t => {
    const dashboard = `editing-${++n}`
    const [ada, bob] = [await Person.open(t, server.http, dashboard, { name: 'Ada L' }), await Person.open(t, server.http, dashboard, { name: 'Bob M' })]
    for (const person of [ada, bob]) await person.settled()
    const pressed = (person, name) => person.page.getByRole('button', { name, exact: true }).getAttribute('aria-pressed')
    await ada.button('15 min')
    await ada.page.getByText('Only you see this').waitFor()
    assert.equal(await pressed(bob, '1 min'), 'true')
    // What was done before one came is no news.
    await bob.page.waitForTimeout(1_600)
    await ada.button('Share with everyone')
    await bob.page.getByText('Ada L set the time range to 15 min for everyone').waitFor()
    assert.equal(await pressed(bob, '15 min'), 'true')
  })
})
