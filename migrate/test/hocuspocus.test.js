// From Hocuspocus: a published server is filled by its published provider, and ydash is read by stock clients.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { HocuspocusProvider as Provider2, HocuspocusProviderWebsocket as Socket2 } from 'hocuspocus-2.15'
import { HocuspocusProvider as Provider3, HocuspocusProviderWebsocket as Socket3 } from 'hocuspocus-3.4'
import { HocuspocusProvider as Provider4, HocuspocusProviderWebsocket as Socket4 } from 'hocuspocus-4.7'
import WebSocket from 'ws'
import * as Y from 'yjs'
import { eventually, fill, migrate, namesFile, readAs13, shows, startOld, startYdash, temporary } from './support.js'

const providers = [
  { name: 'HocuspocusProvider 2.15', Provider: Provider2, Socket: Socket2 },
  { name: 'HocuspocusProvider 3.4', Provider: Provider3, Socket: Socket3 },
  { name: 'HocuspocusProvider 4.7', Provider: Provider4, Socket: Socket4 }
]
const latest = providers.at(-1)

// By name in Hocuspocus, the path under which y-websocket's clients open the dashboard.
const DOCUMENTS = { sales: 'sales', 'acme/costs 2026': 'ws/acme/costs 2026', "it's über": "it's über" }

test('what its SQLite extension keeps is in ydash, while it goes on running', async t => {
  const file = join(await temporary(t), 'db.sqlite')
  const old = await startOld(t, 'hocuspocus', { environment: { SQLITE: file } })
  const expected = await filled(t, old, () => rows(file))
  const ydash = await startYdash(t)

  const moved = await migrate('sqlite', file, '--to', ydash.http)
  assert.deepEqual([moved.status, moved.outcomes], [0, { moved: 3 }], moved.output + moved.errors)
  await shown(t, ydash, expected)

  // What was edited meanwhile comes with the next run, and only that.
  const late = openDocument(t, old, 'sales')
  await late.synced()
  late.doc.getMap('widgets').set('late', true)
  await late.saved()
  await late.leave()
  const isStored = async () => (await migrate('sqlite', file, '--to', ydash.http, '--check')).outcomes.missing === 1
  await eventually(isStored, { within: 10_000 })
  const again = await migrate('sqlite', file, '--to', ydash.http)
  assert.deepEqual([again.status, again.outcomes], [0, { moved: 1, there: 2 }], again.output)
  await shown(t, ydash, { ...expected, sales: shows(late.doc) })
})

test('what its S3 extension keeps is in ydash, from a copy of the bucket', async t => {
  const directory = await temporary(t)
  const old = await startOld(t, 'hocuspocus', { environment: { OBJECTS: directory } })
  const objects = async () => (await readdir(directory, { recursive: true })).filter(file => file.endsWith('.bin')).length
  const expected = await filled(t, old, objects)
  const ydash = await startYdash(t)
  const moved = await migrate('files', directory, '--to', ydash.http)
  assert.deepEqual([moved.status, moved.outcomes], [0, { moved: 3 }], moved.output + moved.errors)
  await shown(t, ydash, expected)
})

test('what any database can print as lines is in ydash', async t => {
  const file = join(await temporary(t), 'db.sqlite')
  const old = await startOld(t, 'hocuspocus', { environment: { SQLITE: file } })
  const expected = await filled(t, old, () => rows(file))
  const ydash = await startYdash(t)
  const lines = execFileSync('sqlite3', [file, "select json_object('name', name, 'hex', hex(data)) from documents"])
  const moved = await migrate('lines', '-', '--to', ydash.http, { stdin: lines })
  assert.deepEqual([moved.status, moved.outcomes], [0, { moved: 3 }], moved.output + moved.errors)
  await shown(t, ydash, expected)
})

test('a running server is asked in its own dialect, and takes documents back', async t => {
  const directory = await temporary(t)
  const old = await startOld(t, 'hocuspocus', { environment: { OBJECTS: directory } })
  const objects = async () => (await readdir(directory, { recursive: true })).filter(file => file.endsWith('.bin')).length
  const expected = await filled(t, old, objects)
  const ydash = await startYdash(t)
  const names = await namesFile(t, Object.keys(DOCUMENTS))
  const url = `hocuspocus+${old.ws}`

  const denied = await migrate('server', url, '--names', names, '--to', ydash.http, '--token', 'wrong')
  assert.deepEqual([denied.status, denied.outcomes], [1, { failed: 3 }], denied.output)
  const moved = await migrate('server', url, '--names', names, '--to', ydash.http, '--token', 'secret')
  assert.deepEqual([moved.status, moved.outcomes], [0, { moved: 3 }], moved.output + moved.errors)
  await shown(t, ydash, expected)

  // The way back, into a server that has nothing.
  const second = await temporary(t)
  const another = await startOld(t, 'hocuspocus', { environment: { OBJECTS: second } })
  const printed = await migrate('server', url, '--names', names, '--print', 'lines', '--token', 'secret')
  assert.equal(printed.output.trim().split('\n').length, 3, printed.errors)
  const back = await migrate('lines', '-', '--to', `hocuspocus+${another.ws}`, '--token', 'secret', { stdin: printed.output })
  assert.deepEqual([back.status, back.outcomes], [0, { moved: 3 }], back.output + back.errors)
  for (const [name, content] of Object.entries(expected)) {
    const stored = async () => {
      const doc = new Y.Doc()
      Y.applyUpdate(doc, await readFile(join(second, `${name}.bin`)))
      return shows(doc) === content
    }
    await eventually(stored, { within: 10_000, what: `${name} is in the old store` })
  }
})

