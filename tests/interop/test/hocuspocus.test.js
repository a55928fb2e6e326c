// The Hocuspocus providers 2.15, 3.4 and 4.7, unmodified: alone, with each other, and with y-websocket.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import * as Y from 'yjs'
import { freshRoom, latest, Peer } from '../lib/clients.js'
import { Line, providers } from '../lib/hocuspocus.js'
import { needsOwnServer, Server, temporaryStore } from '../lib/server.js'
import { eventually, sleep, throughout } from '../lib/wait.js'

let server
before(async () => { server = await Server.shared() })
after(() => server.stop())

const AT_ONCE = { within: 3_000 }

/** How long a provider may take to come back: version 3 and 4 wait a second. */
const BACK = { within: 10_000 }

const url = () => `${server.origin}/hocuspocus`

for (const version of providers) {
  describe(version.name, { concurrency: 4 }, () => {
    const join = (t, name, options) => Line.open(t, version, url()).join(name, options)

    test('two clients converge, and what they wrote is saved', async t => {
      const room = freshRoom()
      const [alice, bob] = [join(t, room), join(t, room)]
      await Promise.all([alice.synced(), bob.synced()])
      alice.map.set('from', 'alice')
      bob.text.insert(0, 'bob was here')
      await Promise.all([alice.saved(), bob.saved()])
      await eventually(() => bob.map.get('from') === 'alice' && alice.text.toString() === 'bob was here', AT_ONCE)
      const late = join(t, room)
      await late.synced()
      assert.equal(late.text.toString(), 'bob was here')
      assert.deepEqual(late.scopes, ['read-write'])
      assert.deepEqual([alice.line.closes, bob.line.closes], [[], []])
    })

    test('any path will do', async t => {
      const room = freshRoom()
      const names = ['', '/', '/collaboration', '/hocuspocus/', `/ws/acme/${room}`]
      const members = names.map(path => Line.open(t, version, `${server.origin}${path}`).join(room))
      await Promise.all(members.map(member => member.synced()))
      members[0].map.set('key', 'value')
      await eventually(() => members.every(member => member.map.get('key') === 'value'), AT_ONCE)
    })

    test('any path will do for who edits before there is a socket', async t => {
      for (const path of ['/', '/collaboration', '/hocuspocus']) {
        const room = freshRoom()
        const alice = Line.open(t, version, `${server.origin}${path}`).join(room)
        alice.show({ name: 'Alice' })
        alice.map.set('early', path)
        const bob = Line.open(t, version, `${server.origin}${path}`).join(room)
        await Promise.all([alice.saved(), bob.saved()])
        await eventually(() => bob.map.get('early') === path && bob.sees(alice)?.name === 'Alice', AT_ONCE)
        assert.deepEqual([alice.line.closes, bob.line.closes], [[], []], path)
      }
    })

    test('edits made offline arrive', async t => {
      const room = freshRoom()
      const [alice, bob] = [join(t, room), join(t, room)]
      await Promise.all([alice.saved(), bob.saved()])
      alice.line.offline()
      await eventually(() => !alice.provider.synced, BACK)
      alice.map.set('offline', 1)
      alice.text.insert(0, 'typed in a tunnel')
      bob.map.set('meanwhile', 2)
      await bob.saved()
      assert.equal(bob.text.toString(), '')
      alice.line.online()
      await eventually(() => bob.text.toString() === 'typed in a tunnel' && alice.map.get('meanwhile') === 2, BACK)
      // Version 2 goes below zero here, with any server: it forgets what it queued, which is acknowledged all the same.
      await eventually(() => alice.unsynced <= 0, BACK)
    })

    test('a broken connection heals by itself', async t => {
      const room = freshRoom()
      const [alice, bob] = [join(t, room), join(t, room)]
      await Promise.all([alice.saved(), bob.saved()])
      for (let round = 1; round <= 3; round++) {
        alice.line.cut()
        await eventually(() => !alice.provider.synced, BACK)
        await alice.synced()
        alice.map.set('round', round)
        await eventually(() => bob.map.get('round') === round, BACK)
      }
    })

    test('a document of 5 MB syncs', async t => {
      const room = freshRoom()
      const alice = join(t, room)
      await alice.synced()
      alice.doc.transact(() => {
        for (let n = 0; n < 50; n++) alice.map.set(`page ${n}`, `${n}`.repeat(100_000 / `${n}`.length))
      })
      await alice.saved(30_000)
      const bob = join(t, room)
      await bob.synced(30_000)
      assert.deepEqual(bob.map.toJSON(), alice.map.toJSON())
      await bob.saved()
    })

    test('presence appears, changes and disappears at once', async t => {
      const room = freshRoom()
      const [alice, bob] = [join(t, room), join(t, room)]
      alice.show({ name: 'alice' })
      bob.show({ name: 'bob' })
      await eventually(() => alice.sees(bob)?.name === 'bob' && bob.sees(alice)?.name === 'alice', BACK)
      alice.awareness.setLocalStateField('cursor', 1)
      await eventually(() => bob.sees(alice).cursor === 1, AT_ONCE)
      const carol = join(t, room)
      carol.show({ name: 'carol' })
      await eventually(() => carol.sees(alice)?.cursor === 1 && carol.sees(bob)?.name === 'bob', BACK)
      alice.leave()
      await eventually(() => !bob.sees(alice) && !carol.sees(alice), AT_ONCE)
      await throughout(() => bob.sees(carol) && carol.sees(bob), { during: 500 })
    })

    test('presence that is set to null while connected leaves no ghost', async t => {
      const room = freshRoom()
      const [alice, bob] = [join(t, room), join(t, room)]
      alice.show({ name: 'alice' })
      bob.show({ name: 'bob' })
      await eventually(() => bob.sees(alice) && alice.sees(bob), BACK)
      alice.show(null)
      await eventually(() => !bob.sees(alice), AT_ONCE)
      // It edits on, reads on, and is not shown to newcomers.
      alice.map.set('still', 'here')
      await eventually(() => bob.map.get('still') === 'here', AT_ONCE)
      const carol = join(t, room)
      await carol.synced()
      await eventually(() => carol.sees(bob), AT_ONCE)
      assert.equal(carol.sees(alice), undefined)
      alice.line.cut()
      await eventually(() => alice.line.opened === 2 && alice.provider.synced, BACK)
      alice.leave()
      await throughout(() => !bob.sees(alice) && !carol.sees(alice) && bob.sees(carol) !== null, { during: 1_000 })
      const states = [...bob.awareness.getStates().values()].map(state => state.name)
      assert.deepEqual(states.filter(Boolean), ['bob'])
    })

    test('shown again after null, and gone with the socket', async t => {
      const room = freshRoom()
      const [alice, bob] = [join(t, room), join(t, room)]
      alice.show({ name: 'alice' })
      await eventually(() => bob.sees(alice), BACK)
      alice.show(null)
      await eventually(() => !bob.sees(alice), AT_ONCE)
      alice.show({ name: 'again' })
      await eventually(() => bob.sees(alice)?.name === 'again', AT_ONCE)
      alice.line.offline()
      await eventually(() => !bob.sees(alice), AT_ONCE)
    })

    test('who comes back is seen, and sees the others, at once', async t => {
      const room = freshRoom()
      const [alice, bob] = [join(t, room), join(t, room)]
      alice.show({ name: 'alice' })
      bob.show({ name: 'bob' })
      await eventually(() => bob.sees(alice) && alice.sees(bob), BACK)
      for (let round = 0; round < 2; round++) {
        const opened = alice.line.opened
        alice.line.cut()
        await eventually(() => alice.line.opened > opened && alice.provider.synced, BACK)
        // The stock timers that would hide a failure take 15 s.
        await eventually(() => bob.sees(alice)?.name === 'alice' && alice.sees(bob)?.name === 'bob', AT_ONCE)
      }
    })

    test('ten clients make one change of presence cost no more than their echoes', async t => {
      const room = freshRoom()
      const members = Array.from({ length: 10 }, () => join(t, room))
      members.forEach((member, n) => member.show({ name: `user ${n}` }))
      await eventually(() => members.every(member => member.awareness.getStates().size === 10), BACK)
      const total = key => members.reduce((sum, member) => sum + member.line[key], 0)
      await settled(() => total('sent') + total('received'))
      const [sent, received] = [total('sent'), total('received')]
      members[0].awareness.setLocalStateField('cursor', 3)
      await eventually(() => members.every(member => member.awareness.getStates().get(members[0].doc.clientID).cursor === 3))
      await settled(() => total('sent') + total('received'))
      assert.ok(total('sent') - sent <= 10, `${total('sent') - sent} frames to the server`)
      assert.ok(total('received') - received <= 10, `${total('received') - received} frames from the server`)
    })

    test('several documents on one socket, opened and closed fast', async t => {
      const line = Line.open(t, version, url())
      const room = freshRoom()
      const kept = line.join(`${room}-kept`)
      for (let round = 0; round < 15; round++) {
        const members = Array.from({ length: 8 }, (_, n) => line.join(`${room}-${n}`))
        if (round % 3 === 0) await Promise.all(members.map(member => member.synced()))
        if (round % 3 === 1) await sleep(round)
        members.forEach((member, n) => member.map.set(`round ${round}`, n))
        if (round % 2 === 0) await Promise.all(members.map(member => member.saved()))
        members.forEach(member => member.leave())
      }
      kept.map.set('kept', true)
      await kept.saved()
      // What was said to be saved is there, for whoever opens it next.
      const again = Array.from({ length: 8 }, (_, n) => line.join(`${room}-${n}`))
      await Promise.all(again.map(member => member.saved()))
      again.forEach((member, n) => {
        for (let round = 0; round < 15; round += 2) assert.equal(member.map.get(`round ${round}`), n)
      })
      assert.deepEqual([line.opened, line.closes], [1, []])
    })

    test('a document that is synced by force all the time holds nothing up', async t => {
      const line = Line.open(t, version, url())
      const room = freshRoom()
      const forced = line.join(`${room}-forced`, { forceSyncInterval: 300 })
      const [other, far] = [line.join(`${room}-other`), join(t, `${room}-other`)]
      await Promise.all([forced.saved(), other.saved(), far.saved()])
      await sleep(7_000) // longer than a budget for single questions lasts
      other.map.set('key', 1)
      await eventually(() => far.map.get('key') === 1, AT_ONCE)
      for (let round = 0; round < 3; round++) {
        forced.map.set('round', round)
        await eventually(() => forced.unsynced === 0, AT_ONCE)
      }
      assert.deepEqual([line.opened, line.closes], [1, []])
    })

    test('stateless messages go both ways', async t => {
      const room = freshRoom()
      const [alice, bob, other] = [join(t, room), join(t, room), join(t, `${room}-other`)]
      const neighbour = Peer.join(t, server, latest, room)
      await Promise.all([alice.synced(), bob.synced(), other.synced(), neighbour.synced()])
      alice.provider.sendStateless('{"toast":"hi"}')
      await eventually(() => bob.stateless.length === 1, AT_ONCE)
      bob.provider.sendStateless('ümlaut')
      await eventually(() => alice.stateless.length === 1, AT_ONCE)
      const api = `${server.http}/api/dashboards/default/${room}/stateless`
      const response = await fetch(api, { method: 'POST', body: 'from the server' })
      assert.equal(response.status, 202)
      await eventually(() => alice.stateless.length === 2 && bob.stateless.length === 2, AT_ONCE)
      assert.deepEqual(alice.stateless, ['ümlaut', 'from the server'])
      assert.deepEqual(bob.stateless, ['{"toast":"hi"}', 'from the server'])
      assert.deepEqual(other.stateless, [])
    })

    test('y-websocket clients share its rooms, their edits and cursors', async t => {
      const room = freshRoom()
      const alice = join(t, room)
      const bob = Peer.join(t, server, latest, room)
      alice.show({ user: { name: 'alice' } })
      bob.awareness.setLocalState({ user: { name: 'bob' } })
      await Promise.all([alice.synced(), bob.synced()])
      alice.map.set('from', 'hocuspocus')
      bob.write(0, 'from y-websocket')
      await eventually(() => bob.get('from') === 'hocuspocus' && alice.text.toString() === 'from y-websocket', AT_ONCE)
      await eventually(() => bob.sees(alice)?.user.name === 'alice' && alice.sees(bob)?.user.name === 'bob', AT_ONCE)
      await alice.saved()
      bob.leave()
      await eventually(() => !alice.sees(bob), AT_ONCE)
      alice.leave()
    })

    test('names are dashboards, and words that objects inherit are names like any other', async t => {
      const suffix = freshRoom('')
      const line = Line.open(t, version, url())
      for (const [name, path] of [
        ['__proto__', 'default/__proto__'],
        ['constructor', 'default/constructor'],
        [`acme/sales${suffix}`, `acme/sales${suffix}`],
        [`default/shared${suffix}`, `default/shared${suffix}`],
        [`plain${suffix}`, `default/plain${suffix}`],
        [`default/acme/shared${suffix}`, `acme/shared${suffix}`],
        [`user:1/notes${suffix}`, `user:1/notes${suffix}`],
        [`/q83v//ASN/${suffix}/`, `/q83v//ASN/${suffix}/`],
        [`my project/board${suffix}`, `default/my%20project/board${suffix}`]
      ]) {
        const member = line.join(name)
        await member.synced()
        member.map.set('name', name + suffix)
        await member.saved()
        const json = await (await fetch(`${server.http}/api/dashboards/${path}`)).json()
        assert.equal(json.map.name, name + suffix)
      }
    })

    test('names that no dashboard can have are denied', async t => {
      const line = Line.open(t, version, url())
      for (const name of ['..', 'a/../b', '\n', 'x'.repeat(300)]) {
        // Without a token, version 2 says nothing that could be answered but its question.
        const member = line.join(name, { token: 'any' })
        await eventually(() => member.denied.length > 0, BACK)
        assert.match(member.denied.join(), /^no dashboard can have this name: [^,]+,[^,]+,[^,]+$/)
        assert.ok(!member.provider.synced)
      }
      const fine = line.join(freshRoom())
      await fine.saved()
      assert.deepEqual(line.closes, [])
    })

    test('everything is there after a restart, also of what was under way', { skip: needsOwnServer }, async t => {
      const own = await Server.start({ store: await temporaryStore(t) })
      t.after(() => own.stop())
      const room = freshRoom()
      const lines = [0, 1].map(() => Line.open(t, version, `${own.origin}/hocuspocus`))
      const [alice, bob] = lines.map(line => line.join(room))
      await Promise.all([alice.saved(), bob.saved()])
      for (const signal of ['SIGTERM', 'SIGKILL']) {
        alice.map.set(`before ${signal}`, true)
        await own.stop(signal)
        alice.map.set(`during ${signal}`, true)
        await own.restart()
        await Promise.all([alice, bob].map(member => eventually(() => member.provider.synced, { within: 40_000 })))
        await eventually(() => bob.map.get(`before ${signal}`) && bob.map.get(`during ${signal}`), BACK)
        await eventually(() => alice.unsynced <= 0, BACK)
      }
    })
  })
}

