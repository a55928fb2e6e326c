import { describe, expect, it, vi } from 'vitest'
import type { Dashboard } from '../src/index.js'
import { history, joined, live } from './support/clients.js'
import { MemoryServer } from './support/memory.js'
import { eventually } from './support/wait.js'

async function three(): Promise<[Dashboard, Dashboard, Dashboard]> {
  const server = new MemoryServer()
  const all = ['Ada', 'Bob', 'Cem'].map(name => joined(server, { user: { name } })) as [Dashboard, Dashboard, Dashboard]
  await live(...all)
  await eventually(() => all.every(({ presence }) => presence.others.get().length === 2), 'all see each other')
  return all
}

describe('presence', () => {
  it('shows who is there, and what they announce', async () => {
    const [ada, bob] = await three()
    bob.presence.setSelection('w1')
    bob.presence.setView({ y: 100 })
    bob.presence.setExtra('mood', 'good')
    await eventually(() => {
      const other = ada.presence.others.get().find(({ user }) => user.name === 'Bob')
      expect(other).toMatchObject({ selection: 'w1', view: { y: 100 }, extra: { mood: 'good' } })
      return true
    })
    expect(ada.presence.others.get().map(({ user }) => user.name).sort()).toEqual(['Bob', 'Cem'])
    bob.presence.setExtra('mood', undefined)
    await eventually(() => {
      expect(ada.presence.others.get().map(({ extra }) => extra)).toEqual([{}, {}])
      return true
    })
    expect(bob.awareness?.getLocalState()?.mood).toBeUndefined()
  })

  it('keeps cursors apart, and sends the last position of a fast pointer', async () => {
    const [ada, bob] = await three()
    const lists = history(ada.presence.others)
    const cursors = history(ada.presence.cursors)
    for (let x = 1; x <= 300; x++) {
      bob.presence.setCursor({ x, y: 0.5 })
      if (x % 30 === 0) await new Promise(resolve => setTimeout(resolve, 2))
    }
    await eventually(() => ada.presence.cursors.get()[0]?.x === 300)
    expect(ada.presence.cursors.get()).toMatchObject([{ x: 300, y: 0.5, user: { name: 'Bob' } }])
    expect(lists.length, 'the list of people did not change').toBe(1)
    expect(cursors.length).toBeLessThan(60)
    bob.presence.setCursor(null)
    await eventually(() => ada.presence.cursors.get().length === 0)
  })

  it('sends what waits for a frame that never comes, because the tab was hidden meanwhile', async () => {
    const [ada, bob] = await three()
    vi.stubGlobal('requestAnimationFrame', () => 1)
    vi.stubGlobal('cancelAnimationFrame', () => {})
    try {
      bob.presence.setCursor({ x: 7, y: 0 })
      await eventually(() => ada.presence.cursors.get()[0]?.x === 7)
      bob.presence.setCursor(null)
      await eventually(() => ada.presence.cursors.get().length === 0)
    } finally {
      vi.unstubAllGlobals()
    }
  })

  it('does not believe what others say they look like', async () => {
    const [ada, bob] = await three()
    bob.awareness?.setLocalState({
      user: { name: ` ${'x'.repeat(1000)}`, color: 'url(https://example.org)' },
      pointer: { x: 'left', y: 1 },
      locks: { w: 'all' },
      selection: 5
    })
    await eventually(() => {
      const other = ada.presence.others.get().find(({ user }) => user.name.startsWith('x'))
      expect(other?.user.name.length).toBe(64)
      expect(other?.user.color).toMatch(/^#[0-9a-f]{6}$/)
      expect(other).toMatchObject({ locks: {}, selection: null })
      return true
    })
    expect(ada.presence.cursors.get()).toEqual([])
  })

  it('sends nothing on of what others announce', async () => {
    const server = new MemoryServer()
    const frames: number[] = []
    const received = server.received.bind(server)
    server.received = (from, frame) => {
      if (frame[0] === 1) frames.push(1)
      received(from, frame)
    }
    const [ada, bob] = [joined(server), joined(server)]
    await live(ada, bob)
    await eventually(() => ada.presence.others.get().length === 1 && bob.presence.others.get().length === 1)
    const before = frames.length
    bob.presence.setSelection('w')
    await eventually(() => ada.presence.others.get()[0]?.selection === 'w')
    expect(frames.length - before).toBe(1)
  })
})

describe('locks', () => {
  it('are seen by everybody, and end with their holder', async () => {
    const [ada, bob, cem] = await three()
    expect(ada.locks.acquire('w')).toBe(true)
    await eventually(() => bob.locks.holder('w')?.user.name === 'Ada')
    expect(bob.locks.acquire('w')).toBe(false)
    expect(cem.locks.holder('w')).toMatchObject({ isSelf: false })
    ada.locks.release('w')
    await eventually(() => bob.locks.holder('w') === null)
  })

  it('stay while any part of their holder needs them', async () => {
    const [ada, bob] = await three()
    expect(ada.locks.acquire('w') && ada.locks.acquire('w')).toBe(true)
    ada.locks.release('w')
    await eventually(() => bob.locks.holder('w') !== null)
    ada.locks.release('w')
    await eventually(() => bob.locks.holder('w') === null)
    ada.locks.release('w')
    expect(ada.locks.acquire('w')).toBe(true)
    ada.locks.release('w')
    expect(ada.locks.holder('w')).toBeNull()
  })

  it('are taken over, and the holder hears of it', async () => {
    const [ada, bob, cem] = await three()
    ada.locks.acquire('w')
    await eventually(() => bob.locks.holder('w') !== null)
    bob.locks.takeOver('w')
    expect(bob.locks.holder('w')?.isSelf).toBe(true)
    await eventually(() => ada.locks.holder('w')?.user.name === 'Bob')
    await eventually(() => cem.locks.holder('w')?.user.name === 'Bob')
    expect(ada.presence.self.get().locks).toEqual({})
    bob.locks.releaseAll()
    await eventually(() => ada.locks.holder('w') === null)
  })

  it('have one winner when two claim at the same time', async () => {
    for (let round = 0; round < 5; round++) {
      const all = await three()
      for (const { locks } of all) expect(locks.acquire('w')).toBe(true)
      await eventually(() => new Set(all.map(({ locks }) => locks.holder('w')?.clientId)).size === 1)
      await eventually(() => all.filter(({ locks }) => locks.holder('w')?.isSelf).length === 1)
      await eventually(() => all.filter(({ presence }) => 'w' in presence.self.get().locks).length === 1)
    }
  })
})

describe('what somebody announces', () => {
  it('may be anything, and is shown as what can be made of it', async () => {
    const server = new MemoryServer()
    const [ada, mallory] = [joined(server, { user: { name: 'Ada' } }), joined(server)]
    await live(ada, mallory)
    const nonsense: unknown[] = [null, true, 1e999, -5, 'text', '', [], [[]], {}, { name: {} }, { toString: 'x', constructor: 0.5 }]
    const fields = ['user', 'pointer', 'cursor', 'selection', 'locks', 'following', 'view', '__proto__', 'constructor']
    for (const field of fields) {
      for (const value of nonsense) {
        const state = { user: { name: 'M' }, n: Math.random(), ...Object.fromEntries([[field, value]]) }
        mallory.awareness?.setLocalState(state)
        await eventually(() => ada.awareness?.getStates().get(mallory.presence.self.get().clientId)?.n === state.n)
        for (const { user, selection, locks, following } of ada.presence.others.get()) {
          expect(user.name).toMatch(/^(M|Guest)$/)
          expect(user.color).toMatch(/^#[0-9a-f]{6}$/)
          expect(selection === null || typeof selection === 'string').toBe(true)
          expect(Object.values(locks)).toEqual([])
          expect(following === null || typeof following === 'number').toBe(true)
        }
        expect(ada.presence.cursors.get()).toEqual([])
      }
    }
    for (const state of [5, 'user', [], true]) {
      mallory.awareness?.setLocalState(state as never)
      await eventually(() => ada.presence.others.get().length === 0)
    }
  })

  it('cannot put a lock out of everybody’s reach, nor claim one that is called like a method', async () => {
    const [ada, bob, cem] = await three()
    cem.awareness?.setLocalStateField('locks', Object.fromEntries([['w1', Number.MAX_SAFE_INTEGER], ['__proto__', 3], ['toString', 1], ['w2', 1e300], ['w3', 0.5]]))
    await eventually(() => [ada, bob].every(({ locks }) => locks.holder('w1')?.user.name === 'Cem'))
    expect(ada.locks.holder('__proto__')?.user.name).toBe('Cem')
    expect(ada.locks.holder('constructor')).toBe(null)
    expect(Object.keys(ada.locks.holders.get()).sort()).toEqual(['__proto__', 'toString', 'w1'])
    ada.locks.takeOver('w1')
    ada.locks.takeOver('__proto__')
    // Of equal claims that of the lowest id wins, for everybody.
    const winner = [ada, cem].sort((a, b) => a.presence.self.get().clientId - b.presence.self.get().clientId)[0]?.presence.self.get().user.name
    await eventually(() => [ada, bob].every(({ locks }) => locks.holder('w1')?.user.name === winner && locks.holder('__proto__')?.user.name === 'Ada'))
  })
})

describe('follow', () => {
  it('shows the view of the one who is followed, until they leave', async () => {
    const [ada, bob, cem] = await three()
    ada.follow.start(bob.doc.clientID)
    await eventually(() => bob.follow.followers.get().length === 1)
    expect(ada.follow.target.get()?.user.name).toBe('Bob')
    for (const y of [1, 2, 3]) {
      bob.presence.setView({ y })
      await eventually(() => (ada.follow.view.get() as { y?: number } | null)?.y === y)
    }
    expect(cem.follow.target.get()).toBeNull()
    bob.disconnect()
    await eventually(() => ada.follow.target.get() === null)
    expect(ada.presence.self.get().following).toBeNull()
  })

  it('never has three follow each other round', async () => {
    const all = await three()
    all.sort((a, b) => a.presence.self.get().clientId - b.presence.self.get().clientId)
    const [low, middle, high] = all
    const idOf = (one: Dashboard): number => one.presence.self.get().clientId
    low.follow.start(idOf(middle))
    middle.follow.start(idOf(high))
    high.follow.start(idOf(low))
    await eventually(() => high.follow.target.get() === null && low.presence.others.get().every(({ clientId, following }) => clientId !== idOf(high) || following === null))
    expect(low.follow.target.get()?.clientId).toBe(idOf(middle))
    expect(middle.follow.target.get()?.clientId).toBe(idOf(high))
    // A round among others is theirs: whoever follows into it stays.
    low.awareness?.setLocalStateField('following', idOf(middle))
    middle.awareness?.setLocalStateField('following', idOf(low))
    await eventually(() => high.presence.others.get().every(({ following }) => following !== null && following !== idOf(high)))
    high.follow.start(idOf(low))
    expect(high.follow.target.get()?.clientId).toBe(idOf(low))
    high.follow.start(123)
    expect(high.follow.target.get()?.clientId).toBe(idOf(low))
  })

  it('never has two follow each other', async () => {
    const [ada, bob] = await three()
    ada.follow.start(bob.doc.clientID)
    bob.follow.start(ada.doc.clientID)
    await eventually(() => [ada, bob].filter(({ follow }) => follow.target.get() !== null).length === 1)
  })
})
