// Tokens by jose: every algorithm is taken, every attack is refused, and stock clients outlive their tokens.

import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { CompactSign, exportJWK, exportSPKI, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose'
import WebSocket from 'ws'
import { clients, freshRoom, latest, Peer } from '../lib/clients.js'
import { Line, providers } from '../lib/hocuspocus.js'
import { needsOwnServer, Server } from '../lib/server.js'
import { SECRET, token } from '../lib/tokens.js'
import { eventually, sleep } from '../lib/wait.js'

const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA']
const ISSUER = 'https://id.acme.example/'
const OTHER = 'https://id.other.example/'
const text = string => new TextEncoder().encode(string)

describe('tokens by jose', { skip: needsOwnServer }, () => {
  const keys = {}
  let directory, server, other

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'ydash-tokens-'))
    const jwks = []
    for (const alg of ALGORITHMS) {
      keys[alg] = await generateKeyPair(alg, { extractable: true })
      jwks.push({ ...await exportJWK(keys[alg].publicKey), kid: alg, alg, use: 'sig' })
    }
    other = await generateKeyPair('ES256', { extractable: true })
    await writeFile(join(directory, 'keys.json'), JSON.stringify({ keys: jwks }))
    await writeFile(join(directory, 'other.pem'), await exportSPKI(other.publicKey))
    await writeFile(join(directory, 'issuers.toml'), `
      [[issuer]]
      issuer = "${ISSUER}"
      audience = ["ydash"]
      keys = "${join(directory, 'keys.json')}"
      role = "editor"
      [[issuer]]
      issuer = "${OTHER}"
      audience = ["ydash"]
      keys = "${join(directory, 'other.pem')}"
      prefix = "other"
      role = "viewer"`)
    server = await Server.start({ args: ['--auth-file', join(directory, 'issuers.toml'), '--auth-secret', SECRET] })
  })

  after(async () => {
    await server?.stop()
    await rm(directory, { recursive: true, force: true })
  })

  const read = async (token, room = 'room') => {
    const { status } = await fetch(`${server.http}/api/dashboards/default/${room}/state`, { headers: { authorization: `Bearer ${token}` } })
    return status
  }
  const claims = (changes = {}) => {
    const now = Math.floor(Date.now() / 1000)
    const all = { iss: ISSUER, aud: 'ydash', sub: 'ada', iat: now, exp: now + 600, ...changes }
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
  }
  const sign = (payload, header = { alg: 'ES256', kid: 'ES256' }, key = keys[header.alg].privateKey) =>
    new CompactSign(text(typeof payload === 'string' ? payload : JSON.stringify(payload))).setProtectedHeader(header).sign(key)

  for (const alg of ALGORITHMS) {
    test(`${alg} is taken by its own key alone`, async () => {
      assert.equal(await read(await sign(claims(), { alg, kid: alg })), 200)
      const wrong = ALGORITHMS.find(name => name !== alg)
      assert.equal(await read(await sign(claims(), { alg, kid: wrong })), 401)
    })
  }

  for (const [alg, bytes] of [['HS256', 32], ['HS384', 48], ['HS512', 64]]) {
    test(`${alg} is taken only from who is configured for it`, async () => {
      const secret = alg === 'HS256' ? text(SECRET) : new Uint8Array(bytes).fill(7)
      const own = await new SignJWT({ grants: { 'default/*': 'viewer' } }).setProtectedHeader({ alg }).setIssuer('ydash')
        .setAudience('ydash').setSubject('ada').setIssuedAt().setExpirationTime('5m').sign(secret)
      assert.equal(await read(own), alg === 'HS256' ? 200 : 401)
    })
  }

  test('a key in PEM is taken, and its issuer has no other', async () => {
    const header = { alg: 'ES256' }
    assert.equal(await read(await sign(claims({ iss: OTHER }), header, other.privateKey)), 200)
    assert.equal(await read(await sign(claims({ iss: OTHER }))), 401)
    assert.equal(await read(await sign(claims(), { alg: 'ES256', kid: 'ES256' }, other.privateKey)), 401)
  })

  test('attacks are refused, each by itself', async () => {
    const spki = await exportSPKI(keys.RS256.publicKey)
    const later = Math.floor(Date.now() / 1000) + 600
    const good = await sign(claims())
    const [header, payload, signature] = good.split('.')
    const attacks = {
      'alg none': new UnsecuredJWT(claims()).encode(),
      'alg none with a signature': `${Buffer.from('{"alg":"none"}').toString('base64url')}.${payload}.${signature}`,
      'HS256 with the public key': await new CompactSign(text(JSON.stringify(claims())))
        .setProtectedHeader({ alg: 'HS256', kid: 'RS256' }).sign(text(spki)),
      'HS256 with the operator\'s secret for another issuer': await new CompactSign(text(JSON.stringify(claims())))
        .setProtectedHeader({ alg: 'HS256' }).sign(text(SECRET)),
      'exp as a string': await sign(claims({ exp: String(later) })),
      'exp as an array': await sign(claims({ exp: [later] })),
      'no exp': await sign(claims({ exp: undefined })),
      'nbf as a string': await sign(claims({ nbf: '0' })),
      'nbf ahead': await sign(claims({ nbf: later })),
      'no aud': await sign(claims({ aud: undefined })),
      'a foreign aud': await sign(claims({ aud: ['account', 'other'] })),
      'an aud of a wrong type': await sign(claims({ aud: { ydash: true } })),
      'no iss': await sign(claims({ iss: undefined })),
      'a foreign iss': await sign(claims({ iss: 'https://evil.example/' })),
      'iss without its slash': await sign(claims({ iss: ISSUER.slice(0, -1) })),
      'no sub': await sign(claims({ sub: undefined })),
      'a duplicate claim': await sign(JSON.stringify(claims()).replace('{', '{"sub":"root",')),
      'a user of another issuer': await sign(claims({ sub: 'other:ada' })),
      'kid of another key': await sign(claims(), { alg: 'ES256', kid: 'ES384' }),
      'an unknown kid': await sign(claims(), { alg: 'ES256', kid: 'gone' }),
      'an expired one': await sign(claims({ exp: later - 3600 })),
      'changed claims': `${header}.${Buffer.from(JSON.stringify(claims({ sub: 'root' }))).toString('base64url')}.${signature}`,
      'a padded part': `${header}.${payload}=.${signature}`,
      'a nested token': await sign(good),
      opaque: 'v4.local.abc'
    }
    for (const [name, attack] of Object.entries(attacks)) assert.equal(await read(attack), 401, name)
    const crit = await new CompactSign(text(JSON.stringify(claims())))
      .setProtectedHeader({ alg: 'ES256', kid: 'ES256', crit: ['b64'], b64: true }).sign(keys.ES256.privateKey)
    assert.equal(await read(crit), 401, 'crit')
    assert.equal(await read(good), 200)
  })

  test('a megabyte is refused before it is read', async () => {
    const long = await sign(claims({ padding: 'x'.repeat(1 << 20) }))
    const { status } = await fetch(`${server.http}/api/dashboards/default/room/state?token=${long.slice(0, 20_000)}`)
    assert.equal(status, 401)
    const socket = new WebSocket(`${server.ws}/room`, ['ydash', `token.${long}`])
    const [kind] = await new Promise(resolve => {
      socket.on('error', () => resolve(['error']))
      socket.on('open', () => resolve(['open']))
    })
    assert.equal(kind, 'error')
    assert.equal((await fetch(`${server.http}/healthz`)).status, 200)
  })
})

