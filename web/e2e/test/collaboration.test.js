// Several people on one dashboard, each in a browser of their own.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Server } from '../../../tests/interop/lib/server.js'
import { eventually } from '../lib/wait.js'
import { agreed, closeBrowser, Person } from '../lib/people.js'

let server
let n = 0
const fresh = () => `collaboration-${++n}`

before(async () => { server = await Server.start() })
after(async () => {
  await closeBrowser()
  await server.stop()
})

async function two (t, options = {}) {
  const dashboard = fresh()
  const ada = await Person.open(t, server.http, dashboard, { name: 'Ada L', ...options })
  await ada.settled()
  const bob = await Person.open(t, server.http, dashboard, { name: 'Bob M', ...options })
  await bob.settled()
  await ada.page.getByRole('button', { name: 'Follow Bob M' }).waitFor()
  await bob.page.getByRole('button', { name: 'Follow Ada L' }).waitFor()
  return [ada, bob]
}

describe('two people', () => {
  test('see what the other adds, configures and removes', async t => {
    const [ada, bob] = await two(t)
    await ada.menu('Add a widget', 'Number')
    await bob.page.getByRole('article', { name: 'Number', exact: true }).waitFor()
    await ada.tile('moves').hover()
    await ada.button('Configure Cursor moves: yours, too')
    await ada.page.getByLabel('Title', { exact: true }).fill('Pointers')
    await ada.page.getByLabel('Shows').selectOption('frames')
    await bob.page.getByRole('article', { name: 'Pointers' }).waitFor()
    assert.match(await bob.tile('moves').locator('.lock').textContent(), /Ada L/)
    await ada.button('Done')
    await bob.tile('moves').locator('.lock').waitFor({ state: 'detached' })
    await bob.remove('requests')
    await ada.tile('requests').waitFor({ state: 'detached' })
    await agreed([ada, bob])
    await ada.settled()
  })

  test('drag different widgets at the same time', async t => {
    const [ada, bob] = await two(t)
    const [from, other] = [await ada.handle('note'), await bob.handle('edits-now')]
    await ada.page.mouse.move(from.x, from.y)
    await bob.page.mouse.move(other.x, other.y)
    await Promise.all([ada.page.mouse.down(), bob.page.mouse.down()])
    for (let step = 1; step <= 20; step++) {
      await Promise.all([
        ada.page.mouse.move(from.x - step * 42, from.y),
        bob.page.mouse.move(other.x + step * 32, other.y)
      ])
    }
    await bob.tile('note').locator('.lock').waitFor()
    await ada.tile('edits-now').locator('.lock').waitFor()
    await Promise.all([ada.page.mouse.up(), bob.page.mouse.up()])
    await agreed([ada, bob])
    const layout = await ada.layout()
    assert.ok(layout.note.x < 3, JSON.stringify(layout.note))
    assert.ok(layout['edits-now'].x > 3, JSON.stringify(layout['edits-now']))
    assertNoOverlap(layout)
  })

  test('cannot both drag one widget, and who must takes over', async t => {
    const [ada, bob] = await two(t)
    const from = await ada.handle('note')
    await ada.page.mouse.move(from.x, from.y)
    await ada.page.mouse.down()
    await ada.page.mouse.move(from.x - 100, from.y + 10, { steps: 5 })
    await bob.tile('note').locator('.lock').waitFor()
    await eventually(async () => (await bob.layout()).note.x < 8, { what: 'what was dragged so far has arrived' })
    const before = await bob.layout()
    await bob.drag('note', -400, 0)
    await bob.page.getByText('is busy with it').first().waitFor()
    assert.deepEqual((await bob.layout()).note, before.note)
    await bob.button('Take over')
    await ada.tile('note').locator('.lock').waitFor()
    await ada.page.mouse.move(from.x + 50, from.y + 300, { steps: 5 })
    await bob.drag('note', -700, 0)
    await ada.page.mouse.up()
    await agreed([ada, bob])
    assert.ok((await bob.layout()).note.x < 3)
  })

  test('who grab one widget at the same moment agree who has it, and where it ends up', async t => {
    const [ada, bob] = await two(t)
    const before = await ada.layout()
    const [from, other] = [await ada.handle('note'), await bob.handle('note')]
    await Promise.all([ada.page.mouse.move(from.x, from.y), bob.page.mouse.move(other.x, other.y)])
    await Promise.all([ada.page.mouse.down(), bob.page.mouse.down()])
    for (let step = 1; step <= 15; step++) {
      await Promise.all([
        ada.page.mouse.move(from.x - step * 50, from.y),
        bob.page.mouse.move(other.x - step * 10, other.y + step * 20)
      ])
    }
    // One of them has it, and both agree who.
    await eventually(async () => {
      const [one, two] = await Promise.all([ada, bob].map(person => person.edit(dashboard => dashboard.locks.holder('note')?.user.name)))
      assert.equal(one, two)
      return one !== undefined
    })
    await Promise.all([ada.page.mouse.up(), bob.page.mouse.up()])
    await agreed([ada, bob])
    const layout = await ada.layout()
    assert.notDeepEqual(layout.note, before.note)
    assert.deepEqual({ w: layout.note.w, h: layout.note.h }, { w: before.note.w, h: before.note.h })
    for (const person of [ada, bob]) await person.tile('note').locator('.lock').waitFor({ state: 'detached' })
  })

  test('who drag one widget all the same, apart from each other, end up with one of both places', async t => {
    const [ada, bob] = await two(t)
    await ada.menu('More', 'Work offline')
    await bob.menu('More', 'Work offline')
    await ada.becomes('offline saved')
    await bob.becomes('offline saved')
    await ada.drag('note', -800, 0)
    await bob.drag('note', -300, 260)
    await ada.becomes('offline offline-changes')
    const [one, other] = [(await ada.layout()).note, (await bob.layout()).note]
    assert.notDeepEqual(one, other)
    await ada.menu('More', 'Go online')
    await bob.menu('More', 'Go online')
    await ada.settled()
    await bob.settled()
    await agreed([ada, bob])
    const { note } = await ada.layout()
    assert.ok([one, other].some(place => place.x === note.x && place.y === note.y), JSON.stringify({ one, other, note }))
  })

  test('write at one place of a note at the same time, and nothing is lost', async t => {
    const [ada, bob] = await two(t)
    for (const person of [ada, bob]) {
      await person.editor('note').locator('h3').click()
      await person.page.keyboard.press('End')
    }
    await bob.tile('note').locator('.caret', { hasText: 'Ada L' }).waitFor()
    const words = ['abcdefghij', '0123456789']
    for (let at = 0; at < 10; at++) {
      await Promise.all([ada.page.keyboard.type(words[0][at]), bob.page.keyboard.type(words[1][at])])
    }
    await eventually(async () => {
      const [one, other] = [await ada.text('note'), await bob.text('note')]
      assert.equal(one, other)
      const typed = one.slice('Try it'.length, 'Try it'.length + 20)
      for (const word of words) assert.equal([...typed].filter(letter => word.includes(letter)).join(''), word)
      return true
    })
    await ada.page.keyboard.press('Enter')
    await ada.page.keyboard.type('**')
    await ada.button('Bold')
    await ada.page.keyboard.type('loud')
    await eventually(async () => (await bob.editor('note').locator('strong').textContent()) === 'loud')
    // As in Markdown.
    await ada.button('Bold')
    await ada.page.keyboard.press('Enter')
    await ada.page.keyboard.type('so **strong** and *soft* and `odd` it is')
    const line = bob.editor('note').locator('p', { hasText: 'so strong and soft and odd it is' })
    await line.locator('strong', { hasText: 'strong' }).waitFor()
    await line.locator('em', { hasText: 'soft' }).waitFor()
    await line.locator('code', { hasText: 'odd' }).waitFor()
  })

  test('undo their own edits and not the other’s', async t => {
    const [ada, bob] = await two(t)
    const before = await ada.layout()
    await ada.drag('moves-now', 340, 0)
    await bob.tile('disk-now').hover()
    await bob.tile('disk-now').getByRole('button', { name: 'Configure' }).click()
    await bob.page.getByLabel('Title', { exact: true }).fill('Durable')
    await bob.button('Done')
    await ada.page.getByRole('article', { name: 'Durable' }).waitFor()
    await agreed([ada, bob])
    assert.notDeepEqual((await ada.layout())['moves-now'], before['moves-now'])
    await ada.page.keyboard.press('Control+z')
    await eventually(async () => assert.deepEqual(await bob.layout(), before) ?? true)
    assert.equal(await ada.page.getByRole('article', { name: 'Durable' }).count(), 1)
    assert.equal(await ada.page.getByRole('button', { name: 'Undo' }).isDisabled(), true)
    await ada.page.keyboard.press('Control+Shift+z')
    await eventually(async () => assert.notDeepEqual(await bob.layout(), before) ?? true)
    await bob.button('Undo')
    await ada.page.getByRole('article', { name: 'Durable' }).waitFor({ state: 'detached' })
    await agreed([ada, bob])
  })

  test('see each other’s pointers and selections, and they are gone within a second of a closed tab', async t => {
    const [ada, bob] = await two(t)
    const { x, y } = await bob.handle('moves')
    await bob.page.mouse.move(x, y)
    await bob.page.mouse.move(x + 5, y + 5)
    await bob.tile('moves').click()
    const cursor = ada.page.locator('.cursor', { hasText: 'Bob M' })
    await cursor.waitFor()
    await ada.tile('moves').locator('.watchers', { hasText: 'Bob M' }).waitFor()
    // At the same place of the page, however far each of them has scrolled.
    const place = await bob.page.locator('[data-widget=moves]').evaluate(tile => {
      const { left, top } = tile.getBoundingClientRect()
      return { left, top }
    })
    await bob.page.mouse.move(place.left + 140, place.top + 90)
    await eventually(async () => {
      const [tile, here] = [await ada.tile('moves').boundingBox(), await cursor.boundingBox()]
      const off = [here.x - tile.x - 140, here.y - tile.y - 90]
      assert.ok(off.every(pixels => Math.abs(pixels) < 20), `it is off by ${off}`)
      return true
    })
    const closed = Date.now()
    await bob.page.close()
    await cursor.waitFor({ state: 'detached' })
    await ada.tile('moves').locator('.watchers').waitFor({ state: 'detached' })
    const took = Date.now() - closed
    assert.ok(took < 1_000, `${took} ms`)
    await ada.page.getByText('Bob M left').first().waitFor()
  })

  test('follow one another, with view and filters', async t => {
    // As most people's pages are: with motion.
    const [ada, bob] = await two(t, { reducedMotion: 'no-preference', query: { lab: '' } })
    await ada.menu('More', 'Add 200 widgets')
    await ada.settled()
    await bob.button('Follow Ada L')
    await bob.page.getByText('Following Ada L').waitFor()
    await ada.page.mouse.wheel(0, 2_400)
    await eventually(async () => await bob.page.evaluate(() => scrollY) > 2_000)
    await ada.page.getByRole('button', { name: '15 min', exact: true }).click()
    await ada.page.getByText('Only you see this').waitFor()
    await eventually(async () => await bob.page.getByRole('button', { name: '15 min', exact: true }).getAttribute('aria-pressed') === 'true')
    await bob.page.mouse.wheel(0, -300)
    await bob.page.getByText('Following Ada L').waitFor({ state: 'detached' })
    await eventually(async () => await bob.page.getByRole('button', { name: '1 min', exact: true }).getAttribute('aria-pressed') === 'true')
    await ada.button('Share with everyone')
    await eventually(async () => await bob.page.getByRole('button', { name: '15 min', exact: true }).getAttribute('aria-pressed') === 'true')
  })
})

