// Viewers: they see everything, change nothing, and are never thrown out for trying.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { clients, freshRoom, latest, Peer } from '../lib/clients.js'
import { RawClient, REFUSED, SAVED, syncStep1, syncStep2, update } from '../lib/raw.js'
import { needsOwnServer, Server, temporaryStore } from '../lib/server.js'
import { eventually, throughout } from '../lib/wait.js'

describe('read-only', { skip: needsOwnServer }, () => {
  for (const client of clients) {
    test(`${client.name}: a viewer's edits go nowhere and it stays connected`, async t => {
      const { server, room } = await exhibition(t)
      const viewer = Peer.join(t, server, client, room)
      const other = Peer.join(t, server, client, room)
      await Promise.all([viewer.synced(), other.synced()])
      assert.equal(viewer.read(), 'on display')
      viewer.write(0, 'graffiti')
      viewer.set('mine', true)
      viewer.awareness.setLocalStateField('user', { name: 'viewer' })
      await eventually(() => other.sees(viewer)?.user.name === 'viewer', { what: 'viewers see each other' })
      await throughout(() => other.read() === 'on display' && !other.has('mine'), { during: 1_500 })
      const late = Peer.join(t, server, client, room)
      await late.synced()
      assert.equal(late.read(), 'on display')
      assert.deepEqual([viewer.opened, viewer.closes], [1, []])
    })
  }

  test('a viewer that asks for acks is told what was refused', async t => {
    const { server, room, state } = await exhibition(t)
    const client = await RawClient.connect(t, `${server.ws}/${room}?acks=1`)
    client.send(syncStep1())
    client.send(syncStep2(state)) // nothing new: what every client answers unasked
    await eventually(() => client.count(SAVED) === 1)
    assert.equal(client.frames[0].toString('latin1'), '\x02\x02\x08readonly')
    const doc = new latest.Y.Doc()
    doc.getText('text').insert(0, 'graffiti')
    client.send(update(latest.Y.encodeStateAsUpdate(doc)))
    await eventually(() => client.count(REFUSED) === 1)
    await throughout(() => client.closed === null && client.count(SAVED) === 1, { during: 500 })
  })
})

/** A room with content, on a server that lets anybody look and nobody touch. */
async function exhibition (t) {
  const store = await temporaryStore(t)
  const room = freshRoom()
  const workshop = await Server.start({ store })
  t.after(() => workshop.stop())
  const author = Peer.join(t, workshop, latest, room, { acks: true })
  await author.synced()
  author.write(0, 'on display')
  await eventually(() => author.saved === 2)
  const state = latest.Y.encodeStateAsUpdate(author.doc)
  author.leave()
  await workshop.stop()
  const server = await Server.start({ store, args: ['--anonymous-access', 'read-only'] })
  t.after(() => server.stop())
  return { server, room, state }
}
