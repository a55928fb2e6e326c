// The server goes away and comes back: clients return by themselves, and everything is there.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { clients, converged, freshRoom, latest, Peer, print } from '../lib/clients.js'
import { needsOwnServer, Server, temporaryStore } from '../lib/server.js'
import { eventually } from '../lib/wait.js'

for (const client of clients) {
  describe(client.name, { skip: needsOwnServer }, () => {
    for (const signal of ['SIGTERM', 'SIGKILL']) {
      test(`clients return after ${signal} and converge, with what they wrote meanwhile`, async t => {
        const server = await Server.start({ store: await temporaryStore(t) })
        t.after(() => server.stop())
        const room = freshRoom()
        const alice = Peer.join(t, server, client, room)
        const bob = Peer.join(t, server, client, room)
        alice.write(0, 'before. ')
        await converged([alice, bob])
        await server.stop(signal)
        await eventually(() => !alice.provider.wsconnected && !bob.provider.wsconnected)
        alice.write(alice.read().length, 'alice meanwhile. ')
        bob.set('bob', 'meanwhile')
        await server.restart()
        await converged([alice, bob], { within: 10_000 })
        const fresh = Peer.join(t, server, client, room)
        await converged([alice, fresh])
        assert.equal(fresh.read(), 'before. alice meanwhile. ')
        assert.equal(fresh.get('bob'), 'meanwhile')
      })
    }
  })
}

describe('with nobody left to repair it', { skip: needsOwnServer }, () => {
  const delicate = { big: 2n ** 62n, zero: -0, gap: undefined, bytes: Uint8Array.of(255, 0), text: 'ünï🦀' }

  for (const signal of ['SIGTERM', 'SIGKILL']) {
    test(`what was called saved is there after ${signal}, byte-true`, async t => {
      const server = await Server.start({ store: await temporaryStore(t) })
      t.after(() => server.stop())
      const room = freshRoom()
      const alice = Peer.join(t, server, latest, room, { acks: true })
      await alice.synced()
      for (const [key, value] of Object.entries(delicate)) alice.set(key, value)
      for (let n = 0; n < 200; n++) alice.write(n, '.')
      alice.erase(50, 100)
      const frames = 1 + Object.keys(delicate).length + 201 // the SyncStep2, and one Update per edit
      await eventually(() => alice.saved === frames, { what: 'everything is saved' })
      const expected = alice.content()
      alice.leave()
      for (let round = 0; round < 2; round++) {
        await server.stop(signal)
        await server.restart()
        const fresh = Peer.join(t, server, latest, room)
        await fresh.synced()
        const seen = fresh.content()
        for (const [key, value] of Object.entries(delicate)) assert.equal(print(fresh.get(key)), print(value), key)
        fresh.leave()
        assert.equal(seen, expected)
      }
    })
  }

  test('a room that was evicted comes back from the store', async t => {
    const server = await Server.start({ store: await temporaryStore(t), args: ['--room-idle', '1s'] })
    t.after(() => server.stop())
    const room = freshRoom()
    const alice = Peer.join(t, server, latest, room, { acks: true })
    await alice.synced()
    for (let n = 0; n < 50; n++) alice.write(0, `${n} `)
    alice.erase(0, 10)
    await eventually(() => alice.saved === 52)
    const expected = alice.content()
    alice.leave()
    await new Promise(resolve => setTimeout(resolve, 3_000))
    const bob = Peer.join(t, server, latest, room)
    await bob.synced()
    assert.equal(bob.content(), expected)
  })
})

describe('draining', { skip: needsOwnServer }, () => {
  test('SIGTERM closes with 1012, which tells a client to come back', async t => {
    const server = await Server.start({ store: await temporaryStore(t) })
    t.after(() => server.stop())
    const peers = clients.map(client => Peer.join(t, server, client, freshRoom()))
    await Promise.all(peers.map(peer => peer.synced()))
    await server.stop('SIGTERM')
    await eventually(() => peers.every(peer => peer.closes.length > 0))
    for (const peer of peers) assert.equal(peer.closes[0], 1012, peer.client.name)
    await server.restart()
    await Promise.all(peers.map(peer => peer.synced(10_000)))
  })
})