describe('one person', () => {
  test('finds everything again after a reload, private filters too', async t => {
    const [ada] = await two(t)
    await ada.menu('Add a widget', 'Note')
    await ada.page.getByRole('button', { name: '5 min', exact: true }).click()
    await ada.settled()
    const content = await ada.content()
    await ada.page.reload()
    await ada.settled()
    assert.deepEqual(await ada.content(), content)
    await ada.page.getByText('Only you see this').waitFor()
  })

  test('moves, resizes and removes widgets by keyboard', async t => {
    const ada = await Person.open(t, server.http, fresh())
    await ada.settled()
    const before = await ada.layout()
    await ada.page.getByRole('button', { name: /^Move Edits by source/ }).focus()
    await ada.page.keyboard.press('Shift+ArrowDown')
    await ada.page.keyboard.press('Shift+ArrowLeft')
    await eventually(async () => {
      const { edits } = await ada.layout()
      assert.deepEqual(edits, { ...before.edits, w: before.edits.w - 1, h: before.edits.h + 1 })
      return true
    })
    await ada.page.keyboard.press('ArrowUp')
    await eventually(async () => (await ada.layout()).edits.y < before.edits.y)
    await ada.page.keyboard.press('Delete')
    await ada.tile('edits').waitFor({ state: 'detached' })
    await ada.page.keyboard.press('Control+z')
    await ada.tile('edits').waitFor()
  })

  test('drags and resizes by touch and by mouse, with motion', async t => {
    const ada = await Person.open(t, server.http, fresh(), { hasTouch: true, reducedMotion: 'no-preference' })
    await ada.settled()
    const before = await ada.layout()
    await swipe(ada, await ada.handle('note'), { x: -800, y: 0 })
    await eventually(async () => (await ada.layout()).note.x < before.note.x)
    const corner = async () => {
      const { x, y, width, height } = await ada.tile('note').locator('.resize').boundingBox()
      return { x: x + width / 2, y: y + height / 2 }
    }
    await rests(ada, 'note')
    await swipe(ada, await corner(), { x: 220, y: -120 })
    const touched = await eventually(async () => {
      const { note } = await ada.layout()
      return note.w > before.note.w && note.h < before.note.h && note
    })
    await rests(ada, 'note')
    const { x, y } = await corner()
    await ada.page.mouse.move(x, y)
    await ada.page.mouse.down()
    await ada.page.mouse.move(x - 200, y + 130, { steps: 10 })
    await ada.page.waitForTimeout(60)
    await ada.page.mouse.up()
    await eventually(async () => {
      const { note } = await ada.layout()
      return note.w < touched.w && note.h > touched.h
    })
    await rests(ada, 'note')
  })

  test('moves widgets up and down on a phone, by touch and by keyboard, and scrolls past them', async t => {
    const ada = await Person.open(t, server.http, fresh(), { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true })
    await ada.settled()
    const order = () => ada.page.locator('[data-widget]').evaluateAll(tiles => tiles
      .map(tile => ({ id: tile.dataset.widget, ...new DOMMatrix(tile.style.transform).toJSON() }))
      .sort((a, b) => a.f - b.f || a.e - b.e).map(({ id }) => id))
    const grip = async id => {
      const { x, y, width, height } = await ada.tile(id).locator('.grip').boundingBox()
      return { x: x + width / 2, y: y + height / 2 }
    }
    const before = await order()
    const at = before.indexOf('moves')
    const next = before[at + 1]
    await ada.tile('moves').scrollIntoViewIfNeeded()
    const { y } = await grip('moves')
    await swipe(ada, await grip('moves'), { x: 0, y: Math.min(420, 800 - y) })
    await eventually(async () => {
      const now = await order()
      return now.indexOf('moves') > now.indexOf(next)
    })
    await ada.settled()
    const dropped = (await order()).indexOf('moves')
    await ada.tile('moves').locator('.grip').focus()
    await ada.page.keyboard.press('ArrowUp')
    await eventually(async () => (await order()).indexOf('moves') < dropped)
    await ada.page.getByText(/of 10$/).first().waitFor()
    const still = await ada.layout()
    const scrolled = await ada.page.evaluate(() => scrollY)
    const head = await ada.head('moves').boundingBox()
    await swipe(ada, { x: head.x + 20, y: head.y + 8 }, { x: 0, y: head.y > 400 ? -250 : 250 })
    await eventually(async () => await ada.page.evaluate(() => scrollY) !== scrolled)
    assert.deepEqual(await ada.layout(), still)
  })

  test('sees numbers that move, and themselves in a second tab', async t => {
    const ada = await Person.open(t, server.http, fresh())
    await ada.settled()
    const shown = () => ada.tile('moves-now').locator('.value').textContent()
    const before = await shown()
    const [second] = await Promise.all([ada.context.waitForEvent('page'), ada.menu('More', 'Open in a second tab')])
    second.on('pageerror', error => ada.problems.push(error.stack))
    await second.locator('.save-state[data-status=live][data-save=saved]').waitFor()
    await ada.page.bringToFront()
    await ada.page.getByRole('button', { name: 'You and 1 more' }).waitFor()
    let n = 0
    await eventually(async () => {
      await ada.page.mouse.move(400 + n++ % 9 * 20, 500)
      return await shown() !== before
    })
    await second.close()
    await ada.page.getByRole('button', { name: 'You, alone here' }).waitFor()
  })

  test('takes a drag back with Escape', async t => {
    const ada = await Person.open(t, server.http, fresh())
    await ada.settled()
    const before = await ada.layout()
    const { x, y } = await ada.handle('note')
    await ada.page.mouse.move(x, y)
    await ada.page.mouse.down()
    await ada.page.mouse.move(x - 500, y, { steps: 8 })
    await eventually(async () => assert.notDeepEqual(await ada.layout(), before) ?? true)
    await ada.page.keyboard.press('Escape')
    await eventually(async () => assert.deepEqual(await ada.layout(), before) ?? true)
    await ada.page.mouse.up()
  })

  test('takes nothing else back with Escape: neither after a drag within a cell nor when the widget is gone', async t => {
    const [ada, bob] = await two(t)
    await ada.drag('moves-now', 340, 0)
    const moved = await ada.layout()
    const { x, y } = await ada.handle('note')
    await ada.page.mouse.move(x, y)
    await ada.page.mouse.down()
    await ada.page.mouse.move(x + 8, y + 3, { steps: 3 })
    await ada.tile('note').and(ada.page.locator('[data-held=true]')).waitFor()
    await ada.page.keyboard.press('Escape')
    await ada.tile('note').and(ada.page.locator('[data-held=false]')).waitFor()
    await ada.page.mouse.up()
    assert.deepEqual(await ada.layout(), moved)

    await ada.page.mouse.move(x, y)
    await ada.page.mouse.down()
    await ada.page.mouse.move(x + 8, y + 3, { steps: 3 })
    await ada.tile('note').and(ada.page.locator('[data-held=true]')).waitFor()
    await bob.edit(dashboard => dashboard.widgets.remove('note'))
    await ada.page.locator('[data-held=true]').first().waitFor({ state: 'detached' })
    await ada.page.mouse.up()
    await agreed([ada, bob])
    assert.deepEqual((await ada.layout())['moves-now'], moved['moves-now'])
  })
})

