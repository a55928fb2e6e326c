// What one client writes, every other client reads: all kinds of content, all versions, byte-true.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import * as Y14 from '@y/y'
import { clients, clients13, converged, freshRoom, latest, Peer, print } from '../lib/clients.js'
import { Server } from '../lib/server.js'
import { eventually } from '../lib/wait.js'

let server
before(async () => { server = await Server.shared() })
after(() => server.stop())

/** Values that a server loses which reads documents into its own types. */
const delicate = {
  'big integer': 12345678901234567890n % (1n << 63n),
  'negative big integer': -7n,
  'minus zero': -0,
  'nothing': undefined,
  'null': null,
  'bytes': Uint8Array.of(0, 1, 127, 128, 255),
  'no bytes': new Uint8Array(0),
  'largest integer': Number.MAX_SAFE_INTEGER,
  'beyond the largest integer': 2 ** 60,
  'float32': 0.5,
  'float64': 0.1,
  'not a number': NaN,
  'infinity': -Infinity,
  'surrogates': '👩‍👩‍👧 \u0000 ünï',
  'nested': [{ deep: [1n, -0, undefined, { 'ключ': Uint8Array.of(9) }] }, [], {}]
}

/** In arrays Yjs 13 takes some of them only inside an object. */
const wrapped = Object.values(delicate).map(value => ({ value }))

for (const client of clients) {
  describe(client.name, () => {
    test('two clients converge', async t => {
      const room = freshRoom()
      const alice = Peer.join(t, server, client, room)
      const bob = Peer.join(t, server, client, room)
      await Promise.all([alice.synced(), bob.synced()])
      alice.write(0, 'hello world')
      bob.set('title', 'Sales')
      alice.insert(0, [1, 'two', { three: 3 }])
      await converged([alice, bob])
      bob.erase(0, 6)
      alice.write(0, '👋 ')
      bob.drop(1, 1)
      alice.remove('title')
      bob.set('owner', 'bob')
      await converged([alice, bob])
      assert.equal(bob.read(), '👋 world')
      assert.equal(print(alice.items()), '[1,{"three":3}]')
      assert.deepEqual(alice.keys(), ['owner'])
    })

    test('what was written before a client joined is there when it is synced', async t => {
      const room = freshRoom()
      const alice = Peer.join(t, server, client, room)
      alice.write(0, 'early')
      await alice.synced()
      const sentinel = Peer.join(t, server, client, room)
      await converged([alice, sentinel])
      const bob = Peer.join(t, server, client, room)
      await bob.synced()
      assert.equal(bob.read(), 'early')
    })

    test('delicate values survive byte-true', async t => {
      const room = freshRoom()
      const alice = Peer.join(t, server, client, room)
      const bob = Peer.join(t, server, client, room)
      await Promise.all([alice.synced(), bob.synced()])
      for (const [key, value] of Object.entries(delicate)) alice.set(key, value)
      alice.insert(0, wrapped)
      const carol = Peer.join(t, server, client, room)
      await converged([alice, bob, carol])
      for (const reader of [bob, carol]) {
        for (const [key, value] of Object.entries(delicate)) {
          assert.ok(reader.has(key), key)
          assert.equal(print(reader.get(key)), print(value), key)
        }
        assert.equal(print(reader.items()), print(wrapped))
      }
    })
  })
}

test('clients of all versions converge in one room', async t => {
  const room = freshRoom()
  const peers = clients.map(client => Peer.join(t, server, client, room))
  await Promise.all(peers.map(peer => peer.synced()))
  peers.forEach((peer, n) => {
    peer.set(`key ${n}`, n)
    peer.write(0, `[${n}]`)
    peer.insert(0, [n])
  })
  await converged(peers)
  peers.forEach(peer => peer.erase(0, 1))
  await converged(peers)
  assert.equal(peers[0].items().length, peers.length)
})