describe('HocuspocusProvider 4.7 only', () => {
  const version = providers.find(({ major }) => major === 4)

  test('several sessions of one document on one socket', async t => {
    const line = Line.open(t, version, url())
    const room = freshRoom()
    const members = [0, 1, 2].map(() => line.join(room, { sessionAwareness: true }))
    members.forEach((member, n) => member.show({ name: `session ${n}` }))
    await Promise.all(members.map(member => member.synced()))
    members[0].map.set('key', 'value')
    await eventually(() => members.every(member => member.map.get('key') === 'value'), AT_ONCE)
    await eventually(() => members[1].sees(members[0])?.name === 'session 0' && members[0].sees(members[2]), AT_ONCE)
    await members[0].saved()
    members[0].leave()
    await eventually(() => !members[1].sees(members[0]) && members[1].sees(members[2]), AT_ONCE)
    members[1].map.set('key', 'still')
    await eventually(() => members[2].map.get('key') === 'still', AT_ONCE)
    await members[1].saved()
    assert.deepEqual([line.opened, line.closes], [1, []])
  })

  test('batches count as one', async t => {
    const room = freshRoom()
    const alice = Line.open(t, version, url()).join(room, { flushDelay: 50 })
    const bob = Line.open(t, version, url()).join(room)
    await Promise.all([alice.saved(), bob.saved()])
    for (let n = 0; n < 40; n++) {
      alice.text.insert(n, 'x')
      alice.awareness.setLocalStateField('cursor', n)
      await sleep(5)
    }
    await alice.saved()
    await eventually(() => bob.text.length === 40 && bob.sees(alice).cursor === 39, AT_ONCE)
    await throughout(() => alice.unsynced === 0, { during: 300 })
  })
})

test('the three versions and y-websocket in one room', async t => {
  const room = freshRoom()
  const members = providers.map(version => Line.open(t, version, url()).join(room))
  const peer = Peer.join(t, server, latest, room)
  members.forEach(member => member.show({ name: member.line.version.name }))
  await Promise.all([...members, peer].map(member => member.synced()))
  members.forEach((member, n) => member.map.set(`from ${n}`, n))
  peer.set('from y-websocket', true)
  await Promise.all(members.map(member => member.saved()))
  const complete = map => map.has('from y-websocket') && [0, 1, 2].every(n => map.get(`from ${n}`) === n)
  await eventually(() => members.every(member => complete(member.map)) && complete(peer), AT_ONCE)
  const states = () => members.every(one => members.every(other => one === other || one.sees(other)))
  await eventually(states, AT_ONCE)
  const vectors = [...members.map(member => member.doc), peer.doc].map(doc => Y.encodeStateVector(doc).join())
  assert.equal(new Set(vectors).size, 1)
})

async function settled (count) {
  for (let last = -1; last !== count();) {
    last = count()
    await sleep(400)
  }
}
