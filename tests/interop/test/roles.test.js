// Stock clients whose role changes while they are connected: shown in place, on the same socket, in both dialects.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { clients, freshRoom, latest, Peer } from '../lib/clients.js'
import { Line, providers } from '../lib/hocuspocus.js'
import { needsOwnServer, Server } from '../lib/server.js'
import { SECRET, token } from '../lib/tokens.js'
import { eventually, throughout } from '../lib/wait.js'

const BACK = { within: 10_000 }

describe('a role that changes in a live session', { skip: needsOwnServer, concurrency: true }, () => {
  let server
  before(async () => { server = await Server.start({ args: ['--auth-secret', SECRET] }) })
  after(() => server?.stop())

  /** Gives ada this role in `room`, or none. The answer says that it holds. */
  const grant = async (room, role) => {
    const response = await fetch(`${server.http}/api/dashboards/default/${room}/access`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${await token('olga', { role: 'owner' })}` },
      body: JSON.stringify({ grants: role ? [{ subject: 'user:ada', role }] : [] })
    })
    assert.equal((await response.json()).applied, true)
  }
  const ada = () => token('ada', { grants: {} })

  /** Editor, viewer, editor, nobody. `member` has `set`, `get`, `scopes` and `connections`; `refused` waits for its end. */
  const changes = async (t, room, join, refused) => {
    await grant(room, 'editor')
    const witness = Peer.join(t, server, latest, room, { params: { token: await token('witness') } })
    await witness.synced()
    const member = await join()
    member.set('first', 1)
    await eventually(() => witness.get('first') === 1, BACK)

    await grant(room, 'viewer')
    await eventually(() => member.scopes().at(-1) === 'readonly', { ...BACK, what: 'a lowered role is shown' })
    member.set('late', 2)
    witness.set('news', 3)
    await eventually(() => member.get('news') === 3, BACK)
    await throughout(() => !witness.has('late'), { during: 500 })

    await grant(room, 'editor')
    await eventually(() => member.scopes().at(-1) === 'read-write', { ...BACK, what: 'a raised role is shown' })
    await eventually(() => witness.get('late') === 2, { ...BACK, what: 'what was refused is asked for again' })
    assert.equal(member.connections(), 1)

    await grant(room, null)
    witness.set('secret', 4)
    await refused(member)
    member.set('too late', 5)
    await throughout(() => member.get('secret') === undefined && !witness.has('too late'), { during: 500 })
  }

  for (const client of clients) {
    test(client.name, async t => {
      const room = freshRoom()
      let peer
      await changes(t, room, async () => {
        peer = Peer.join(t, server, client, room, { params: { token: await ada() } })
        await peer.synced()
        return {
          set: (key, value) => peer.set(key, value),
          get: key => peer.get(key),
          scopes: () => peer.scopes,
          connections: () => peer.opened
        }
      }, () => eventually(() => peer.closes[0] === 4403, { ...BACK, what: 'the socket ends' }))
    })
  }

  for (const version of providers) {
    test(version.name, async t => {
      const room = freshRoom()
      const line = Line.open(t, version, `${server.origin}/hocuspocus`)
      await changes(t, room, async () => {
        const member = line.join(room, { token: ada })
        await member.synced()
        return {
          member,
          set: (key, value) => member.map.set(key, value),
          get: key => member.map.get(key),
          scopes: () => member.scopes,
          connections: () => line.opened
        }
      }, ({ member }) => eventually(() => member.denied.length > 0, { ...BACK, what: 'the document is denied' }))
    })
  }
})