for (const client of clients13) {
  describe(`${client.name}: every kind of Yjs 13 content`, () => {
    const { Y } = client
    const pair = async t => {
      const room = freshRoom()
      const alice = Peer.join(t, server, client, room)
      const bob = Peer.join(t, server, client, room)
      await Promise.all([alice.synced(), bob.synced()])
      return [alice, bob, () => Peer.join(t, server, client, room)]
    }

    test('nested types', async t => {
      const [alice, bob] = await pair(t)
      const widgets = new Y.Map()
      alice.doc.getMap('map').set('widgets', widgets)
      const chart = new Y.Map()
      widgets.set('chart', chart)
      chart.set('series', new Y.Array())
      chart.get('series').push([new Y.Map([['name', 'revenue']])])
      chart.set('note', new Y.Text('draft'))
      await converged([alice, bob])
      const seen = bob.doc.getMap('map').get('widgets').get('chart')
      seen.get('series').get(0).set('name', 'profit')
      seen.get('note').insert(5, ' 2')
      await eventually(() => chart.get('note').toString() === 'draft 2')
      assert.equal(chart.get('series').get(0).get('name'), 'profit')
      widgets.delete('chart')
      await eventually(() => bob.doc.getMap('map').get('widgets').size === 0)
    })

    test('formatted text with embeds', async t => {
      const [alice, bob, join] = await pair(t)
      alice.text.insert(0, 'plain bold')
      alice.text.format(6, 4, { bold: true })
      bob.text.insertEmbed(0, { image: 'a.png' }, { width: 100 })
      await eventually(() => print(alice.text.toDelta()) === print(bob.text.toDelta()) && alice.text.length === 11)
      const carol = join()
      await carol.synced()
      assert.equal(print(carol.text.toDelta()), print(alice.text.toDelta()))
      assert.ok(alice.text.toDelta().some(part => part.attributes?.bold && part.insert === 'bold'))
    })

    test('XML', async t => {
      const [alice, bob] = await pair(t)
      const fragment = alice.doc.getXmlFragment('xml')
      const paragraph = new Y.XmlElement('p')
      fragment.insert(0, [paragraph, new Y.XmlHook('embed')])
      paragraph.setAttribute('class', 'lead')
      paragraph.insert(0, [new Y.XmlText('words')])
      const other = bob.doc.getXmlFragment('xml')
      await eventually(() => other.toString() === fragment.toString() && other.length === 2)
      assert.match(other.toString(), /<p class="lead">words<\/p>/)
      assert.equal(other.get(1).hookName, 'embed')
    })

    test('references to subdocuments', async t => {
      const [alice, bob] = await pair(t)
      const page = new Y.Doc({ guid: freshRoom('page'), meta: { colour: 'red' }, autoLoad: false })
      alice.doc.getMap('pages').set('first', page)
      const seen = await eventually(() => bob.doc.getMap('pages').get('first'))
      assert.equal(seen.guid, page.guid)
      assert.deepEqual(seen.meta, { colour: 'red' })
      assert.ok(bob.doc.getSubdocs().has(seen))
    })
  })
}

describe('@y/websocket 4.0: Yjs 14 content', () => {
  test('nested types, attributes and subdocuments', async t => {
    const client = clients.at(-1)
    const { Y } = client
    const room = freshRoom()
    const alice = Peer.join(t, server, client, room)
    const bob = Peer.join(t, server, client, room)
    await Promise.all([alice.synced(), bob.synced()])
    const section = new Y.Type('section')
    alice.doc.get('list').push([section])
    section.setAttr('level', 2)
    section.insert(0, 'words')
    section.format(0, 5, { bold: true })
    alice.doc.get('map').setAttr('page', new Y.Doc({ guid: 'page-one' }))
    const seen = await eventually(() => bob.items()[0])
    await eventually(() => seen.toString() === section.toString())
    assert.equal(seen.getAttr('level'), 2)
    assert.equal(await eventually(() => bob.get('page')?.guid), 'page-one')
  })
})

test('a client id above 32 bits, as Yjs 14 draws them, reaches clients of Yjs 13', async t => {
  const room = freshRoom()
  const doc = new Y14.Doc()
  doc.clientID = Number.MAX_SAFE_INTEGER
  const young = Peer.join(t, server, clients.at(-1), room, { doc })
  const old = Peer.join(t, server, latest, room)
  await Promise.all([young.synced(), old.synced()])
  young.write(0, 'from fifty-three bits')
  await converged([young, old])
  assert.equal(old.read(), 'from fifty-three bits')
})
