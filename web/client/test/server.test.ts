// Against the release binary: YDASH_BIN, or target/release/ydash.

import { createHmac } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { client, history, live } from './support/clients.js'
import { Server } from './support/server.js'
import { eventually } from './support/wait.js'

let server: Server

beforeAll(async () => { server = await Server.start() })
afterAll(async () => { await server.end() })

const open = (name: string, user = 'Ada') => client({ url: server.url, user: { name: user } }).dashboard(`team/${name}`)

describe('with a server', () => {
  it('many edit at once and all end up with the same', async () => {
    const all = Array.from({ length: 5 }, (_, n) => open('crowd', `user ${n}`))
    await live(...all)
    all.forEach(({ widgets, layout, meta }, n) => {
      for (let i = 0; i < 20; i++) {
        const id = widgets.add({ type: 'chart', title: `${n}.${i}` }, { x: i, y: n, w: 1, h: 1 })
        if (i % 3 === 0) layout.move(id, { x: 0, y: i })
        meta.set({ title: `by ${n}` })
      }
    })
    await eventually(() => all.every(({ saveState }) => saveState.get() === 'saved'))
    await eventually(() => {
      for (const { doc, widgets } of all) {
        expect(Object.keys(widgets.all.get()).length).toBe(100)
        expect(doc.toJSON()).toEqual(all[0]?.doc.toJSON())
      }
      return true
    })
    const rest = await fetch(`${server.url}/api/dashboards/team/crowd`)
    expect(await rest.json()).toEqual(Object.fromEntries(
      Object.entries(all[0]?.doc.toJSON() ?? {}).filter(([, root]) => Object.keys(root as object).length > 0)))
  })

  it('a name is the same dashboard for y-websocket, and over REST', async () => {
    for (const name of ['team/sales', 'my project/board', 'user:1/notes', 'q83v//ASN/']) {
      const ada = client({ url: server.url }).dashboard(name)
      await live(ada)
      ada.meta.set({ title: name })
      const doc = new Y.Doc()
      const room = new WebsocketProvider(server.url.replace(/^http/, 'ws'), name, doc, { WebSocketPolyfill: WebSocket as never, disableBc: true })
      await eventually(() => doc.getMap('meta').get('title') === name)
      room.destroy()
      await eventually(() => ada.saveState.get() === 'saved')
      const path = name.split('/').map(encodeURIComponent).join('/')
      const answer = await (await fetch(`${server.url}/api/dashboards/${path}`)).json() as { meta?: { title?: string } }
      expect(answer.meta?.title).toBe(name)
    }
  })

  it('a tab that closes is gone for the others at once', async () => {
    const [ada, bob] = [open('leave'), open('leave', 'Bob')]
    await eventually(() => ada.presence.others.get()[0]?.user.name === 'Bob')
    ada.locks.acquire('w')
    await eventually(() => bob.locks.holder('w') !== null)
    const closed = Date.now()
    ada.destroy()
    await eventually(() => bob.presence.others.get().length === 0 && bob.locks.holder('w') === null)
    expect(Date.now() - closed).toBeLessThan(1_000)
  })

  it('what is called saved survives a kill, and what is not comes back with its author', async () => {
    const ada = open('killed')
    await live(ada)
    const known: number[] = []
    let n = 0
    const writing = setInterval(() => {
      // In bursts: between them there is time to be saved.
      if (Date.now() % 200 > 80) return
      ada.meta.set({ [`key${n}`]: n })
      n++
    }, 2)
    const stop = ada.saveState.subscribe(() => { if (ada.saveState.get() === 'saved') known.push(n) })
    await eventually(() => n > 100 && (known.at(-1) ?? 0) > 50)
    await server.kill()
    const saved = known.at(-1) ?? 0
    await eventually(() => ada.saveState.get() === 'offline-changes')
    clearInterval(writing)
    stop()
    await server.restart()
    const answer = await fetch(`${server.url}/api/dashboards/team/killed`)
    const { meta } = await answer.json() as { meta?: Record<string, number> }
    for (let key = 0; key < saved; key++) expect(meta?.[`key${key}`]).toBe(key)
    await eventually(() => ada.saveState.get() === 'saved')
    const bob = open('killed', 'Bob')
    await live(bob)
    expect(bob.meta.shared.get()).toEqual(ada.meta.shared.get())
    expect(Object.keys(bob.meta.shared.get()).length).toBe(n)
  })
})

