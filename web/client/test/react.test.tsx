// @vitest-environment happy-dom
import { act, cleanup, render, screen } from '@testing-library/react'
import { type ReactNode, StrictMode, useEffect } from 'react'
import { renderToString } from 'react-dom/server'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Client, createClient } from '../src/index.js'
import { DashboardProvider, useAccess, useAwareness, useCursors, useDashboard, useFilters, useFollow, useLayout, useOthers, usePreferences, usePresence, useSaveState, useStatus, useUndo, useWidget, useWidgetLock, useWidgets } from '../src/react/index.js'
import { joined, live } from './support/clients.js'
import { MemoryServer } from './support/memory.js'
import { eventually } from './support/wait.js'

const clients: Client[] = []

afterEach(() => {
  cleanup()
  for (const client of clients.splice(0)) client.destroy()
})

function setUp(): { server: MemoryServer, client: Client } {
  const server = new MemoryServer()
  const client = createClient({ url: 'http://memory', persist: false, storage: null, WebSocket: server.WebSocket })
  clients.push(client)
  return { server, client }
}

const inside = (client: Client, children: ReactNode): ReactNode =>
  <StrictMode><DashboardProvider client={client} id='test'>{children}</DashboardProvider></StrictMode>

const settled = (): Promise<void> => act(() => new Promise<void>(resolve => setTimeout(resolve, 60)))

