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

  it('cannot hinder a browser that keeps nothing', async () => {
    const { open } = indexedDB
    indexedDB.open = () => { throw new DOMException('not in a private window', 'SecurityError') }
    try {
      const server = new MemoryServer()
      const dashboard = client({ server, persist: true, url: 'http://three' }).dashboard('test')
      await live(dashboard)
      dashboard.meta.set({ title: 'saved' })
      await eventually(() => dashboard.saveState.get() === 'saved')
    } finally {
      indexedDB.open = open
    }
  })
})
