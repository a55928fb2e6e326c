// Edits made without a connection arrive after it is back, on both sides, whatever broke it.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { clients, converged, freshRoom, latest, Peer } from '../lib/clients.js'
import { Server } from '../lib/server.js'
import { eventually } from '../lib/wait.js'

let server
before(async () => { server = await Server.shared() })
after(() => server.stop())

for (const client of clients) {
  describe(client.name, () => {
    test('offline edits of both sides arrive after a reconnect', async t => {
      const room = freshRoom()
      const alice = Peer.join(t, server, client, room)
      const bob = Peer.join(t, server, client, room)
      alice.write(0, 'shared. ')
      await converged([alice, bob])
      alice.offline()
      alice.write(alice.read().length, 'written on a train. ')
      alice.set('from', 'alice')
      bob.erase(0, 3)
      bob.set('from', 'bob')
      bob.insert(0, ['meanwhile'])
      alice.online()
      await converged([alice, bob])
      assert.match(bob.read(), /^red\. written on a train\. $/)
      assert.deepEqual(alice.items(), ['meanwhile'])
    })

    test('edits arrive that were made while the socket was broken', async t => {
      const room = freshRoom()
      const alice = Peer.join(t, server, client, room)
      const bob = Peer.join(t, server, client, room)
      await Promise.all([alice.synced(), bob.synced()])
      for (let round = 0; round < 5; round++) {
        alice.cut()
        alice.write(0, `a${round} `)
        bob.write(0, `b${round} `)
        await eventually(() => alice.opened === round + 2, { what: 'alice is back' })
        alice.write(0, `after${round} `)
        await converged([alice, bob])
      }
      assert.equal(bob.read().split(' ').length, 16)
    })

    test('a document written before the first connection is uploaded', async t => {
      const room = freshRoom()
      const alice = Peer.join(t, server, client, room, { connect: false })
      for (let n = 0; n < 100; n++) alice.write(0, 'offline ')
      alice.erase(0, 80)
      alice.online()
      const bob = Peer.join(t, server, client, room)
      await converged([alice, bob])
      assert.equal(bob.read().length, 720)
    })
  })
}

test('a document made of many authors, as kept in IndexedDB, is uploaded whole', async t => {
  const { Y } = latest
  const room = freshRoom()
  const kept = new Y.Doc()
  for (let author = 0; author < 20; author++) {
    const doc = new Y.Doc()
    Y.applyUpdate(doc, Y.encodeStateAsUpdate(kept))
    doc.getText('text').insert(doc.getText('text').length, `author ${author}. `)
    if (author % 3 === 0) doc.getText('text').delete(0, 2)
    Y.applyUpdate(kept, Y.encodeStateAsUpdate(doc))
  }
  const stored = Y.encodeStateAsUpdate(kept)
  const restored = () => {
    const doc = new Y.Doc()
    Y.applyUpdate(doc, stored)
    return doc
  }
  // Through SyncStep2, by two tabs at once, and through an Update frame in a live session.
  const alice = Peer.join(t, server, latest, room, { doc: restored() })
  const twin = Peer.join(t, server, latest, room, { doc: restored() })
  const bob = Peer.join(t, server, latest, room)
  await converged([alice, twin, bob])
  assert.equal(bob.read(), kept.getText('text').toString())

  const other = freshRoom()
  const carol = Peer.join(t, server, latest, other)
  const dave = Peer.join(t, server, latest, other)
  await Promise.all([carol.synced(), dave.synced()])
  Y.applyUpdate(carol.doc, stored)
  await converged([carol, dave])
  assert.equal(dave.read(), kept.getText('text').toString())
})

test('edits of a tab that left arrive through the sibling tab that received them', async t => {
  const { Y } = latest
  const room = freshRoom()
  const tab = Peer.join(t, server, latest, room)
  const sibling = Peer.join(t, server, latest, room)
  const bob = Peer.join(t, server, latest, room)
  tab.write(0, 'online. ')
  await converged([tab, sibling, bob])
  tab.offline()
  tab.write(tab.read().length, 'offline.')
  // What BroadcastChannel does: the sibling takes the edit, but does not forward it itself.
  Y.applyUpdate(sibling.doc, Y.encodeStateAsUpdate(tab.doc), sibling.provider)
  tab.leave()
  sibling.cut()
  await converged([sibling, bob])
  assert.equal(bob.read(), 'online. offline.')
})

test('the author of relayed edits may come back and go on', async t => {
  const { Y } = latest
  const room = freshRoom()
  const tab = Peer.join(t, server, latest, room)
  const sibling = Peer.join(t, server, latest, room)
  tab.write(0, '1')
  await converged([tab, sibling])
  tab.offline()
  tab.write(1, '2')
  Y.applyUpdate(sibling.doc, Y.encodeStateAsUpdate(tab.doc), sibling.provider)
  sibling.cut()
  await eventually(() => sibling.opened === 2 && sibling.provider.synced)
  tab.online()
  await tab.synced()
  tab.write(2, '3')
  const bob = Peer.join(t, server, latest, room)
  await converged([tab, sibling, bob])
  assert.equal(bob.read(), '123')
})
