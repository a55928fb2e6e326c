// What REST makes of a dashboard, published clients show; and what they write meanwhile is there, too.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as Y14 from '@y/y'
import * as Y from 'yjs'
import { clients, freshRoom, latest, Peer } from '../lib/clients.js'
import { Line, providers } from '../lib/hocuspocus.js'
import { Server } from '../lib/server.js'
import { eventually } from '../lib/wait.js'

// A minute is for those who want to be sure: SECONDS=60.
const SECONDS = Number(process.env.SECONDS ?? 3)
const CASES = Number(process.env.CASES ?? 60)
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))

let server
// As many calls come from one address as the machine can make.
before(async () => { server = await Server.start({ args: ['--address-request-rate', '100000', '--address-byte-rate', '1GiB'] }) })
after(() => server.stop())

const resource = room => `${server.http}/api/dashboards/default/${room}`

async function call (method, url, body, headers = {}) {
  const answer = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) })
  const json = await answer.json()
  return { status: answer.status, etag: answer.headers.get('etag'), json }
}

/** mulberry32 */
function generator (seed) {
  const next = () => {
    seed = (seed + 0x6D2B79F5) | 0
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = n => Math.floor(next() * n)
  return { below, pick: list => list[below(list.length)] }
}

function value ({ below, pick }, depth = 0) {
  switch (below(depth > 2 ? 5 : 8)) {
    case 0: return null
    case 1: return below(2) === 0
    case 2: return below(1000) - 500
    case 3: return (below(2000) - 1000) / 7
    case 4: return pick(['', 'a', 'ünï', '👩‍👩‍👧', 'two words'])
    case 5: return Array.from({ length: below(4) }, () => value({ below, pick }, depth + 1))
    case 6: return Array.from({ length: below(4) }, (_, id) => ({ id: `${id}`, n: below(9) }))
    default: return Object.fromEntries(Array.from({ length: below(4) }, () => [pick(['a', 'b', 'c']), value({ below, pick }, depth + 1)]))
  }
}

/** Changes something of JSON somewhere, keeping what roots are. */
function change (random, here, isRoot = true) {
  const { below, pick } = random
  if (typeof here === 'string' && isRoot) {
    const at = below(here.length + 1)
    return [...here.slice(0, at), pick(['x', '😀', 'long words', '']), ...here.slice(at + below(3))].join('').toWellFormed()
  }
  if (Array.isArray(here)) {
    const list = [...here]
    const at = below(list.length + 1)
    switch (below(4)) {
      case 0: list.splice(at, 1); break
      case 1: list.splice(at, 0, value(random)); break
      case 2: list.reverse(); break
      default: if (list.length > 0) list[at % list.length] = change(random, list[at % list.length], false)
    }
    return list
  }
  if (here !== null && typeof here === 'object') {
    const keys = Object.keys(here)
    const map = { ...here }
    const key = keys.length > 0 && below(3) > 0 ? pick(keys) : pick(['a', 'b', 'c', 'd'])
    if (below(4) === 0) delete map[key]
    else map[key] = key in map && below(3) > 0 ? change(random, map[key], false) : value(random)
    return map
  }
  return value(random)
}

/** What Yjs 13 shows of the roots that the cases have. */
const shown = doc => ({
  map: doc.getMap('map').toJSON(),
  text: doc.getText('text').toString(),
  list: doc.getArray('list').toJSON()
})

const filled = json => ({ map: json.map ?? {}, text: json.text ?? '', list: json.list ?? [] })
// An emptied text is shown as an empty list.
const asShown = json => filled(Array.isArray(json.text) ? { ...json, text: '' } : json)

test(`documents become generated JSON for Yjs 13 and 14 (SEED=${SEED})`, async t => {
  const random = generator(SEED)
  const room = freshRoom()
  const alice = Peer.join(t, server, latest, room)
  const bob = Peer.join(t, server, clients.find(client => client.Y === Y14), room)
  await call('PUT', resource(room), { map: { a: 1 }, text: 'text', list: [1] })
  await Promise.all([alice.synced(), bob.synced()])
  for (let at = 0; at < CASES; at++) {
    const before = await call('GET', resource(room))
    const target = asShown(before.json)
    for (let changes = random.below(4); changes >= 0; changes--) {
      const root = random.pick(['map', 'text', 'list'])
      target[root] = change(random, target[root])
    }
    const put = await call('PUT', resource(room), target, { 'if-match': before.etag })
    assert.equal(put.status, 200, `${at}: ${JSON.stringify(put.json)} for ${JSON.stringify(target)}`)
    const after = await call('GET', resource(room))
    assert.deepEqual(asShown(after.json), target, `case ${at}`)
    assert.equal(after.etag, put.etag)

    const state = new Uint8Array(await (await fetch(`${resource(room)}/state`)).arrayBuffer())
    const doc = new Y.Doc()
    Y.applyUpdate(doc, state)
    assert.deepEqual(shown(doc), target, `case ${at} in Yjs 13`)
    const doc14 = new Y14.Doc()
    Y14.applyUpdate(doc14, state)
    assert.equal(doc14.store.pendingStructs, null)
    const doc13 = new Y.Doc()
    Y.applyUpdate(doc13, Y14.encodeStateAsUpdate(doc14))
    assert.deepEqual(shown(doc13), target, `case ${at} in Yjs 14`)

    await eventually(() => {
      assert.deepEqual(shown(alice.doc), target)
      return bob.read() === target.text
    }, { what: `members show case ${at}` })
    // They edit what REST has written.
    alice.write(random.below(alice.read().length + 1), 'by alice ')
    bob.set('bob', at)
    alice.insert(random.below(alice.items().length + 1), [`alice ${at}`])
    await eventually(async () => {
      const { json } = await call('GET', resource(room))
      assert.deepEqual(asShown(json), shown(alice.doc))
      return json.map.bob === at && bob.read() === json.text
    }, { what: `REST shows what members wrote in case ${at}` })
  }
})

test(`two that write by REST and three on sockets lose nothing for ${SECONDS} s`, async t => {
  const room = freshRoom()
  await call('PUT', resource(room), { map: { begun: true }, list: ['begun'] })
  const alice = Peer.join(t, server, latest, room)
  const bob = Peer.join(t, server, clients.find(client => client.Y === Y14), room)
  const line = Line.open(t, providers.at(-1), `${server.ws}/hocuspocus`)
  const carol = line.join(room)
  await Promise.all([alice.synced(), bob.synced(), carol.synced()])

  const until = Date.now() + SECONDS * 1000
  const written = new Set(['begun'])
  const own = async (name, write) => {
    for (let at = 0; Date.now() < until; at++) {
      const key = `${name} ${at}`
      await write(key)
      written.add(key)
      await new Promise(resolve => setTimeout(resolve, 5))
    }
  }
  const merge = { 'content-type': 'application/merge-patch+json' }
  const patch = { 'content-type': 'application/json-patch+json' }
  await Promise.all([
    own('whole', async key => {
      for (;;) {
        const { json, etag } = await call('GET', resource(room))
        json.map[key] = true
        json.list.push(key)
        const put = await call('PUT', resource(room), json, { 'ydash-base': etag })
        if (put.status === 200) return
        assert.equal(put.json.error, 'base_unknown', JSON.stringify(put.json))
      }
    }),
    own('patch', async key => {
      const merged = await call('PATCH', resource(room), { map: { [key]: true } }, merge)
      assert.equal(merged.status, 200, JSON.stringify(merged.json))
      const patched = await call('PATCH', resource(room), [{ op: 'add', path: '/list/0', value: key }], patch)
      assert.equal(patched.status, 200, JSON.stringify(patched.json))
    }),
    own('alice', async key => { alice.set(key, true); alice.insert(0, [key]) }),
    own('bob', async key => { bob.set(key, true); bob.insert(bob.items().length, [key]) }),
    own('carol', async key => { carol.map.set(key, true); carol.doc.getArray('list').insert(0, [key]) })
  ])
  const all = [...written].sort()
  await eventually(async () => {
    const { json } = await call('GET', resource(room))
    for (const list of [json.list, alice.items(), bob.items(), carol.doc.getArray('list').toArray()]) {
      assert.deepEqual([...list].sort(), all)
      assert.deepEqual(list, json.list)
    }
    for (const keys of [Object.keys(json.map), alice.keys(), bob.keys(), [...carol.map.keys()]]) {
      assert.deepEqual([...keys].sort(), all)
    }
    return true
  }, { within: 20_000, what: `all have ${all.length} entries` })
})
