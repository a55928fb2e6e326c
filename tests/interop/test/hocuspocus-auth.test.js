// Tokens, viewers, refusals and outages, with the Hocuspocus providers and an authenticator that asks for tokens.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { freshRoom } from '../lib/clients.js'
import { Line, providers } from '../lib/hocuspocus.js'
import { needsOwnServer, Server } from '../lib/server.js'
import { eventually, sleep, throughout } from '../lib/wait.js'

const BACK = { within: 10_000 }

describe('tokens', { skip: needsOwnServer }, () => {
  let server
  before(async () => { server = await Server.controlled() })
  after(() => server?.stop())
  const url = () => `${server.origin}/hocuspocus`

  for (const version of providers) {
    describe(version.name, { concurrency: 3 }, () => {
      const open = t => Line.open(t, version, url())

      test('a good token opens, from a function too', async t => {
        const line = open(t)
        const room = freshRoom()
        const members = [line.join(room, { token: 'editor' }), line.join(`${room}-2`, { token: async () => 'editor' })]
        for (const member of members) {
          await member.saved()
          assert.deepEqual([member.scopes, member.denied], [['read-write'], []])
        }
      })

      test('a viewer sees everything, changes nothing and stays', async t => {
        const room = freshRoom()
        const author = open(t).join(room, { token: 'editor' })
        await author.synced()
        author.text.insert(0, 'on display')
        await author.saved()
        const viewer = open(t).join(room, { token: 'viewer' })
        await viewer.synced()
        await viewer.saved()
        assert.deepEqual(viewer.scopes, ['readonly'])
        assert.equal(viewer.text.toString(), 'on display')
        viewer.show({ name: 'viewer' })
        viewer.text.insert(0, 'graffiti ')
        await eventually(() => author.sees(viewer)?.name === 'viewer', BACK)
        author.text.insert(0, 'still ')
        await author.saved()
        await eventually(() => viewer.text.toString().includes('still'), BACK)
        // What was not taken stays counted.
        await throughout(() => author.text.toString() === 'still on display' && viewer.unsynced > 0, { during: 1_000 })
        assert.deepEqual([viewer.line.opened, viewer.line.closes], [1, []])
      })

      test('who is denied hears why, and may try again on the same socket', async t => {
        const line = open(t)
        const room = freshRoom()
        let token = 'wrong'
        const member = line.join(room, { token: () => token })
        const neighbour = line.join(`${room}-2`, { token: 'editor' })
        await eventually(() => member.denied.length > 0, BACK)
        assert.deepEqual(member.denied, ['permission-denied'])
        await neighbour.saved()
        // Into the void.
        member.map.set('early', true)
        await throughout(() => member.unsynced > 0 && !member.provider.synced, { during: 500 })
        token = 'editor'
        if (version.major === 2) {
          await member.provider.connect()
        } else {
          await member.provider.sendToken()
          member.provider.startSync()
        }
        await member.saved()
        const other = open(t).join(room, { token: 'editor' })
        await other.synced()
        assert.equal(other.map.get('early'), true)
        assert.deepEqual([line.opened, line.closes], [1, []])
      })

      test('a token is renewed in the live session', async t => {
        const line = open(t)
        let asked = 0
        const member = line.join(freshRoom(), { token: () => { asked++; return asked < 4 ? 'short' : 'editor' } })
        await member.saved()
        for (let n = 0; n < 120 && asked < 4; n++) {
          member.map.set('n', n)
          await sleep(100)
        }
        assert.ok(asked >= 4, `asked ${asked} times`)
        member.map.set('last', true)
        await eventually(() => member.provider.synced && member.unsynced <= 0, BACK)
        await throughout(() => member.provider.synced, { during: 1_000 })
        assert.deepEqual(member.denied, [])
        if (version.major === 2) {
          // It does not know the question, and comes back instead.
          assert.ok(line.closes.length >= 3 && line.closes.every(code => code === 4205), String(line.closes))
        } else {
          assert.deepEqual([line.opened, line.closes], [1, []])
        }
      })

      test('a token that is no good any more ends the document', async t => {
        const line = open(t)
        const room = freshRoom()
        let token = 'short'
        const member = line.join(room, { token: () => token })
        const neighbour = line.join(`${room}-2`, { token: 'editor' })
        await Promise.all([member.saved(), neighbour.saved()])
        token = 'wrong'
        await eventually(() => member.denied.length > 0, { within: 15_000 })
        assert.equal(member.denied[0], 'permission-denied')
        member.map.set('late', true)
        neighbour.map.set('on', true)
        await eventually(() => neighbour.provider.synced && neighbour.unsynced === 0, BACK)
        const other = open(t).join(room, { token: 'editor' })
        await other.synced()
        assert.equal(other.map.get('late'), undefined)
      })

      test('another token changes what a live session may do', { skip: version.major === 2 && 'sends none by itself' }, async t => {
        const line = open(t)
        const room = freshRoom()
        let token = 'viewer'
        const member = line.join(room, { token: () => token })
        const witness = open(t).join(room, { token: 'editor' })
        await Promise.all([member.saved(), witness.saved()])
        member.map.set('refused', 1)
        await throughout(() => member.unsynced > 0 && !witness.map.has('refused'), { during: 400 })
        token = 'editor'
        await member.provider.sendToken()
        await eventually(() => witness.map.get('refused') === 1, BACK)
        assert.deepEqual(member.scopes, ['readonly', 'read-write'])
        member.map.set('taken', 2)
        await eventually(() => witness.map.get('taken') === 2, BACK)
        // What was refused is counted until it is known to be saved.
        await eventually(() => member.unsynced === 0, BACK)
        await throughout(() => member.unsynced === 0, { during: 300 })
        assert.deepEqual(line.closes, [])
      })
    })
  }
})

