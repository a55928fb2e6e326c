// The wire itself: handshake, acks, compression, refusals. Frames in, frames out.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import * as decoding from 'lib0/decoding'
import * as Y from 'yjs'
import { clients, converged, freshRoom, latest, Peer } from '../lib/clients.js'
import { RawClient, REFUSED, SAVED, syncStep1, syncStep2, update } from '../lib/raw.js'
import { Server } from '../lib/server.js'
import { eventually, sleep, throughout } from '../lib/wait.js'

let server
before(async () => { server = await Server.shared() })
after(() => server.stop())

/** Updates of one author, in order. */
function edits (count) {
  const doc = new Y.Doc()
  const updates = []
  doc.on('update', bytes => updates.push(bytes))
  for (let n = 0; n < count; n++) doc.getText('text').insert(n, 'x')
  return { doc, updates }
}

describe('joining', () => {
  test('the server asks for what the client has, and answers what it asks', async t => {
    const client = await RawClient.connect(t, `${server.ws}/${freshRoom()}`)
    client.send(syncStep1())
    await eventually(() => client.ofType(0).length >= 2)
    const kinds = client.ofType(0).map(frame => frame[1]).sort()
    assert.deepEqual(kinds, [0, 1])
    assert.equal(client.count('00010200' + '00'), 1)
  })

  test('every frame holds exactly one message', async t => {
    const room = freshRoom()
    const alice = Peer.join(t, server, latest, room)
    alice.awareness.setLocalStateField('user', { name: 'alice' })
    alice.write(0, 'content')
    await alice.synced()
    const client = await RawClient.connect(t, `${server.ws}/${room}`)
    client.send(syncStep1())
    alice.write(0, 'more ')
    alice.awareness.setLocalStateField('cursor', 1)
    await eventually(() => client.ofType(0).length >= 3 && client.ofType(1).length >= 1)
    for (const frame of client.frames) {
      const decoder = decoding.createDecoder(new Uint8Array(frame))
      if (decoding.readVarUint(decoder) === 0) decoding.readVarUint(decoder)
      decoding.readVarUint8Array(decoder)
      assert.ok(!decoding.hasContent(decoder), `more than one message in ${frame.toString('hex')}`)
    }
  })

  test('QueryAwareness is answered with all states', async t => {
    const room = freshRoom()
    const alice = Peer.join(t, server, latest, room)
    alice.awareness.setLocalStateField('user', { name: 'alice' })
    await alice.synced()
    const client = await RawClient.connect(t, `${server.ws}/${room}`)
    await eventually(() => client.ofType(1).length >= 1)
    const before = client.ofType(1).length
    client.send(Uint8Array.of(3))
    const answer = await eventually(() => client.ofType(1)[before])
    assert.match(answer.toString(), /alice/)
  })

  test('one of the offered subprotocols is chosen', async t => {
    const client = await RawClient.connect(t, `${server.ws}/${freshRoom()}`, ['yauth-abc.def', 'y-sync'])
    assert.ok(['yauth-abc.def', 'y-sync'].includes(client.socket.protocol), client.socket.protocol)
    const none = await RawClient.connect(t, `${server.ws}/${freshRoom()}`)
    assert.equal(none.socket.protocol, '')
  })
})

describe('acks', () => {
  test('with ?acks=1 there is exactly one "saved" per Update and SyncStep2', async t => {
    const client = await RawClient.connect(t, `${server.ws}/${freshRoom()}?acks=1`)
    client.send(syncStep1())
    const { doc, updates } = edits(40)
    client.send(syncStep2(Uint8Array.of(0, 0)))
    for (const bytes of updates) client.send(update(bytes))
    client.send(syncStep2(Y.encodeStateAsUpdate(doc)))
    client.send(update(updates[0])) // nothing new in it, and still answered
    await eventually(() => client.count(SAVED) === 43, { what: '43 acks' })
    await throughout(() => client.count(SAVED) === 43 && client.count(REFUSED) === 0, { during: 500 })
  })

  test('a stock client that asks for acks learns that its edits are saved', async t => {
    for (const kind of clients) {
      const peer = Peer.join(t, server, kind, freshRoom(), { acks: true })
      await peer.synced()
      await eventually(() => peer.saved === 1, { what: `${kind.name}: the SyncStep2 is saved` })
      for (let n = 0; n < 10; n++) peer.write(0, 'x')
      await eventually(() => peer.saved === 11, { what: `${kind.name}: ten edits are saved` })
    }
  })

  test('without it nothing is sent that stock clients do not know', async t => {
    const client = await RawClient.connect(t, `${server.ws}/${freshRoom()}`)
    client.send(syncStep1())
    for (const bytes of edits(5).updates) client.send(update(bytes))
    await sleep(500)
    assert.deepEqual(client.frames.filter(frame => frame[0] > 3).map(frame => frame.toString('hex')), [])
  })
})