describe('hooks', () => {
  it('render again only for what they read', async () => {
    const { server, client } = setUp()
    const renders: Record<string, number> = {}
    const count = (name: string): void => { renders[name] = (renders[name] ?? 0) + 1 }
    const Title = ({ id }: { id: string }): ReactNode => {
      count(`title ${id}`)
      return <p>{useWidget(id)?.title}</p>
    }
    const Count = (): ReactNode => {
      count('count')
      return <p>{useWidgets(all => Object.keys(all).length)} widgets</p>
    }
    const Layout = (): ReactNode => {
      count('layout')
      return <p>{JSON.stringify(useLayout())}</p>
    }
    const People = (): ReactNode => {
      count('people')
      return <p>{useOthers(others => others.map(({ user }) => user.name)).join()}</p>
    }
    const Filters = (): ReactNode => {
      count('filters')
      return <p>{String(useFilters().values.dateRange)}</p>
    }
    const other = joined(server, { user: { name: 'Bob' } })
    await live(other)
    other.widgets.add({ id: 'a', type: 'chart', title: 'A' })
    other.widgets.add({ id: 'b', type: 'chart', title: 'B' })
    render(inside(client, <><Title id='a' /><Title id='b' /><Count /><Layout /><People /><Filters /></>))
    await eventually(() => screen.queryByText('2 widgets') && screen.queryByText('Bob'))
    await settled()
    const before = { ...renders }
    const since = (): Record<string, number> => Object.fromEntries(
      Object.entries(renders).map(([name, n]) => [name, n - (before[name] ?? 0)]).filter(([, n]) => n !== 0))

    act(() => { other.widgets.update('b', { title: 'B2' }) })
    await eventually(() => screen.queryByText('B2'))
    // StrictMode renders twice.
    expect(since()).toEqual({ 'title b': 2 })
    for (let x = 0; x < 5; x++) other.presence.setCursor({ x, y: 0 })
    other.presence.setSelection('a')
    await settled()
    expect(since()).toEqual({ 'title b': 2 })
    other.filters.set({ dateRange: '7d' })
    await eventually(() => screen.queryByText('7d'))
    expect(since()).toEqual({ 'title b': 2, filters: 2 })
  })

  it('that give several values render again only for those that are read', async () => {
    const { server, client } = setUp()
    const renders = { pen: 0, names: 0, target: 0, view: 0 }
    let pen: ReturnType<typeof usePresence> | undefined
    const Pen = (): ReactNode => {
      renders.pen++
      pen = usePresence()
      return null
    }
    const Name = (): ReactNode => {
      renders.names++
      return <p>{usePresence().self.user.name}</p>
    }
    const Target = (): ReactNode => {
      renders.target++
      const { target, follow } = useFollow()
      const other = useOthers()[0]
      return <button onClick={() => { follow(other?.clientId ?? 0) }}>{target === null ? 'nobody' : `follows ${target.user.name}`}</button>
    }
    const View = (): ReactNode => {
      renders.view++
      return <p>{JSON.stringify(useFollow().view)}</p>
    }
    const other = joined(server, { user: { name: 'Bob' } })
    await live(other)
    render(inside(client, <><Pen /><Name /><Target /><View /></>))
    await eventually(() => client.prepare('test').presence.others.get().length === 1)
    other.presence.setSelection('w')
    await settled()
    const before = { ...renders }
    const first = pen
    act(() => {
      pen?.setUser({ name: 'Ada' })
      pen?.setView({ y: 1 })
      pen?.setSelection('w')
    })
    expect(screen.queryByText('Ada')).not.toBeNull()
    expect(pen).toBe(first)
    // StrictMode renders twice. The same view and selection again are no change.
    expect(renders).toEqual({ ...before, names: before.names + 2 })
    act(() => { screen.getByText('nobody').click() })
    await eventually(() => screen.queryByText('follows Bob'))
    const following = { ...renders }
    other.presence.setView({ y: 2 })
    await eventually(() => screen.queryByText('{"y":2}'))
    // Whoever reads all of the others renders with each of their changes.
    expect(renders).toEqual({ ...following, view: following.view + 2, target: following.target + 2 })
  })

  it('render for nothing but what a component takes from them', async () => {
    const { server, client } = setUp()
    const renders: Record<string, number> = {}
    /** Components by name, each of which reads what its function does. */
    const reads: Record<string, () => unknown> = {
      canUndo: () => useUndo().canUndo,
      undo: () => useUndo().undo,
      lock: () => useWidgetLock('w').isLocked,
      holder: () => useWidgetLock('w').holder,
      acquire: () => useWidgetLock('w').acquire,
      otherLock: () => useWidgetLock('v').holder,
      filters: () => useFilters().values,
      setFilters: () => useFilters().set,
      dateRange: () => useFilters(all => all.dateRange),
      privateFilters: () => useFilters().private,
      preferences: () => usePreferences().values,
      theme: () => usePreferences(all => all.theme),
      cursors: () => useCursors(),
      pointing: () => useCursors(all => all.length),
      names: () => useOthers(all => all.map(({ user }) => user.name)),
      selections: () => useOthers(all => all.map(({ selection }) => selection)),
      setCursor: () => usePresence().setCursor,
      self: () => usePresence().self,
      target: () => useFollow().target,
      follow: () => useFollow().follow,
      widget: () => useWidget('w'),
      widgetIds: () => useWidgets(Object.keys),
      layout: () => useLayout(all => all.w?.x),
      status: () => useStatus(),
      access: () => useAccess()
    }
    const components = Object.entries(reads).map(([name, read]) => {
      const Reads = (): ReactNode => {
        renders[name] = (renders[name] ?? 0) + 1
        read()
        return null
      }
      return <Reads key={name} />
    })
    const own = client.dashboard('test', { connect: false })
    const other = joined(server, { user: { name: 'Bob' } })
    await live(other)
    render(<DashboardProvider client={client} id='test'>{components}</DashboardProvider>)
    await eventually(() => own.presence.others.get().length === 1 && own.access.get() === 'read-write')
    await settled()

    /** Who rendered again while `change` came about, and how often. */
    const after = async (change: () => void): Promise<Record<string, number>> => {
      const before = { ...renders }
      act(change)
      await settled()
      return Object.fromEntries(Object.entries(renders).map(([name, n]) => [name, n - (before[name] ?? 0)]).filter(([, n]) => n !== 0))
    }
    expect(await after(() => { own.meta.set({ title: 'x' }) })).toEqual({ canUndo: 1 })
    expect(await after(() => { own.meta.set({ title: 'y' }) })).toEqual({})
    expect(await after(() => { other.widgets.add({ id: 'w', type: 'note' }, { x: 0, y: 0, w: 1, h: 1 }) })).toEqual({ widget: 1, widgetIds: 1, layout: 1 })
    expect(await after(() => { other.layout.move('w', { x: 0, y: 5 }) })).toEqual({})
    expect(await after(() => { other.locks.acquire('w') })).toEqual({ lock: 1, holder: 1 })
    expect(await after(() => { other.filters.set({ dateRange: '7d' }) })).toEqual({ filters: 1, dateRange: 1 })
    expect(await after(() => { other.filters.set({ agents: ['a'] }) })).toEqual({ filters: 1 })
    expect(await after(() => { own.filters.setPrivate({ agents: ['b'] }) })).toEqual({ filters: 1, privateFilters: 1 })
    expect(await after(() => { other.preferences.set({ compactMode: true }) })).toEqual({ preferences: 1 })
    expect(await after(() => { other.preferences.set({ theme: 'dark' }) })).toEqual({ preferences: 1, theme: 1 })
    expect(await after(() => { other.presence.setCursor({ x: 0, y: 0 }) })).toEqual({ cursors: 1, pointing: 1 })
    expect(await after(() => { other.presence.setCursor({ x: 1, y: 0 }) })).toEqual({ cursors: 1 })
    expect(await after(() => { other.presence.setSelection('w') })).toEqual({ selections: 1 })
    expect(await after(() => { other.presence.setUser({ name: 'Cem' }) })).toEqual({ names: 1, cursors: 1, holder: 1 })
    expect(await after(() => { own.presence.setSelection('w') })).toEqual({ self: 1 })
    expect(await after(() => { own.follow.start(other.doc.clientID) })).toEqual({ self: 1, target: 1 })
  })

  it('give an editor the awareness as soon as it is there', async () => {
    const { client } = setUp()
    const seen: (number | null)[] = []
    const Editor = (): ReactNode => {
      const awareness = useAwareness()
      useEffect(() => { seen.push(awareness?.clientID ?? null) }, [awareness])
      return null
    }
    const { unmount } = render(inside(client, <Editor />))
    const id = client.prepare('test').doc.clientID
    await eventually(() => seen.at(-1) === id)
    unmount()
  })

  it('edit, undo and tell what became of it', async () => {
    const { server, client } = setUp()
    server.savesAtOnce = false
    let add = (): void => {}
    let undo = (): void => {}
    const App = (): ReactNode => {
      const history = useUndo()
      undo = history.undo
      add = () => { client.dashboard('test', { connect: false }).widgets.add({ type: 'note' }) }
      return <p>{useStatus()} {useSaveState()} {String(history.canUndo)} {Object.keys(useWidgets()).length}</p>
    }
    render(inside(client, <App />))
    await eventually(() => { server.save(); return screen.queryByText('live saved false 0') })
    act(() => { add() })
    expect(screen.queryByText('live saving true 1')).not.toBeNull()
    await eventually(() => { server.save(); return screen.queryByText('live saved true 1') })
    act(() => { undo() })
    await eventually(() => { server.save(); return screen.queryByText('live saved false 0') })
  })

  it('show presence, locks and whom one follows', async () => {
    const { server, client } = setUp()
    const other = joined(server, { user: { name: 'Bob' } })
    await live(other)
    let lock: ReturnType<typeof useWidgetLock> | undefined
    let follow: ReturnType<typeof useFollow> | undefined
    const Locked = (): ReactNode => {
      lock = useWidgetLock('w')
      return <p>{lock.holder === null ? 'free' : lock.isLocked ? `locked by ${lock.holder.user.name}` : 'mine'}</p>
    }
    const App = ({ shows }: { shows: boolean }): ReactNode => {
      follow = useFollow()
      const { self } = usePresence()
      return <>
        <p>{useCursors().map(({ x }) => x).join()}</p>
        <p>{follow.target === null ? 'alone' : `${self.following === follow.target.clientId} ${JSON.stringify(follow.view)}`}</p>
        {shows && <Locked />}
      </>
    }
    const { rerender } = render(inside(client, <App shows />))
    await eventually(() => other.presence.others.get().length === 1 && screen.queryByText('free'))
    other.presence.setCursor({ x: 42, y: 0 })
    other.presence.setView({ y: 7 })
    await eventually(() => screen.queryByText('42'))
    act(() => { follow?.follow(other.doc.clientID) })
    await eventually(() => screen.queryByText('true {"y":7}'))
    act(() => { follow?.stop() })
    await eventually(() => screen.queryByText('alone'))

    other.locks.acquire('w')
    await eventually(() => screen.queryByText('locked by Bob'))
    expect(lock?.acquire()).toBe(false)
    act(() => { lock?.takeOver() })
    await eventually(() => screen.queryByText('mine'))
    await eventually(() => other.locks.holder('w')?.isSelf === false)
    rerender(inside(client, <App shows={false} />))
    await eventually(() => other.locks.holder('w') === null)
  })
})

