import 'fake-indexeddb/auto'
import { describe, expect, it } from 'vitest'
import { client, joined, live } from './support/clients.js'
import { MemoryServer } from './support/memory.js'
import { eventually } from './support/wait.js'

const settled = (): Promise<void> => new Promise(resolve => setTimeout(resolve, 50))

describe('what the browser keeps', () => {
  it('is there without a network, and is known to be saved', async () => {
    const server = new MemoryServer()
    const first = joined(server, { persist: true, url: 'http://one' })
    await live(first)
    first.meta.set({ title: 'kept' })
    await eventually(() => first.saveState.get() === 'saved')
    await settled()
    first.destroy()

    server.isReachable = false
    const second = joined(server, { persist: true, url: 'http://one' })
    await second.ready
    expect(second.meta.shared.get().title).toBe('kept')
    await settled()
    expect(second.saveState.get()).toBe('saved')
    expect(second.status.get()).toBe('offline')
  })

  it('is known not to be saved, goes out later, and is known to be saved then', async () => {
    const server = new MemoryServer()
    const open = () => joined(server, { persist: true, url: 'http://two' })
    server.isReachable = false
    const first = open()
    first.meta.set({ title: 'on a train' })
    first.meta.set({ more: true })
    expect(first.saveState.get()).toBe('offline-changes')
    await settled()
    first.destroy()

    const second = open()
    await second.ready
    await eventually(() => second.saveState.get() === 'offline-changes')
    server.isReachable = true
    await live(second)
    await eventually(() => second.saveState.get() === 'saved')
    expect(server.doc.getMap('meta').toJSON()).toEqual({ title: 'on a train', more: true })
    await settled()
    second.destroy()

    server.isReachable = false
    const third = open()
    await third.ready
    await settled()
    expect(third.saveState.get()).toBe('saved')
  })

  it('is not called saved for a tab that goes on without a network, by one that has a network', async () => {
    const server = new MemoryServer()
    const far = new MemoryServer()
    far.isReachable = false
    const offline = joined(far, { persist: true, url: 'http://four' })
    offline.meta.set({ first: 1 })
    await settled()
    const online = joined(server, { persist: true, url: 'http://four' })
    await live(online)
    await eventually(() => online.saveState.get() === 'saved' && server.doc.getMap('meta').get('first') === 1)
    await settled()
    offline.meta.set({ second: 2 })
    online.meta.set({ third: 3 })
    await eventually(() => online.saveState.get() === 'saved')
    await settled()
    online.destroy()
    offline.destroy()
    await settled()

    server.isReachable = false
    const later = joined(server, { persist: true, url: 'http://four' })
    await later.ready
    await eventually(() => later.saveState.get() === 'offline-changes')
    expect(later.meta.shared.get()).toEqual({ first: 1, second: 2, third: 3 })
    server.isReachable = true
    await eventually(() => later.saveState.get() === 'saved')
    expect(server.doc.getMap('meta').toJSON()).toEqual({ first: 1, second: 2, third: 3 })
  })

  it('is not called saved before it is loaded', async () => {
    const server = new MemoryServer()
    server.isReachable = false
    const first = joined(server, { persist: true, url: 'http://five' })
    first.meta.set({ title: 'unsaved' })
    await settled()
    first.destroy()
    await settled()
    // Nothing can make an update of it, so loading never ends.
    const db = await new Promise<IDBDatabase>(resolve => {
      const opening = indexedDB.open('ydash:ws://five/ws/default/test')
      opening.onsuccess = () => { resolve(opening.result) }
    })
    db.transaction('updates', 'readwrite').objectStore('updates').put(Uint8Array.of(1, 1, 255), 0)
    db.close()
    const errors: unknown[] = []
    const caught = (error: unknown): void => { errors.push(error) }
    process.on('unhandledRejection', caught)
    server.isReachable = true
    const second = joined(server, { persist: true, url: 'http://five' })
    await live(second)
    await eventually(() => errors.length > 0)
    expect(second.saveState.get()).toBe('saving')
    process.off('unhandledRejection', caught)
  })

  it('cannot hinder a browser that keeps nothing', async () => {
    const { open } = indexedDB
    indexedDB.open = () => { throw new DOMException('not in a private window', 'SecurityError') }
    try {
      const server = new MemoryServer()
      const dashboard = client({ server, persist: true, url: 'http://three' }).dashboard('test')
      await live(dashboard)
      dashboard.meta.set({ title: 'saved' })
      await eventually(() => dashboard.saveState.get() === 'saved')
      expect(dashboard.isKept.get()).toBe(false)
    } finally {
      indexedDB.open = open
    }
  })

  it('is little when the browser is full, and that is told', async () => {
    const server = new MemoryServer()
    server.isReachable = false
    const dashboard = client({ server, persist: true, url: 'http://six' }).dashboard('test')
    expect(dashboard.isKept.get()).toBe(false)
    await eventually(() => dashboard.isKept.get())
    const { put } = IDBObjectStore.prototype
    IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError') }
    try {
      dashboard.meta.set({ title: 'nowhere but here' })
      await eventually(() => !dashboard.isKept.get())
      expect(dashboard.saveState.get()).toBe('offline-changes')
    } finally {
      IDBObjectStore.prototype.put = put
    }
    dashboard.meta.set({ title: 'there is room' })
    await eventually(() => dashboard.isKept.get())
  })

  it('may be cleared at any time, and edits go on', async () => {
    const server = new MemoryServer()
    const dashboard = joined(server, { persist: true, url: 'http://eight' })
    await live(dashboard)
    await eventually(() => dashboard.isKept.get())
    const { transaction } = IDBDatabase.prototype
    IDBDatabase.prototype.transaction = () => { throw new DOMException('The database connection is closing.', 'InvalidStateError') }
    try {
      dashboard.meta.set({ title: 'saved' })
      await eventually(() => dashboard.saveState.get() === 'saved' && !dashboard.isKept.get())
      expect(server.doc.getMap('meta').get('title')).toBe('saved')
    } finally {
      IDBDatabase.prototype.transaction = transaction
    }
  })

  it('survives a database that is not this package’s', async () => {
    await new Promise(resolve => {
      const opening = indexedDB.open('ydash:ws://seven/ws/default/test')
      opening.onupgradeneeded = () => { opening.result.createObjectStore('somebody else’s') }
      opening.onsuccess = () => { resolve(opening.result.close()) }
    })
    const dashboard = joined(new MemoryServer(), { persist: true, url: 'http://seven' })
    await live(dashboard)
    dashboard.meta.set({ title: 'saved' })
    await eventually(() => dashboard.saveState.get() === 'saved')
    expect(dashboard.isKept.get()).toBe(false)
  })
})