describe('compression', () => {
  const text = 'all work and no play makes a dull dashboard. '.repeat(20_000)

  for (const [offer, options] of Object.entries({
    'the default offer': true,
    'no context takeover': { clientNoContextTakeover: true, serverNoContextTakeover: true },
    'a small window': { serverMaxWindowBits: 10, clientMaxWindowBits: 10 },
    'no offer': false
  })) {
    test(`a large document arrives with ${offer}`, async t => {
      const room = freshRoom()
      const author = Peer.join(t, server, latest, room)
      await author.synced()
      author.write(0, text)
      const client = await RawClient.connect(t, `${server.ws}/${room}`, [], { perMessageDeflate: options })
      await eventually(() => {
        client.send(syncStep1())
        return client.ofType(0).some(frame => frame[1] === 1 && frame.length > text.length)
      }, { what: 'the document arrives' })
      // Compressed frames to the server: `ws` compresses what is longer than a kilobyte.
      const doc = new Y.Doc()
      doc.getMap('map').set('note', text)
      client.send(update(Y.encodeStateAsUpdate(doc)))
      await eventually(() => author.get('note') === text)
      assert.equal(client.closed, null)
    })
  }

  test('the first state of a large document is sent compressed', async t => {
    const room = freshRoom()
    const author = Peer.join(t, server, latest, room, { acks: true })
    await author.synced()
    author.write(0, text)
    const witness = Peer.join(t, server, latest, room)
    await converged([author, witness])
    const client = await RawClient.connect(t, `${server.ws}/${room}`, [], { perMessageDeflate: true })
    assert.match(client.socket.extensions, /permessage-deflate/)
    client.send(syncStep1())
    await eventually(() => client.ofType(0).some(frame => frame[1] === 1 && frame.length > text.length))
    const read = client.socket._socket.bytesRead
    assert.ok(read < text.length / 4, `${read} bytes for a document of ${text.length}`)
  })
})

describe('refusals', () => {
  const badName = 'a%00b'

  test('a bad name is refused in the protocol, held for 2 s and closed with 4404', async t => {
    const client = await RawClient.connect(t, `${server.ws}/${badName}`)
    client.send(syncStep1())
    const denied = await eventually(() => client.ofType(2)[0])
    assert.equal(denied[1], 0)
    const { code, after } = await client.whenClosed()
    assert.equal(code, 4404)
    assert.ok(after >= 1_950, `held for ${after} ms`)
    assert.deepEqual(client.frames.filter(frame => frame[0] === 0 && frame[1] === 1), [], 'no document is shown')
  })

  for (const client of clients) {
    test(`${client.name} ${client.stopsWhenRefused ? 'stops' : 'does not hammer'}`, async t => {
      const warn = t.mock.method(console, 'warn', () => {})
      const peer = Peer.join(t, server, client, badName)
      let closed = null
      peer.provider.on('closed', event => { closed = event })
      await sleep(6_000)
      assert.ok(peer.closes.length >= 1, 'it was refused')
      assert.ok(peer.closes.every(code => code === 4404), String(peer.closes))
      assert.match(String(warn.mock.calls[0]?.arguments[0]), /Permission denied/)
      assert.ok(!peer.provider.synced)
      if (client.stopsWhenRefused) {
        assert.equal(peer.opened, 1)
        assert.equal(closed.code, 4404)
        assert.equal(peer.provider.shouldConnect, false)
      } else {
        assert.ok(peer.opened <= 4, `${peer.opened} attempts in 6 s`)
      }
    })
  }

  for (const [what, frame, code] of [
    ['a text frame', 'hello', 1003],
    ['an empty frame', Buffer.alloc(0), 4400],
    ['bytes after the message', Buffer.from('0000010000', 'hex'), 4400],
    ['a length beyond the end', Buffer.from('0002ff7f', 'hex'), 4400],
    ['a state vector that promises 2^27 entries', Buffer.from('000004ffffff7f', 'hex'), 4400],
    ['an update that ends early', Buffer.from('0002020101', 'hex'), 4400]
  ]) {
    test(`${what} ends its own session with ${code} and nobody else's`, async t => {
      const room = freshRoom()
      const bystander = Peer.join(t, server, latest, room)
      bystander.write(0, 'unharmed')
      await bystander.synced()
      const client = await RawClient.connect(t, `${server.ws}/${room}`)
      client.send(frame)
      assert.equal((await client.whenClosed()).code, code)
      const other = Peer.join(t, server, latest, room)
      await converged([bystander, other])
      assert.equal(bystander.opened, 1)
    })
  }
})