describe('the provider', () => {
  it('opens one connection in StrictMode, and closes it a while after the last component', async () => {
    const { server, client } = setUp()
    const Status = (): ReactNode => <p>{useStatus()}</p>
    const { unmount } = render(inside(client, <><Status /></>))
    await eventually(() => screen.queryByText('live'))
    expect(server.urls.length).toBe(1)
    unmount()
    render(inside(client, <><Status /></>))
    await eventually(() => screen.queryByText('live'))
    expect(server.urls.length, 'a change of route keeps the connection').toBe(1)
    cleanup()
    await eventually(() => server.sockets.size === 0)
    render(inside(client, <><Status /></>))
    await eventually(() => screen.queryByText('live'))
    expect(server.urls.length).toBe(2)
  })

  it('opens another dashboard when its id changes', async () => {
    const { server, client } = setUp()
    const Title = (): ReactNode => <p>{Object.values(useWidgets()).map(({ title }) => title).join() || 'empty'} {useStatus()}</p>
    const at = (id: string): ReactNode => <DashboardProvider client={client} id={id}><Title /></DashboardProvider>
    const { rerender } = render(at('one'))
    await eventually(() => screen.queryByText('empty live'))
    rerender(at('two'))
    await eventually(() => server.urls.length === 2)
    expect(server.urls.map(url => new URL(url).pathname)).toEqual(['/ws/default/one', '/ws/default/two'])
    await eventually(() => screen.queryByText('empty live'))
  })

  it('leaves alone what was opened by hand', async () => {
    const { server, client } = setUp()
    const dashboard = client.dashboard('test', { connect: false })
    dashboard.meta.set({ title: 'before it was connected' })
    await new Promise(resolve => setTimeout(resolve, 1_200))
    expect(dashboard.isDestroyed).toBe(false)
    dashboard.connect()
    await live(dashboard)
    const { unmount } = render(inside(client, null))
    unmount()
    await new Promise(resolve => setTimeout(resolve, 1_200))
    expect(dashboard.status.get()).toBe('live')
    expect(server.doc.getMap('meta').get('title')).toBe('before it was connected')
    expect(server.urls.length).toBe(1)
  })

  it('closes what it opened, also when somebody looked at it meanwhile', async () => {
    const { server, client } = setUp()
    const { unmount } = render(inside(client, null))
    await eventually(() => server.sockets.size === 1)
    const dashboard = client.dashboard('test', { connect: false })
    unmount()
    await eventually(() => server.sockets.size === 0)
    expect(dashboard.isDestroyed).toBe(true)
  })

  it('takes the next dashboard when the one at hand was destroyed before it was mounted', async () => {
    const { server, client } = setUp()
    const Closes = (): ReactNode => {
      const dashboard = useDashboard()
      // As StrictMode does with an application that destroys its client when it is unmounted. Effects run from the inside out.
      useEffect(() => { if (server.urls.length === 0 && !dashboard.isDestroyed) client.destroy() }, [])
      return <p>{useStatus()}</p>
    }
    render(<DashboardProvider client={client} id='test'><Closes /></DashboardProvider>)
    await eventually(() => screen.queryByText('live'))
    expect(server.urls.length).toBe(1)
  })

  it('asks for one token in StrictMode', async () => {
    const server = new MemoryServer()
    let asked = 0
    const client = createClient({ url: 'http://memory', persist: false, storage: null, WebSocket: server.WebSocket, token: async () => `token-${++asked}` })
    clients.push(client)
    const Status = (): ReactNode => <p>{useStatus()}</p>
    render(inside(client, <Status />))
    await eventually(() => screen.queryByText('live'))
    expect(asked).toBe(1)
  })

  it('says that there is no WebSocket, once', () => {
    const client = createClient({ url: 'http://memory', persist: false, storage: null })
    clients.push(client)
    vi.stubGlobal('WebSocket', undefined)
    const log = vi.spyOn(console, 'error').mockImplementation(() => {})
    try {
      expect(() => render(<DashboardProvider client={client} id='test' />)).toThrow('pass one to createClient')
    } finally {
      log.mockRestore()
      vi.unstubAllGlobals()
    }
  })

  it('renders on a server without opening anything', async () => {
    const { server, client } = setUp()
    const App = (): ReactNode => <p>{useStatus()}, {useSaveState()}, {Object.keys(useWidgets()).length}, {useOthers().length}</p>
    const html = renderToString(inside(client, <App />))
    expect(html.replaceAll('<!-- -->', '')).toBe('<p>connecting, saved, 0, 0</p>')
    expect(server.urls).toEqual([])

    // And a browser goes on from there, with a client of its own.
    const browser = createClient({ url: 'http://memory', persist: false, storage: null, WebSocket: server.WebSocket })
    clients.push(browser)
    const container = document.body.appendChild(document.createElement('div'))
    container.innerHTML = html
    const shown = container.firstChild
    const log = vi.spyOn(console, 'error')
    try {
      render(inside(browser, <App />), { container, hydrate: true })
      await eventually(() => screen.queryByText('live, saved, 0, 0'))
      expect(container.firstChild).toBe(shown)
      expect(log.mock.calls).toEqual([])
    } finally {
      log.mockRestore()
    }
  })
})
