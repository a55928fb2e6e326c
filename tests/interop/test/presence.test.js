// Who is here: shown at once, gone at once, over reconnects too, and cheap although every stock client echoes.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { clients, freshRoom, latest, Peer } from '../lib/clients.js'
import { needsOwnServer, Server } from '../lib/server.js'
import { eventually, sleep, throughout } from '../lib/wait.js'

let server
before(async () => { server = await Server.shared() })
after(() => server.stop())

/** "At once" with room for a loaded machine; the stock timers that would hide a failure take 15 s and more. */
const AT_ONCE = { within: 1_500 }

for (const client of clients) {
  describe(client.name, () => {
    const pair = async t => {
      const room = freshRoom()
      const [alice, bob] = ['alice', 'bob'].map(name => {
        const peer = Peer.join(t, server, client, room)
        peer.awareness.setLocalStateField('user', { name })
        return peer
      })
      await Promise.all([alice.synced(), bob.synced()])
      await eventually(() => alice.sees(bob)?.user.name === 'bob' && bob.sees(alice)?.user.name === 'alice', AT_ONCE)
      return { alice, bob, room }
    }

    test('presence appears, changes and disappears at once', async t => {
      const { alice, bob, room } = await pair(t)
      alice.awareness.setLocalStateField('cursor', { x: 1, y: 2 })
      await eventually(() => bob.sees(alice).cursor?.x === 1, AT_ONCE)
      const carol = Peer.join(t, server, client, room)
      await eventually(() => carol.sees(alice)?.cursor.y === 2 && carol.sees(bob), AT_ONCE)
      alice.leave()
      await eventually(() => !bob.sees(alice) && !carol.sees(alice), AT_ONCE)
      await throughout(() => bob.sees(carol) || carol.sees(bob), { during: 300 })
    })

    test('somebody whose socket broke is gone at once and back at once', async t => {
      const { alice, bob } = await pair(t)
      let goneAt = null
      let backAt = null
      // Stock clients remember the clock of who left, so a return is told as an update.
      bob.awareness.on('change', ({ added, updated, removed }) => {
        if (removed.includes(alice.doc.clientID)) goneAt ??= Date.now()
        else if (goneAt !== null && [...added, ...updated].includes(alice.doc.clientID)) backAt ??= Date.now()
      })
      const cutAt = Date.now()
      alice.cut()
      await eventually(() => goneAt !== null, { ...AT_ONCE, what: 'bob sees alice go' })
      await eventually(() => alice.opened === 2, AT_ONCE)
      await eventually(() => backAt !== null, { ...AT_ONCE, what: 'bob sees alice come back' })
      assert.ok(backAt - cutAt < 3_000)
      assert.equal(bob.sees(alice).user.name, 'alice')
      await throughout(() => bob.sees(alice), { during: 500 })
    })

    test('whoever comes back sees the others at once', async t => {
      const { alice, bob } = await pair(t)
      // The client forgot bob's state at its close but not bob's clock, so bob's unchanged entry is not enough.
      alice.cut()
      await eventually(() => alice.opened === 2, AT_ONCE)
      await eventually(() => alice.sees(bob)?.user.name === 'bob', { ...AT_ONCE, what: 'alice sees bob again' })
    })

    test('going offline and online again', async t => {
      const { alice, bob } = await pair(t)
      for (let round = 1; round <= 3; round++) {
        alice.offline()
        await eventually(() => !bob.sees(alice), AT_ONCE)
        alice.online()
        await eventually(() => bob.sees(alice)?.user.name === 'alice', { ...AT_ONCE, what: `back, round ${round}` })
      }
    })

    test('presence is back at once after the server was restarted', { skip: needsOwnServer }, async t => {
      const own = await Server.start()
      t.after(() => own.stop())
      const room = freshRoom()
      const [alice, bob] = ['alice', 'bob'].map(name => {
        const peer = Peer.join(t, own, client, room)
        peer.awareness.setLocalStateField('user', { name })
        return peer
      })
      await eventually(() => alice.sees(bob) && bob.sees(alice), AT_ONCE)
      await own.stop()
      await eventually(() => !alice.sees(bob) && !bob.sees(alice), AT_ONCE)
      await own.restart()
      await Promise.all([alice.synced(), bob.synced()])
      await eventually(() => alice.sees(bob) && bob.sees(alice), { ...AT_ONCE, what: 'they see each other again' })
    })
  })
}

test('20 clients make one awareness change cost at most 20 frames in and 20 out', async t => {
  const room = freshRoom()
  const peers = Array.from({ length: 20 }, () => Peer.join(t, server, latest, room))
  peers.forEach((peer, n) => peer.awareness.setLocalStateField('user', { name: `user ${n}` }))
  await eventually(() => peers.every(peer => peer.awareness.getStates().size === 20))
  const total = key => peers.reduce((sum, peer) => sum + peer[key], 0)
  await settled(() => total('sent') + total('received'))
  const sent = total('sent')
  const received = total('received')
  peers[0].awareness.setLocalStateField('cursor', { x: 3 })
  await eventually(() => peers.every(peer => peer.awareness.getStates().get(peers[0].doc.clientID).cursor?.x === 3))
  await settled(() => total('sent') + total('received'))
  assert.ok(total('sent') - sent <= 20, `${total('sent') - sent} frames to the server`)
  assert.ok(total('received') - received <= 20, `${total('received') - received} frames from the server`)
})

test('nobody can speak for somebody who is connected', async t => {
  const room = freshRoom()
  const [alice, mallory, bob] = ['alice', 'mallory', 'bob'].map(name => {
    const peer = Peer.join(t, server, latest, room)
    peer.awareness.setLocalStateField('user', { name })
    return peer
  })
  await eventually(() => [mallory, bob].every(peer => peer.sees(alice)) && bob.sees(mallory))
  // A higher clock than alice's own, straight into the copy that mallory's client echoes to the server.
  const id = alice.doc.clientID
  mallory.awareness.meta.set(id, { clock: 1_000, lastUpdated: Date.now() })
  mallory.awareness.states.set(id, { user: { name: 'eve' } })
  mallory.awareness.emit('update', [{ added: [], updated: [id], removed: [] }, 'local'])
  await throughout(() => bob.sees(alice)?.user.name === 'alice', { during: 1_000 })
  alice.awareness.setLocalStateField('cursor', 7)
  await eventually(() => bob.sees(alice)?.cursor === 7)
})

async function settled (count) {
  for (let last = -1; last !== count();) {
    last = count()
    await sleep(400)
  }
}
