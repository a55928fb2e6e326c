import { describe, expect, it, vi } from 'vitest'
import { ReadOnlyError } from '../src/index.js'
import { history, joined, live } from './support/clients.js'
import { MemoryServer } from './support/memory.js'
import { eventually } from './support/wait.js'

describe('save state', () => {
  it('says saved only after the server said that everything is durable', async () => {
    const server = new MemoryServer()
    server.savesAtOnce = false
    const dashboard = joined(server)
    await live(dashboard)
    server.save()
    expect(dashboard.saveState.get()).toBe('saved')

    dashboard.widgets.add({ type: 'note' })
    expect(dashboard.saveState.get()).toBe('saving')
    await eventually(() => server.doc.getMap('widgets').size === 1)
    dashboard.meta.set({ title: 'one more' })
    await eventually(() => server.doc.getMap('meta').size === 1)
    expect(dashboard.saveState.get(), 'the server has it, its disk has not').toBe('saving')
    server.save()
    await eventually(() => dashboard.saveState.get() === 'saved')
  })

  it('never says saved between an edit and its ack', async () => {
    const server = new MemoryServer()
    const dashboard = joined(server)
    await live(dashboard)
    for (let n = 0; n < 50; n++) {
      dashboard.meta.set({ n })
      expect(dashboard.saveState.get()).not.toBe('saved')
      await eventually(() => dashboard.saveState.get() === 'saved')
      expect(server.doc.getMap('meta').get('n')).toBe(n)
    }
  })

  it('keeps changes that were made offline apart from those that are saved', async () => {
    const server = new MemoryServer()
    const dashboard = joined(server)
    await live(dashboard)
    server.isReachable = false
    server.cut()
    await eventually(() => dashboard.status.get() === 'offline')
    expect(dashboard.saveState.get(), 'nothing was changed').toBe('saved')
    dashboard.meta.set({ title: 'on a train' })
    expect(dashboard.saveState.get()).toBe('offline-changes')

    server.isReachable = true
    server.savesAtOnce = false
    const states = history(dashboard.saveState)
    await live(dashboard)
    await eventually(() => server.doc.getMap('meta').get('title') === 'on a train')
    expect(dashboard.saveState.get()).toBe('saving')
    server.save()
    await eventually(() => dashboard.saveState.get() === 'saved')
    expect(states).toEqual(['offline-changes', 'saving', 'saved'])
  })

  it('takes an edit back into the account when its connection breaks before the ack', async () => {
    const server = new MemoryServer()
    server.savesAtOnce = false
    const dashboard = joined(server)
    await live(dashboard)
    server.save()
    dashboard.meta.set({ title: 'sent' })
    await eventually(() => server.doc.getMap('meta').size === 1)
    server.isReachable = false
    server.cut()
    await eventually(() => dashboard.saveState.get() === 'offline-changes')
    server.isReachable = true
    await live(dashboard)
    expect(dashboard.saveState.get()).toBe('saving')
    server.save()
    await eventually(() => dashboard.saveState.get() === 'saved')
  })

  it('says so when the server did not take an edit', async () => {
    const server = new MemoryServer()
    const dashboard = joined(server)
    await live(dashboard)
    server.takesEdits = false
    dashboard.meta.set({ title: 'too large' })
    await eventually(() => dashboard.saveState.get() === 'refused')
    server.takesEdits = true
    dashboard.meta.set({ title: 'behind a hole' })
    await eventually(() => dashboard.saveState.get() === 'refused')
    // Only a new handshake brings what was refused.
    server.cut()
    await eventually(() => dashboard.saveState.get() === 'saved')
    expect(server.doc.getMap('meta').get('title')).toBe('behind a hole')
  })

  it('says why, while it was not taken', async () => {
    const server = new MemoryServer()
    const dashboard = joined(server)
    await live(dashboard)
    expect(dashboard.saveRefusal.get()).toBe(null)
    server.takesEdits = false
    server.why = 'document would exceed document-bytes-max'
    dashboard.meta.set({ title: 'too large' })
    await eventually(() => dashboard.saveRefusal.get() === server.why)
    expect(dashboard.saveState.get()).toBe('refused')
    expect(dashboard.status.get(), 'others are heard').toBe('live')
    server.takesEdits = true
    server.ask()
    await eventually(() => dashboard.saveState.get() === 'saved')
    expect(dashboard.saveRefusal.get()).toBe(null)
  })

  it('does not come back with a message that the server closes for', async () => {
    const server = new MemoryServer()
    const dashboard = joined(server)
    await live(dashboard)
    server.savesAtOnce = false
    dashboard.meta.set({ title: 'enormous' })
    await eventually(() => server.edits === 2)
    server.cut(1009, 'message exceeds frame-bytes-max')
    await eventually(() => dashboard.status.get() === 'refused')
    expect(dashboard.refusal.get()).toEqual({ code: 1009, reason: 'message exceeds frame-bytes-max' })
    expect(dashboard.saveState.get()).toBe('offline-changes')
    // Longer than it would take to come back.
    await new Promise(resolve => setTimeout(resolve, 500))
    expect(server.urls.length).toBe(1)
    server.savesAtOnce = true
    dashboard.connect()
    await eventually(() => dashboard.saveState.get() === 'saved')
  })

  it('says saved again when the server asked for what it had refused and took it', async () => {
    const server = new MemoryServer()
    const dashboard = joined(server)
    await live(dashboard)
    server.takesEdits = false
    dashboard.meta.set({ title: 'too large' })
    await eventually(() => dashboard.saveState.get() === 'refused')
    server.savesAtOnce = false
    const states = history(dashboard.saveState)
    server.ask()
    await eventually(() => dashboard.saveState.get() === 'saving')
    server.save()
    await eventually(() => dashboard.saveState.get() === 'refused')

    server.takesEdits = true
    server.ask()
    await eventually(() => server.doc.getMap('meta').get('title') === 'too large')
    expect(dashboard.saveState.get(), 'the server has it, its disk has not').toBe('saving')
    server.save()
    await eventually(() => dashboard.saveState.get() === 'saved')
    expect(states).toEqual(['refused', 'saving', 'refused', 'saving', 'saved'])
    expect(server.urls.length, 'on one connection').toBe(1)
  })

  it('refuses edits at once where the session may only read', async () => {
    const server = new MemoryServer()
    server.access = 'readonly'
    const dashboard = joined(server)
    expect(dashboard.access.get()).toBe('unknown')
    await live(dashboard)
    expect(dashboard.access.get()).toBe('read-only')
    server.cut()
    await eventually(() => server.urls.length === 2)
    await live(dashboard)
    expect(dashboard.access.get()).toBe('read-only')
    expect(() => dashboard.widgets.add({ type: 'note' })).toThrow(ReadOnlyError)
    expect(dashboard.widgets.all.get()).toEqual({})
    expect(dashboard.saveState.get()).toBe('saved')
  })
})