/** Draws a finger over the page. */
async function swipe ({ context, page }, { x, y }, by, steps = 10) {
  const touch = await context.newCDPSession(page)
  const send = (type, touchPoints) => touch.send('Input.dispatchTouchEvent', { type, touchPoints })
  await send('touchStart', [{ x, y }])
  for (let step = 1; step <= steps; step++) {
    await send('touchMove', [{ x: x + by.x * step / steps, y: y + by.y * step / steps }])
    await page.waitForTimeout(20)
  }
  await send('touchEnd', [])
  await touch.detach()
}

/** Waits until a widget is let go and stands where it is said to. */
function rests (person, id) {
  return eventually(() => person.tile(id).evaluate(tile => {
    const { x, y, width } = tile.getBoundingClientRect()
    const board = tile.parentElement.getBoundingClientRect()
    const { e, f } = new DOMMatrix(tile.style.transform)
    return tile.dataset.held === 'false' && Math.abs(x - board.x - e) < 1 && Math.abs(y - board.y - f) < 1 && Math.abs(width - parseFloat(tile.style.width)) < 1
  }))
}

function assertNoOverlap (layout) {
  const boxes = Object.entries(layout)
  for (const [a, one] of boxes) {
    for (const [b, other] of boxes) {
      const overlap = a !== b && one.x < other.x + other.w && other.x < one.x + one.w && one.y < other.y + other.h && other.y < one.y + one.h
      assert.ok(!overlap, `${a} and ${b} overlap: ${JSON.stringify([one, other])}`)
    }
  }
}
