// A room's name is a path: whatever a client puts there must name one document, and not another's.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { clients, converged, freshRoom, latest, Peer } from '../lib/clients.js'
import { Server } from '../lib/server.js'
import { throughout } from '../lib/wait.js'

let server
before(async () => { server = await Server.shared() })
after(() => server.stop())

const suffix = freshRoom('x')
const names = [
  `team/boards/${suffix}`,
  `with space ${suffix}`,
  `ünïcödé-日本-🦀-${suffix}`,
  `100%${suffix}`,
  `50%25 ${suffix}`,
  `a+b&c=d;e,${suffix}`,
  `(brackets) [square] {curly} 'quote' "double" ${suffix}`,
  `UPPER-lower.dots_${suffix}`,
  `/in front ${suffix}`,
  `q83v//ASN+/${suffix}==`,
  `user:1/notes ${suffix}`,
  `my project/board/${suffix}`
]

for (const client of clients) {
  describe(client.name, () => {
    for (const name of names) {
      test(`two clients meet in ${name.replace(suffix, '…')}`, async t => {
        const room = `${name} ${client.name.replace('/', '-')}`
        const alice = Peer.join(t, server, client, room)
        const bob = Peer.join(t, server, client, room)
        await Promise.all([alice.synced(), bob.synced()])
        alice.write(0, name)
        await converged([alice, bob])
        assert.equal(bob.read(), name)
      })
    }
  })
}

test('different names are different documents', async t => {
  const base = freshRoom('n')
  const peers = [base, `${base}/a`, `${base}/b`, `${base}/`, `${base}//a`, `/${base}`, `${base} a`, base.toUpperCase(), `${base}%25`]
    .map(room => Peer.join(t, server, latest, room))
  await Promise.all(peers.map(peer => peer.synced()))
  peers.forEach((peer, n) => peer.set('only', n))
  await throughout(() => peers.every((peer, n) => peer.get('only') === n), { during: 700 })
})

test('unknown query parameters are passed over', async t => {
  const room = freshRoom()
  const alice = Peer.join(t, server, latest, room, { params: { token: 'a b&c', version: '7' } })
  const bob = Peer.join(t, server, latest, room)
  alice.write(0, 'same room')
  await converged([alice, bob])
})

test('a path without /ws/ names the same room', async t => {
  const room = freshRoom()
  const short = new Peer(latest, server.origin, room)
  t.after(() => short.leave())
  const long = Peer.join(t, server, latest, room)
  await Promise.all([short.synced(), long.synced()])
  short.write(0, 'the same')
  await converged([short, long])
})
