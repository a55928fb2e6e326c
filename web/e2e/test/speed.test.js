// How fast it is, in numbers: printed, and held to bounds that a loaded machine keeps as well.

import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { gzipSync } from 'node:zlib'
import { after, before, test } from 'node:test'
import { WebSocket } from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { Server } from '../../../tests/interop/lib/server.js'
import { atEnd } from '../lib/at-end.js'
import { eventually } from '../lib/wait.js'
import { closeBrowser, Person } from '../lib/people.js'

const EDITS = 500
/** Milliseconds, p99. What is measured in earnest (E2E_STRICT=1, on a quiet machine) must hold the first; a busy one the second. */
const WITHIN = process.env.E2E_STRICT ? 100 : 500
/** Milliseconds for a frame, median. */
const FRAME = process.env.E2E_STRICT ? 20 : 70

let server

before(async () => { server = await Server.start() })
after(async () => {
  await closeBrowser()
  await server.stop()
})

const quantile = (values, q) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))]
const round = value => Math.round(value * 10) / 10

test(`an edit is on the other's screen within ${WITHIN} ms, ${EDITS} times`, { timeout: 240_000 }, async t => {
  const ada = await Person.open(t, server.http, 'speed', { name: 'Ada L' })
  await ada.settled()
  const bob = await Person.open(t, server.http, 'speed', { name: 'Bob M' })
  await bob.settled()
  await bob.page.evaluate(() => {
    window.seen = {}
    const title = document.querySelector('[data-widget="edits-now"] h2')
    window.watcher = new MutationObserver(() => {
      const { textContent } = title
      // After the frame that shows it.
      requestAnimationFrame(() => {
        const { port1, port2 } = new MessageChannel()
        port1.onmessage = () => { window.seen[textContent] = performance.timeOrigin + performance.now() }
        port2.postMessage(null)
      })
    })
    window.watcher.observe(title, { characterData: true, childList: true, subtree: true })
  })
  const made = await ada.page.evaluate(async edits => {
    const made = {}
    for (let n = 0; n < edits; n++) {
      const title = `edit ${n}`
      made[title] = performance.timeOrigin + performance.now()
      window.ydash.dashboard.widgets.update('edits-now', { title })
      // At no fixed place between two frames.
      await new Promise(resolve => setTimeout(resolve, 30 + Math.random() * 17))
    }
    return made
  }, EDITS)
  const last = `edit ${EDITS - 1}`
  await eventually(() => bob.page.evaluate(last => last in window.seen, last))
  const seen = await bob.page.evaluate(() => window.seen)
  // Two edits within one frame are one picture: the first of them was seen with the second.
  const titles = Object.keys(made)
  let known = seen[last]
  const took = []
  for (const title of titles.reverse()) {
    known = seen[title] ?? known
    took.push(known - made[title])
  }
  const p99 = quantile(took, 0.99)
  t.diagnostic(`edit to pixels over ${took.length} edits: p50 ${round(quantile(took, 0.5))} ms, p99 ${round(p99)} ms, most ${round(Math.max(...took))} ms`)
  assert.ok(p99 < WITHIN, `p99 ${p99} ms`)
})

test('two hundred widgets stay fluid while one is dragged and all of them move', { timeout: 120_000 }, async t => {
  const ada = await Person.open(t, server.http, 'many', { name: 'Ada L', query: { lab: '' } })
  await ada.settled()
  await ada.menu('More', 'Add 200 widgets')
  await ada.settled()
  assert.ok(await ada.page.locator('[data-widget]').count() >= 200)
  await ada.page.waitForTimeout(1_500)
  const { x, y } = await ada.handle('moves-now')
  await ada.page.mouse.move(x, y)
  await ada.page.mouse.down()
  await ada.page.evaluate(() => {
    window.frames = []
    let last = performance.now()
    const tick = now => {
      window.frames.push(now - last)
      last = now
      window.ticking = requestAnimationFrame(tick)
    }
    window.ticking = requestAnimationFrame(tick)
  })
  for (let step = 0; step < 150; step++) {
    await ada.page.mouse.move(x + 500 * Math.sin(step / 20), y + 300 * Math.abs(Math.sin(step / 31)))
    await ada.page.waitForTimeout(12)
  }
  await ada.page.mouse.up()
  const frames = await ada.page.evaluate(() => {
    cancelAnimationFrame(window.ticking)
    return window.frames
  })
  const [p50, p95] = [quantile(frames, 0.5), quantile(frames, 0.95)]
  t.diagnostic(`frames while dragging among 200 widgets: p50 ${round(p50)} ms, p95 ${round(p95)} ms, most ${round(Math.max(...frames))} ms`)
  assert.ok(p50 < FRAME, `p50 ${p50} ms`)
})

