// The REST interface speaks of the same documents as the sockets.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { freshRoom, latest, Peer } from '../lib/clients.js'
import { Server } from '../lib/server.js'
import { eventually } from '../lib/wait.js'

const { Y } = latest

let server
before(async () => { server = await Server.shared() })
after(() => server.stop())

const resource = room => `${server.http}/api/dashboards/default/${room.split('/').map(encodeURIComponent).join('/')}`

for (const hint of ['plain', 'team/board', 'ünï 100%']) {
  test(`state, JSON and updates of "${hint}"`, async t => {
    const room = freshRoom(hint)
    const alice = Peer.join(t, server, latest, room, { acks: true })
    await alice.synced()
    alice.write(0, 'written on a socket')
    alice.set('kept', 1n)
    await eventually(() => alice.saved === 3)

    const state = await fetch(`${resource(room)}/state`)
    assert.equal(state.status, 200)
    const doc = new Y.Doc()
    Y.applyUpdate(doc, new Uint8Array(await state.arrayBuffer()))
    assert.equal(doc.getText('text').toString(), 'written on a socket')
    assert.equal(doc.getMap('map').get('kept'), 1n)

    const json = await fetch(resource(room))
    assert.equal(json.status, 200)
    assert.match(JSON.stringify(await json.json()), /written on a socket/)

    const before = Y.encodeStateVector(doc)
    doc.getText('text').insert(0, 'posted, ')
    const posted = await fetch(`${resource(room)}/updates`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: Y.encodeStateAsUpdate(doc, before)
    })
    assert.ok(posted.ok, `${posted.status} ${await posted.text()}`)
    await eventually(() => alice.read() === 'posted, written on a socket')
  })
}

test('a body that is no update is refused', async () => {
  const posted = await fetch(`${resource(freshRoom())}/updates`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: Uint8Array.of(255, 255, 255, 127)
  })
  assert.ok(posted.status >= 400 && posted.status < 500, String(posted.status))
})