describe('status', () => {
  it('is refused for good when the server says so, and connects again when told to', async () => {
    const server = new MemoryServer()
    const dashboard = joined(server)
    await live(dashboard)
    server.cut(4403)
    await eventually(() => dashboard.status.get() === 'refused')
    expect(dashboard.refusal.get()).toEqual({ code: 4403, reason: '' })
    dashboard.meta.set({ title: 'kept' })
    expect(dashboard.saveState.get()).toBe('offline-changes')
    const attempts = server.urls.length
    await new Promise(resolve => setTimeout(resolve, 400))
    expect(server.urls.length).toBe(attempts)
    dashboard.connect()
    await live(dashboard)
    await eventually(() => server.doc.getMap('meta').get('title') === 'kept')
  })

  it('goes offline and back by hand', async () => {
    const server = new MemoryServer()
    const dashboard = joined(server)
    await live(dashboard)
    dashboard.disconnect()
    expect(dashboard.status.get()).toBe('offline')
    dashboard.meta.set({ title: 'later' })
    expect(dashboard.saveState.get()).toBe('offline-changes')
    dashboard.connect()
    await live(dashboard)
    await eventually(() => dashboard.saveState.get() === 'saved')
  })
})

describe('tokens', () => {
  it('are asked for before every connection', async () => {
    const server = new MemoryServer()
    let asked = 0
    const dashboard = joined(server, { token: async () => `token-${++asked}` })
    await live(dashboard)
    server.cut()
    await eventually(() => dashboard.status.get() !== 'live')
    await live(dashboard)
    expect(server.tokens).toEqual(['token-1', 'token-2'])
  })

  it('that cannot be had are asked for again', async () => {
    const server = new MemoryServer()
    let asked = 0
    const dashboard = joined(server, {
      token: () => {
        if (++asked < 3) throw new Error('the login server is away')
        return 'at last'
      }
    })
    await live(dashboard)
    expect(asked).toBe(3)
  })

  it('do not bring back what was disconnected while one was on its way', async () => {
    const server = new MemoryServer()
    const waiting: ((token: string) => void)[] = []
    const dashboard = joined(server, { token: () => new Promise<string>(resolve => waiting.push(resolve)) })
    dashboard.disconnect()
    waiting[0]?.('late')
    await new Promise(resolve => setTimeout(resolve, 20))
    expect(server.urls).toEqual([])
    expect(dashboard.status.get()).toBe('offline')
    dashboard.connect()
    waiting[1]?.('in-time')
    await live(dashboard)
    expect(server.tokens).toEqual(['in-time'])
  })

  it('are asked for once by all who want the connection', async () => {
    const server = new MemoryServer()
    let asked = 0
    const dashboard = joined(server, { token: async () => `token-${++asked}` })
    dashboard.connect()
    dashboard.disconnect()
    dashboard.connect()
    await live(dashboard)
    dashboard.connect()
    expect(asked).toBe(1)
    expect(server.urls.length).toBe(1)
  })

  it('are asked for at once when the network is back', async () => {
    const server = new MemoryServer()
    const online = new EventTarget()
    vi.stubGlobal('addEventListener', online.addEventListener.bind(online))
    vi.stubGlobal('removeEventListener', online.removeEventListener.bind(online))
    try {
      server.isReachable = false
      let asked = 0
      const dashboard = joined(server, { token: async () => `token-${++asked}` })
      // By now it waits for seconds between two attempts.
      await eventually(() => asked === 5)
      await eventually(() => dashboard.provider?.ws === null && dashboard.status.get() === 'offline')
      server.isReachable = true
      online.dispatchEvent(new Event('online'))
      const begun = performance.now()
      await live(dashboard)
      expect(performance.now() - begun).toBeLessThan(1_500)
      expect(asked).toBe(6)
    } finally {
      vi.unstubAllGlobals()
    }
  })

  it('that are strings go along unchanged, and stand in no address', async () => {
    const server = new MemoryServer()
    const dashboard = joined(server, { token: 'yd_5f0c_A-b.c' })
    await live(dashboard)
    expect(server.tokens).toEqual(['yd_5f0c_A-b.c'])
    expect(new URL(server.urls[0] ?? '').search).toBe('?acks=1')
  })

  it('that no subprotocol can hold go along in the address', async () => {
    const server = new MemoryServer()
    const dashboard = joined(server, { token: 'a b&c' })
    await live(dashboard)
    expect(server.tokens).toEqual([undefined])
    expect(new URL(server.urls[0] ?? '').searchParams.get('token')).toBe('a b&c')
    expect(new URL(server.urls[0] ?? '').pathname).toBe('/ws/default/test')
  })
})

describe('batches', () => {
  it('carry many edits in few messages', async () => {
    const server = new MemoryServer()
    const dashboard = joined(server)
    await live(dashboard)
    const before = server.edits
    const begun = performance.now()
    for (let n = 0; n < 200; n++) {
      dashboard.meta.set({ n })
      if (n % 20 === 19) await new Promise(resolve => setTimeout(resolve, 1))
    }
    await eventually(() => server.doc.getMap('meta').get('n') === 199)
    const most = Math.ceil((performance.now() - begun) / 16) + 1
    expect(server.edits - before).toBeLessThanOrEqual(most)
    await eventually(() => dashboard.saveState.get() === 'saved')
  })

  it('let the first edit after a quiet moment go at once', async () => {
    const server = new MemoryServer()
    const dashboard = joined(server, { batchInterval: 60_000 })
    await live(dashboard)
    dashboard.meta.set({ title: 'first' })
    await eventually(() => server.doc.getMap('meta').get('title') === 'first')
    dashboard.meta.set({ title: 'second' })
    expect(dashboard.saveState.get()).toBe('saving')
    // Whatever waits goes out when the connection is closed on purpose.
    dashboard.disconnect()
    await eventually(() => server.doc.getMap('meta').get('title') === 'second')
  })
})