describe('unsyncedChanges', { skip: needsOwnServer }, () => {
  for (const version of providers) {
    test(`${version.name}: 0 exactly when the edit is durable, above 0 while the store is down`, async t => {
      const server = await Server.controlled()
      t.after(() => server.stop())
      const url = `${server.origin}/hocuspocus`
      const room = freshRoom()
      const member = Line.open(t, version, url).join(room, { token: 'editor' })
      const witness = Line.open(t, version, url).join(room, { token: 'editor' })
      await Promise.all([member.saved(), witness.saved()])
      for (let round = 0; round < 3; round++) {
        server.say('store down')
        await sleep(200)
        for (let n = 0; n < 5; n++) member.map.set(`${round} ${n}`, true)
        await eventually(() => witness.map.get(`${round} 4`), BACK)
        // Everybody sees it, nobody says that it is saved.
        await throughout(() => member.unsynced === 5, { during: 1_000 })
        server.say('store up')
        await member.saved()
        assert.equal(member.counts.at(-1), 0)
      }
      // Each edit has been counted once up and once down.
      await throughout(() => member.unsynced === 0 && witness.unsynced === 0, { during: 300 })
      assert.ok(member.counts.every(count => count >= 0), String(member.counts))
    })

    test(`${version.name}: a document that cannot be loaded opens by itself when the store is back`, async t => {
      const server = await Server.controlled()
      t.after(() => server.stop())
      const line = Line.open(t, version, `${server.origin}/hocuspocus`)
      const open = line.join(freshRoom(), { token: 'editor' })
      await open.saved()
      server.say('store down')
      await sleep(200)
      const member = line.join(freshRoom(), { token: 'editor' })
      member.map.set('early', true)
      open.map.set('on', true)
      await throughout(() => !member.provider.synced && member.denied.length === 0, { during: 2_000 })
      server.say('store up')
      await eventually(() => member.provider.synced && member.unsynced <= 0 && open.unsynced === 0, { within: 15_000 })
      assert.deepEqual([line.opened, line.closes], [1, []])
    })
  }
})