/** How long each client edits, and how long each of its tokens is good. */
const EDITING = 60_000
const GOOD_FOR = 5

describe('stock clients outlive their tokens', { skip: needsOwnServer, concurrency: true }, () => {
  let server
  before(async () => { server = await Server.start({ args: ['--auth-secret', SECRET] }) })
  after(() => server?.stop())

  const witness = async (t, room) => {
    const peer = Peer.join(t, server, latest, room, { params: { token: await token('witness') } })
    await peer.synced()
    return peer
  }

  for (const client of clients) {
    test(`${client.name}: a minute of editing with tokens of ${GOOD_FOR} s loses nothing`, { timeout: 120_000 }, async t => {
      const room = freshRoom()
      const other = await witness(t, room)
      const peer = Peer.join(t, server, client, room, { params: { token: await token('ada', { seconds: GOOD_FOR }) } })
      // What a page does: it has another token in time, and the provider shows it when it connects.
      const refreshing = setInterval(async () => {
        peer.provider.params.token = await token('ada', { seconds: GOOD_FOR })
      }, 1_000)
      t.after(() => clearInterval(refreshing))
      const ended = Date.now() + EDITING
      let edits = 0
      while (Date.now() < ended) {
        peer.set(`key${edits++}`, edits)
        await sleep(100)
      }
      await eventually(() => other.keys().length === edits, { within: 10_000, what: `${edits} edits arrive` })
      assert.ok(peer.closes.every(code => code === 4501 || code === null), `closed with ${peer.closes}`)
      assert.ok(peer.opened >= 5, `only ${peer.opened} connections: did the tokens end?`)
      assert.ok(peer.opened <= EDITING / 1000 / GOOD_FOR * 2, `${peer.opened} connections are a storm`)
      await peer.synced()
    })
  }

  test('y-websocket 3.1: a page that slept with an old token stops for nothing', { timeout: 60_000 }, async t => {
    const room = freshRoom()
    const old = await token('ada', { seconds: -60 })
    const peer = Peer.join(t, server, latest, room, { params: { token: old } })
    peer.set('while', 'away')
    await sleep(7_000)
    assert.ok(peer.opened >= 2 && peer.opened <= 5, `${peer.opened} attempts`)
    peer.provider.params.token = await token('ada')
    await peer.synced(10_000)
    const other = await witness(t, room)
    await eventually(() => other.get('while') === 'away')
  })

  for (const version of providers) {
    test(`${version.name}: a minute of editing with tokens of ${GOOD_FOR} s loses nothing`, { timeout: 120_000 }, async t => {
      const room = freshRoom()
      const other = await witness(t, room)
      const line = Line.open(t, version, `${server.origin}/hocuspocus`)
      const member = line.join(room, { token: () => token('ada', { seconds: GOOD_FOR }) })
      const ended = Date.now() + EDITING
      let edits = 0
      while (Date.now() < ended) {
        member.map.set(`key${edits++}`, edits)
        await sleep(100)
      }
      await eventually(() => other.keys().length === edits, { within: 10_000, what: `${edits} edits arrive` })
      assert.deepEqual(member.denied, [])
      // Versions 3 and 4 renew in place; 2 does not know the question, and comes back.
      if (version.major > 2) assert.equal(line.opened, 1)
      else assert.ok(line.opened <= EDITING / 1000 / GOOD_FOR * 2, `${line.opened} connections are a storm`)
    })
  }
})
