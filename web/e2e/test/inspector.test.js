// What an operator sees of a dashboard that others work on.

import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import { Server } from '../../../tests/interop/lib/server.js'
import { atEnd } from '../lib/at-end.js'
import { eventually } from '../lib/wait.js'
import { closeBrowser, Person } from '../lib/people.js'

let server

before(async () => { server = await Server.start() })
after(async () => {
  await closeBrowser()
  await server.stop()
})

/** The inspector of `dashboard`, in a browser of its own; gone when test `t` ends. */
async function inspect (t, dashboard) {
  const person = await (await Person.open(t, server.http, 'elsewhere')).settled()
  await person.page.goto(`${server.http}/inspector#${encodeURIComponent(`default/${dashboard}`)}`)
  await person.page.getByRole('heading', { name: /and this inspector$/ }).waitFor()
  return person.page
}

test('deletions light up where something was, with who did it', async t => {
  const ada = await Person.open(t, server.http, 'deletions', { name: 'Ada L' })
  await ada.settled()
  const bob = await Person.open(t, server.http, 'deletions', { name: 'Bob M' })
  await bob.settled()
  const page = await inspect(t, 'deletions')
  const log = page.getByRole('region', { name: 'Log' })
  await page.getByRole('treeitem', { name: /widgets/ }).first().waitFor()
  await page.getByRole('rowheader', { name: 'Bob M' }).first().waitFor()

  const isShown = (line, removed, who) => page.locator('[data-changed=true]', { hasText: line }).filter({ hasText: removed }).filter({ hasText: who }).first().waitFor()
  await Promise.all([
    isShown('widgets', 'requests', 'Ada L'),
    isShown('layout', 'requests', 'Ada L'),
    ada.edit(dashboard => dashboard.widgets.remove('requests'))
  ])
  await log.getByRole('row').nth(1).getByRole('rowheader', { name: 'Ada L' }).waitFor()
  await page.locator('.who').first().waitFor({ state: 'detached' })
  await Promise.all([
    isShown('content', 'Try it', 'Bob M'),
    bob.edit(dashboard => {
      const text = dashboard.widgets.richText('note').get(0).get(0)
      dashboard.edit(() => text.delete(0, text.length))
    })
  ])
  await log.getByRole('row').nth(1).getByRole('rowheader', { name: 'Bob M' }).waitFor()
  assert.equal(await log.getByText('gone').count(), 0)
})

test('the log catches up at once with what was written while nobody looked', async t => {
  const page = await inspect(t, 'busy')
  await page.evaluate(() => Object.defineProperty(document, 'hidden', { get: () => true, configurable: true }))
  const url = `${server.http}/api/dashboards/default/busy/updates`
  for (let client = 1; client <= 440; client += 40) {
    const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => fetch(url, { method: 'POST', body: letterOf(client + n) })))
    for (const answer of answers) assert.equal(answer.status, 200)
  }
  const last = (await (await fetch(`${server.http}/api/inspector/log/default/busy`)).json()).at(-1)
  let rounds = 0
  page.on('request', request => { if (request.url().endsWith('/api/inspector/node')) rounds++ })
  await page.evaluate(() => { delete document.hidden })
  await page.getByTitle(`position ${last.position}`, { exact: true }).waitFor()
  assert.ok(rounds <= 2, `it took ${rounds} rounds`)
})

test('a member that reads too slowly is shown as slow, and the inspector itself is told from the members', async t => {
  const ada = await Person.open(t, server.http, 'slow', { name: 'Ada L' })
  await ada.settled()
  await ada.edit(dashboard => {
    window.heard = new Set()
    dashboard.awareness.on('update', ({ added }) => { for (const client of added) window.heard.add(client) })
  })
  const page = await inspect(t, 'slow')
  const members = page.getByRole('region', { name: 'Members' })
  await page.getByRole('heading', { name: '1 member and this inspector' }).waitFor()
  await members.getByRole('rowheader', { name: 'this inspector' }).waitFor()
  assert.deepEqual(await ada.page.evaluate(() => [...window.heard]), [], 'nobody hears of it')
  // It joins, and reads nothing from then on.
  const { port } = new URL(server.http)
  const socket = connect(Number(port), '127.0.0.1')
  atEnd(t, () => socket.destroy())
  socket.on('error', () => {})
  socket.write(`GET /ws/default/slow HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`)
  await new Promise(resolve => socket.once('data', resolve))
  socket.pause()
  await page.getByRole('heading', { name: '3 members', exact: true }).waitFor()
  // As much as the buffers on the way can hold, and then some.
  let n = 0
  await eventually(async () => {
    await ada.edit((dashboard, n) => dashboard.meta.set({ large: String(n).padEnd(4_000_000, Math.random()) }), n++)
    return await members.getByText('slow, gets one difference').count() > 0
  })
  await page.locator('tr[data-slow=true]', { hasText: 'shows nothing of itself' }).waitFor()
  await page.getByRole('region', { name: 'List of rooms' }).locator('tr[data-slow=true]', { hasText: 'default/slow' }).waitFor()
  await ada.settled()
  socket.destroy()
  await members.locator('[data-slow=true]').waitFor({ state: 'detached' })
  await page.getByRole('heading', { name: '1 member and this inspector' }).waitFor()
})

/** An update that inserts one letter into a text of the document, as `client`. */
function letterOf (client) {
  const id = []
  for (let rest = client; ; rest >>= 7) {
    if (rest < 128) {
      id.push(rest)
      break
    }
    id.push(128 | rest & 127)
  }
  return Uint8Array.of(1, 1, ...id, 0, 4, 1, 4, ...Buffer.from('text'), 1, ...Buffer.from('x'), 0)
}
