// From y-websocket-server with LevelDB: the published servers are filled by published clients, and ydash is read by them.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually, exportLines, fill, join13, migrate, namesFile, readAs13, shows, sleep, startOld, startYdash, temporary } from './support.js'

// What the tool has to find under the same names; the last two are spelled as their clients spell them.
const ROOMS = ['sales', 'a/b', 'ws/acme/costs', 'with space', 'über%2Funs']

for (const which of ['@y/websocket-server', 'y-websocket 2.1']) {
  test(`${which}: what LevelDB holds is in ydash, under the same names`, async t => {
    const directory = await temporary(t)
    const { old, expected } = await filled(t, which, directory)
    const ydash = await startYdash(t)

    const locked = await migrate('leveldb', directory, '--to', ydash.http)
    assert.equal(locked.status, 2)
    assert.match(locked.errors, /stop the old server first/)
    await old.stop()

    const before = await migrate('leveldb', directory, '--to', ydash.http, '--check')
    assert.deepEqual([before.status, before.outcomes], [1, { missing: ROOMS.length }], before.output)
    const moved = await migrate('leveldb', directory, '--to', ydash.http)
    assert.deepEqual([moved.status, moved.outcomes], [0, { moved: ROOMS.length }], moved.output + moved.errors)
    for (const room of ROOMS) {
      assert.equal(shows(await readAs13(t, ydash.origin, room)), expected[room], room)
    }

    const client = join13(t, ydash.origin, ROOMS[0])
    await client.synced()
    client.doc.getMap('widgets').set('later', 1)
    await eventually(async () => (await (await fetch(`${ydash.http}/api/dashboards/default/sales`)).json()).widgets.later === 1)
    const again = await migrate('leveldb', directory, '--to', ydash.http)
    assert.deepEqual([again.status, again.outcomes], [0, { there: ROOMS.length }], again.output)
    assert.match(again.output, /default\/sales .*edited since/)
    assert.doesNotMatch(again.output, /acme\/costs .*edited since/)
  })
}

test('open tabs and tabs that were offline lose nothing when ydash takes the place of the old server', async t => {
  const directory = await temporary(t)
  const { old, expected } = await filled(t, '@y/websocket-server', directory)
  const open = join13(t, old.ws, 'sales', { maxBackoffTime: 200 })
  const away = join13(t, old.ws, 'sales', { maxBackoffTime: 200 })
  await Promise.all([open.synced(), away.synced()])
  await eventually(() => shows(open.doc) === expected.sales && shows(away.doc) === expected.sales)
  away.provider.disconnect()
  away.doc.getText('notes').insert(0, 'written in a train ')

  await old.stop()
  open.doc.getMap('widgets').set('between', 'servers')
  // It moves behind another port; then the address is ydash's.
  const store = `file:${await temporary(t)}`
  const behind = await startYdash(t, { store })
  assert.equal((await migrate('leveldb', directory, '--to', behind.http)).status, 0)
  await behind.stop()
  const ydash = await startYdash(t, { store, port: old.port })
  assert.equal(ydash.origin, old.ws)
  await eventually(() => open.provider.synced, { within: 10_000 })
  away.provider.connect()
  await eventually(() => shows(open.doc) === shows(away.doc), { within: 10_000 })
  const newcomer = await readAs13(t, ydash.origin, 'sales', doc => shows(doc) === shows(open.doc))
  assert.equal(newcomer.getMap('widgets').get('between'), 'servers')
  assert.match(newcomer.getText('notes').toString(), /^written in a train Notes/)
})

test('a running server is read over the wire, and what ydash has goes back to one', async t => {
  const { old, expected } = await filled(t, '@y/websocket-server', await temporary(t))
  const ydash = await startYdash(t)
  const names = await namesFile(t, ROOMS)
  const moved = await migrate('server', old.ws, '--names', names, '--to', ydash.http)
  assert.deepEqual([moved.status, moved.outcomes], [0, { moved: ROOMS.length }], moved.output + moved.errors)
  for (const room of ROOMS) assert.equal(shows(await readAs13(t, ydash.origin, room)), expected[room], room)
  for (const [url, ...options] of [[`${old.ws}/{name}?token=x`], [`${ydash.origin}/{name}`, '--protocol', 'yauth-token']]) {
    const again = await migrate('server', url, '--names', names, '--to', ydash.http, ...options)
    assert.deepEqual([again.status, again.outcomes], [0, { there: ROOMS.length }], again.output)
  }

  // The way back, over the wire, into a store of y-websocket-server that knows nothing.
  const directory = await temporary(t)
  const another = await startOld(t, '@y/websocket-server', { environment: { YPERSISTENCE: directory } })
  const back = await migrate('server', ydash.origin, '--names', names, '--to', another.ws)
  assert.deepEqual([back.status, back.outcomes], [0, { moved: ROOMS.length }], back.output + back.errors)
  await sleep(500) // it writes to disk behind the answer
  await another.stop()
  const read = await migrate('leveldb', directory, '--to', ydash.http, '--check')
  assert.deepEqual([read.status, read.outcomes], [0, { there: ROOMS.length }], read.output)
  assert.doesNotMatch(read.output, /edited since/)
})

test('everything that ydash keeps goes back by an export', async t => {
  const store = `file:${await temporary(t)}`
  const ydash = await startYdash(t, { store })
  const expected = {}
  // An encoded slash is a slash in ydash, and `ws/` in front belongs to the address: both come back as the dashboard is called.
  const rooms = [...ROOMS.filter(room => !room.includes('%2F') && !room.startsWith('ws/')), 'made in ydash']
  for (const room of rooms) {
    const writer = join13(t, ydash.origin, room)
    await writer.synced()
    fill(writer.doc, room)
    expected[room] = shows(writer.doc)
    await readAs13(t, ydash.origin, room, doc => shows(doc) === expected[room])
  }
  await ydash.stop()
  const lines = exportLines(store)

  const old = await startOld(t, '@y/websocket-server', { environment: { YPERSISTENCE: await temporary(t) } })
  const back = await migrate('lines', '-', '--to', old.ws, { stdin: lines })
  assert.deepEqual([back.status, back.outcomes], [0, { moved: rooms.length }], back.output + back.errors)
  for (const [room, content] of Object.entries(expected)) {
    assert.equal(shows(await readAs13(t, old.ws, room, doc => shows(doc) === content)), content, room)
  }
})

/** An old server with its rooms, and what they show. */
async function filled (t, which, directory) {
  const old = await startOld(t, which, { environment: { YPERSISTENCE: directory } })
  const expected = {}
  for (const room of ROOMS) {
    const writer = join13(t, old.ws, room)
    await writer.synced()
    fill(writer.doc, room)
    expected[room] = shows(writer.doc)
    await readAs13(t, old.ws, room, doc => shows(doc) === expected[room])
    writer.provider.destroy()
  }
  await sleep(300) // LevelDB is written behind the answer
  return { old, expected }
}
