// A version of a dashboard is a room: every stock client shows it by a name, while others edit the present one.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { clients, freshRoom, latest, Peer } from '../lib/clients.js'
import { Line, providers } from '../lib/hocuspocus.js'
import { Server } from '../lib/server.js'
import { eventually, throughout } from '../lib/wait.js'

let server
before(async () => { server = await Server.shared() })
after(() => server.stop())

const second = () => new Date().toISOString().slice(0, 19)

async function nextSecond () {
  const before = second()
  await eventually(() => second() !== before)
}

/** A room in which something was written before a moment and after it, with its author still there. */
async function past (t) {
  const room = freshRoom()
  const author = Peer.join(t, server, latest, room, { acks: true })
  await author.synced()
  author.write(0, 'then')
  author.set('gone', 1)
  await eventually(() => author.saved === 3)
  // Times have whole seconds: nothing is written in the one that is taken.
  await nextSecond()
  const then = `${second()}Z`
  await nextSecond()
  author.erase(0, 4)
  author.write(0, 'now')
  author.remove('gone')
  await eventually(() => author.saved === 6)
  return { room, author, version: `@at/${then}/${room}` }
}

describe('history', { concurrency: 4 }, () => {
  for (const client of clients) {
    test(`${client.name}: a version is shown by the name of a room, and cannot be written to`, async t => {
      const { room, author, version } = await past(t)
      const [visitor, other] = [Peer.join(t, server, client, version), Peer.join(t, server, client, version)]
      await Promise.all([visitor.synced(), other.synced()])
      assert.equal(visitor.read(), 'then')
      assert.equal(visitor.get('gone'), 1)
      visitor.write(0, 'not ')
      visitor.awareness.setLocalStateField('user', { name: 'visitor' })
      author.write(3, ' and later')
      await eventually(() => other.sees(visitor)?.user.name === 'visitor', { what: 'visitors see each other' })
      await throughout(() => other.read() === 'then', { during: 1_000 })
      const present = Peer.join(t, server, client, room)
      await present.synced()
      assert.equal(present.read(), 'now and later')
      assert.equal(present.has('gone'), false)
      assert.deepEqual([visitor.closes, other.closes], [[], []])
    })
  }

  for (const version of providers) {
    test(`${version.name}: a version is shown by the name of a document, and cannot be written to`, async t => {
      const past_ = await past(t)
      const join = name => Line.open(t, version, `${server.origin}/hocuspocus`).join(name)
      const [visitor, other] = [join(past_.version), join(past_.version)]
      await Promise.all([visitor.synced(), other.synced()])
      assert.equal(visitor.text.toString(), 'then')
      assert.deepEqual(visitor.scopes, ['readonly'])
      visitor.text.insert(0, 'not ')
      visitor.show({ name: 'visitor' })
      await eventually(() => other.sees(visitor)?.name === 'visitor', { what: 'visitors see each other' })
      await throughout(() => other.text.toString() === 'then', { during: 1_000 })
      const present = join(past_.room)
      await present.synced()
      assert.equal(present.text.toString(), 'now')
      assert.deepEqual([visitor.line.closes, other.line.closes], [[], []])
    })
  }

  test('a version that is not kept is refused', async t => {
    const { room } = await past(t)
    const early = Peer.join(t, server, latest, `@at/-1d/${room}`)
    await eventually(() => early.closes.includes(4403))
    assert.equal(early.read(), '')
  })

  test('the state of a version is what Yjs had then', async t => {
    const { room, version } = await past(t)
    const time = version.split('/')[1]
    const response = await fetch(`${server.http}/api/dashboards/default/${room}/at/${time}/state`)
    assert.equal(response.status, 200)
    const doc = new latest.Y.Doc()
    latest.Y.applyUpdate(doc, new Uint8Array(await response.arrayBuffer()))
    assert.equal(doc.getText('text').toString(), 'then')
    assert.deepEqual(doc.getMap('map').toJSON(), { gone: 1 })
  })
})
