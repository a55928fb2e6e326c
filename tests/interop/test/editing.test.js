// Many hands on one document: large, concurrent, undone.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { clients, converged, freshRoom, latest, Peer } from '../lib/clients.js'
import { Server } from '../lib/server.js'
import { sleep } from '../lib/wait.js'

let server
before(async () => { server = await Server.shared() })
after(() => server.stop())

const MEGABYTE = 1 << 20

for (const client of clients) {
  describe(client.name, () => {
    test('a document of 5 MB syncs that was written offline', async t => {
      const room = freshRoom()
      const alice = Peer.join(t, server, client, room, { connect: false })
      for (let n = 0; n < 50; n++) alice.write(0, noise(MEGABYTE / 10))
      alice.online()
      await alice.synced(20_000)
      const bob = Peer.join(t, server, client, room)
      await converged([alice, bob], { within: 20_000 })
      assert.equal(bob.read().length, 50 * Math.floor(MEGABYTE / 10))
    })

    test('a document of 5 MB syncs that is written live', async t => {
      const room = freshRoom()
      const alice = Peer.join(t, server, client, room)
      const bob = Peer.join(t, server, client, room)
      await Promise.all([alice.synced(), bob.synced()])
      for (let n = 0; n < 100; n++) alice.set(`part ${n}`, noise(MEGABYTE / 20))
      await converged([alice, bob], { within: 20_000 })
      const carol = Peer.join(t, server, client, room)
      await converged([alice, carol], { within: 20_000 })
    })

    test('undo takes back one\'s own edits only', async t => {
      const room = freshRoom()
      const alice = Peer.join(t, server, client, room)
      const bob = Peer.join(t, server, client, room)
      await Promise.all([alice.synced(), bob.synced()])
      const history = new client.Y.UndoManager(alice.text, { captureTimeout: 0 })
      alice.write(0, 'alice ')
      await converged([alice, bob])
      bob.write(6, 'bob ')
      await converged([alice, bob])
      alice.write(10, 'again ')
      alice.erase(0, 2)
      history.undo()
      history.undo()
      await converged([alice, bob])
      assert.equal(bob.read(), 'alice bob ')
      history.undo()
      await converged([alice, bob])
      assert.equal(bob.read(), 'bob ')
      history.redo()
      history.redo()
      await converged([alice, bob])
      assert.equal(bob.read(), 'alice bob again ')
      history.destroy()
    })
  })
}

test('50 clients of all versions edit at random, drop out, come back, and converge with a fresh one', async t => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
  t.diagnostic(`SEED=${seed}`)
  const random = mulberry32(seed)
  const below = n => Math.floor(random() * n)
  const room = freshRoom()
  const peers = Array.from({ length: 50 }, (_, n) => Peer.join(t, server, clients[n % clients.length], room))
  await Promise.all(peers.map(peer => peer.synced(15_000)))
  for (let round = 0; round < 20; round++) {
    for (const peer of peers) {
      const length = peer.read().length
      // No surrogate pairs in here: clients that cut one in two disagree about its halves, on any server.
      switch (below(10)) {
        case 0: case 1: case 2: peer.write(below(length + 1), `${round.toString(36)}${'日é'.slice(0, below(3))}`); break
        case 3: if (length > 0) { const at = below(length); peer.erase(at, Math.min(1 + below(4), length - at)) } break
        case 4: peer.set(`key ${below(8)}`, below(1_000)); break
        case 5: peer.remove(`key ${below(8)}`); break
        case 6: peer.insert(below(peer.items().length + 1), [round, { round }]); break
        case 7: if (peer.items().length > 0) peer.drop(below(peer.items().length), 1); break
        case 8: if (below(4) === 0) peer.cut(); break
        case 9: if (below(4) === 0) { if (peer.provider.shouldConnect) peer.offline(); else peer.online() } break
      }
    }
    await sleep(25)
  }
  peers.forEach(peer => peer.online())
  await Promise.all(peers.map(peer => peer.synced(15_000)))
  const fresh = Peer.join(t, server, latest, room)
  await converged([...peers, fresh], { within: 30_000 })
})

/** Text that does not compress to nothing. */
function noise (length) {
  let text = ''
  while (text.length < length) text += Math.random().toString(36).slice(2)
  return text.slice(0, length)
}

/** A generator that a seed repeats. */
function mulberry32 (state) {
  return () => {
    state = (state + 0x6D2B79F5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