test('two hundred widgets stay fluid while twenty others move their pointers', { timeout: 180_000 }, async t => {
  const ada = await Person.open(t, server.http, 'busy', { name: 'Ada L', query: { lab: '' } })
  await ada.settled()
  await ada.menu('More', 'Add 200 widgets')
  await ada.settled()
  const ids = await ada.page.locator('[data-widget]').evaluateAll(tiles => tiles.slice(0, 12).map(tile => tile.dataset.widget))
  const crowd = Array.from({ length: 20 }, (_, n) => {
    const provider = new WebsocketProvider(server.ws, 'busy', new Y.Doc(), { WebSocketPolyfill: WebSocket, disableBc: true })
    // What the others do is the page's business.
    provider.messageHandlers[1] = () => {}
    provider.awareness.setLocalStateField('user', { name: `Person ${n}`, color: '#0f766e' })
    let step = n
    const timer = setInterval(() => {
      step++
      provider.awareness.setLocalStateField('pointer', { area: ids[(n + Math.floor(step / 40)) % ids.length], x: 0.5 + Math.sin(step / 9) / 2.2, y: 0.5 + Math.cos(step / 7) / 2.2 })
    }, 50)
    return () => { clearInterval(timer); provider.destroy(); provider.doc.destroy() }
  })
  atEnd(t, () => { for (const leave of crowd) leave() })
  await eventually(async () => await ada.page.locator('.cursor').count() >= 20, { what: 'twenty pointers' })
  const frames = await ada.page.evaluate(() => new Promise(resolve => {
    const frames = []
    let last = performance.now()
    const tick = now => {
      frames.push(now - last)
      last = now
      if (frames.length < 240) requestAnimationFrame(tick)
      else resolve(frames)
    }
    requestAnimationFrame(tick)
  }))
  const [p50, p95] = [quantile(frames, 0.5), quantile(frames, 0.95)]
  t.diagnostic(`frames with 210 widgets and 20 pointers: p50 ${round(p50)} ms, p95 ${round(p95)} ms, most ${round(Math.max(...frames))} ms`)
  assert.ok(p50 < FRAME, `p50 ${p50} ms`)
})

test('the page is small and shows itself soon', async t => {
  const dist = new URL('../../dist/', import.meta.url)
  const sizes = {}
  for (const file of await readdir(dist)) sizes[file] = gzipSync(await readFile(new URL(file, dist)), { level: 9 }).length
  const html = await readFile(new URL('index.html', dist), 'utf8')
  const first = Object.entries(sizes).filter(([file]) => file === 'index.html' || html.includes(`/${file}`)).reduce((sum, [, size]) => sum + size, 0)
  t.diagnostic(`compressed: ${Math.round(first / 1024)} KB before the first paint, ${Math.round(Object.values(sizes).reduce((sum, size) => sum + size) / 1024)} KB in all`)
  assert.ok(first < 200 * 1024)
  const ada = await Person.open(t, server.http, 'paint')
  await ada.settled()
  const paint = await ada.page.evaluate(() => {
    const [navigation] = performance.getEntriesByType('navigation')
    return { first: performance.getEntriesByName('first-contentful-paint')[0]?.startTime, loaded: navigation.loadEventEnd, bytes: performance.getEntriesByType('resource').reduce((sum, { transferSize }) => sum + transferSize, navigation.transferSize) }
  })
  t.diagnostic(`first contentful paint ${Math.round(paint.first)} ms, loaded ${Math.round(paint.loaded)} ms, ${Math.round(paint.bytes / 1024)} KB over the wire`)
  assert.ok(paint.first < 5_000)
})