for (const version of providers) {
  test(`${version.name}: open tabs and tabs that were offline lose nothing when ydash takes the place of Hocuspocus`, async t => {
    const file = join(await temporary(t), 'db.sqlite')
    const old = await startOld(t, 'hocuspocus', { environment: { SQLITE: file } })
    const expected = await filled(t, old, () => rows(file))
    // Hocuspocus takes any path, so clients may be given ydash's before.
    const [open, away] = [1, 2].map(() => openDocument(t, old, 'acme/costs 2026', { version, path: '/hocuspocus' }))
    await Promise.all([open.synced(), away.synced()])
    await eventually(() => shows(open.doc) === expected['acme/costs 2026'] && shows(away.doc) === shows(open.doc))
    away.socket.disconnect()
    away.doc.getText('notes').insert(0, 'written in a train ')

    // On an orderly stop Hocuspocus 4 sends a message at which version 2 throws; what matters here comes afterwards.
    await old.stop(version.Provider === Provider2 ? 'SIGKILL' : 'SIGTERM')
    open.doc.getMap('widgets').set('between', 'servers')
    const store = `file:${await temporary(t)}`
    const behind = await startYdash(t, { store })
    const moved = await migrate('sqlite', file, '--to', behind.http)
    assert.deepEqual([moved.status, moved.outcomes], [0, { moved: 3 }], moved.output + moved.errors)
    await behind.stop()
    const ydash = await startYdash(t, { store, port: old.port })
    // Version 2 forgets to count what it sends on coming back, so its count may end below 0.
    await eventually(() => open.provider.synced && open.provider.unsyncedChanges <= 0, { within: 20_000, what: 'the open tab is back' })
    away.socket.connect()
    await eventually(() => shows(open.doc) === shows(away.doc), { within: 20_000, what: 'both tabs agree' })
    const newcomer = await readAs13(t, ydash.origin, 'ws/acme/costs 2026', doc => shows(doc) === shows(open.doc))
    assert.equal(newcomer.getMap('widgets').get('between'), 'servers')
    assert.match(newcomer.getText('notes').toString(), /^written in a train Notes/)
  })
}

/** Fills all documents, waits until `stored` counts them, and returns what they show. */
async function filled (t, old, stored) {
  const expected = {}
  for (const name of Object.keys(DOCUMENTS)) {
    const writer = openDocument(t, old, name)
    await writer.synced()
    fill(writer.doc, name)
    expected[name] = shows(writer.doc)
    await writer.saved()
    await writer.leave()
  }
  await eventually(async () => await stored() === Object.keys(DOCUMENTS).length, { within: 10_000, what: 'all documents are stored' })
  return expected
}

/** How many documents are in the table. */
const rows = file => Number(execFileSync('sqlite3', ['-cmd', '.timeout 5000', file, 'select count(*) from documents']).toString())

async function shown (t, ydash, expected) {
  for (const [name, content] of Object.entries(expected)) {
    assert.equal(shows(await readAs13(t, ydash.origin, DOCUMENTS[name])), content, name)
  }
}

function openDocument (t, old, name, { version = latest, path = '' } = {}) {
  const socket = new version.Socket({ url: old.ws + path, WebSocketPolyfill: WebSocket })
  const doc = new Y.Doc()
  const provider = new version.Provider({ websocketProvider: socket, name, document: doc, token: 'secret', broadcast: false })
  provider.attach?.() // version 2 does so by itself
  const leave = async () => {
    provider.destroy()
    socket.destroy()
    doc.destroy()
  }
  t.after(leave)
  return {
    doc,
    provider,
    socket,
    leave,
    synced: () => eventually(() => provider.synced, { within: 10_000, what: `${name} synced` }),
    saved: () => eventually(() => provider.unsyncedChanges === 0, { within: 10_000, what: `${name} saved` })
  }
}
