// A quiet client stays connected: it closes its socket itself when it hears nothing for 30 s (45 s in 4.0).

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { clients, freshRoom, Peer } from '../lib/clients.js'
import { Server } from '../lib/server.js'
import { sleep } from '../lib/wait.js'

const WATCHED = 70_000

let server
before(async () => { server = await Server.shared() })
after(() => server.stop())

describe('for 70 s of silence', { concurrency: clients.length * 2 }, () => {
  for (const client of clients) {
    test(`${client.name}: a viewer without awareness stays connected`, async t => {
      const viewer = Peer.join(t, server, client, freshRoom())
      viewer.awareness.setLocalState(null)
      await watch(viewer)
    })

    test(`${client.name}: a client alone in its room stays connected`, async t => {
      await watch(Peer.join(t, server, client, freshRoom()))
    })
  }
})

async function watch (peer) {
  await peer.synced()
  await sleep(WATCHED)
  assert.equal(peer.opened, 1)
  assert.deepEqual(peer.closes, [])
  assert.ok(peer.provider.synced)
}