describe('with a server that only lets read', () => {
  it('a session knows so before it tries', async () => {
    const readOnly = await Server.start('--anonymous-access', 'read-only')
    try {
      const dashboard = client({ url: readOnly.url }).dashboard('public')
      await live(dashboard)
      await eventually(() => dashboard.access.get() === 'read-only')
      expect(() => { dashboard.meta.set({ title: 'mine' }) }).toThrow('only read')
      expect(dashboard.saveState.get()).toBe('saved')
    } finally {
      await readOnly.end()
    }
  })

  it('a dashboard that nobody may enter is refused', async () => {
    const dashboard = client({ url: server.url }).dashboard('~somebody')
    await eventually(() => dashboard.status.get() === 'refused')
    expect(dashboard.refusal.get()?.code).toBe(4403)
  })
})

describe('with a server that asks for tokens', () => {
  const SECRET = 'a secret that is long enough to sign tokens with'
  let asking: Server
  beforeAll(async () => { asking = await Server.start('--auth-secret', SECRET) })
  afterAll(async () => { await asking.end() })

  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const token = (seconds: number): string => {
    const iat = Math.floor(Date.now() / 1_000)
    const claims = { iss: 'ydash', aud: 'ydash', sub: 'ada', grants: { 'team/*': 'editor' }, iat, exp: iat + seconds }
    const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`
    return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`
  }

  it('a session shows its token as a subprotocol, and gets back the one that is none', async () => {
    const dashboard = client({ url: asking.url, token: token(60) }).dashboard('team/shown')
    await live(dashboard)
    expect(dashboard.access.get()).toBe('read-write')
    expect(dashboard.provider?.ws?.protocol).toBe('ydash')
    expect(dashboard.provider?.ws?.url).not.toContain('token')
  })

  it('a session goes on over the ends of its tokens, on one connection, and loses no edit', async () => {
    let asked = 0
    const give = () => { asked++; return token(4) }
    const dashboard = client({ url: asking.url, token: give }).dashboard('team/renewed')
    const statuses = history(dashboard.status)
    await live(dashboard)
    const socket = dashboard.provider?.ws
    let n = 0
    const writing = setInterval(() => { dashboard.meta.set({ [`key${n}`]: n }); n++ }, 50)
    // A quarter before its end each is replaced, so that the third has begun by then.
    await eventually(() => asked >= 4, 'three renewals', 15_000)
    clearInterval(writing)
    await eventually(() => dashboard.saveState.get() === 'saved')
    expect(dashboard.provider?.ws).toBe(socket)
    expect(statuses).toEqual(['connecting', 'live'])
    const answer = await fetch(`${asking.url}/api/dashboards/team/renewed`, { headers: { authorization: `Bearer ${token(60)}` } })
    const { meta } = await answer.json() as { meta: Record<string, number> }
    expect(Object.keys(meta).length).toBe(n)
  })

  it('a session whose function gives a token that ended is refused after one more', async () => {
    let asked = 0
    const give = () => { asked++; return token(-3_600) }
    const dashboard = client({ url: asking.url, token: give }).dashboard('team/ended')
    await eventually(() => dashboard.status.get() === 'refused', 'refused', 15_000)
    expect(dashboard.refusal.get()?.code).toBe(4401)
    expect(asked).toBe(2)
  })
})

describe('with a server whose limits are low', () => {
  it('what is too large is refused by the name of the limit, once, and all else goes on', async () => {
    for (const [limit, bytes] of [['frame-bytes-max', 100_000], ['document-bytes-max', 40_000]] as const) {
      const small = await Server.start(`--${limit}`, '64KiB')
      try {
        const [ada, bob] = ['Ada', 'Bob'].map(name => client({ url: small.url, user: { name } }).dashboard('small'))
        if (ada === undefined || bob === undefined) throw new Error('two')
        await live(ada, bob)
        let connections = 0
        ada.status.subscribe(() => { if (ada.status.get() === 'connecting') connections++ })
        ada.meta.set({ one: 'x'.repeat(bytes) })
        await eventually(() => ada.saveState.get() !== 'saving')
        ada.meta.set({ other: 'x'.repeat(bytes) })
        await eventually(() => ada.saveState.get() === 'refused' && ada.saveRefusal.get()?.includes(limit) === true, limit)
        // Others are heard, and heard of.
        bob.meta.set({ by: 'Bob' })
        await eventually(() => ada.meta.shared.get().by === 'Bob')
        await eventually(() => bob.saveState.get() === 'saved')
        expect(ada.status.get()).toBe('live')
        expect(connections).toBe(0)
      } finally {
        await small.end()
      }
    }
  })
})
