'use client'

import type { Awareness } from 'y-protocols/awareness'
import { createContext, createElement, useCallback, useContext, useEffect, useMemo, useRef, useState, useSyncExternalStore, type ReactNode } from 'react'
import type { Access, Box, Client, Cursor, Dashboard, Filters, Json, LockHolder, Other, OtherCursor, Preferences, Readable, SaveState, Self, Status, Table, UndoState, User, ValuesPatch, Widget } from '../index.js'

const Context = createContext<Dashboard | null>(null)

/** What [DashboardProvider] takes. */
export interface DashboardProviderProps {
  readonly client: Client
  /** `name` or `workspace/name` */
  readonly id: string
  readonly children?: ReactNode
}

/**
 * Opens a dashboard for everything below it, and closes it when nobody uses it any more.
 *
 * Connects when it is mounted, not when it is rendered: on a server it renders the empty dashboard and opens nothing.
 */
export function DashboardProvider({ client, id, children }: DashboardProviderProps): ReactNode {
  // Counts up when the dashboard at hand was closed between its rendering and its mounting.
  const [attempt, setAttempt] = useState(0)
  const dashboard = useMemo(() => {
    void attempt
    return client.prepare(id)
  }, [client, id, attempt])
  useEffect(() => {
    if (!dashboard.isDestroyed) return client.hold(dashboard)
    setAttempt(attempt + 1)
    return undefined
  }, [client, dashboard, attempt])
  return createElement(Context.Provider, { value: dashboard }, children)
}

/** The dashboard of the [DashboardProvider] above. */
export function useDashboard(): Dashboard {
  const dashboard = useContext(Context)
  if (dashboard === null) throw new Error('there is no DashboardProvider above this component')
  return dashboard
}

/**
 * A readable's value, or what `select` makes of it. Renders again only when that changes: the same object, or the same JSON for
 * what `select` makes anew each time, must not.
 */
export function useReadable<T>(readable: Readable<T>): T
export function useReadable<T, S>(readable: Readable<T>, select: (value: T) => S): S
export function useReadable<T, S>(readable: Readable<T>, select?: (value: T) => S): T | S {
  const last = useRef<{ value: T, select: typeof select, selected: T | S } | null>(null)
  const read = (): T | S => {
    const value = readable.get()
    if (select === undefined) return value
    if (last.current?.value === value && last.current.select === select) return last.current.selected
    const selected = select(value)
    const kept = last.current !== null && isShallowEqual(last.current.selected, selected) ? last.current.selected : selected
    last.current = { value, select, selected: kept }
    return kept
  }
  return useSyncExternalStore(readable.subscribe, read, read)
}

/** All widgets by id, or what `select` picks of them. */
export function useWidgets(): Readonly<Record<string, Widget>>
export function useWidgets<S>(select: (widgets: Readonly<Record<string, Widget>>) => S): S
export function useWidgets<S>(select?: (widgets: Readonly<Record<string, Widget>>) => S): unknown {
  return useReadable(useDashboard().widgets.all, select ?? (same as never))
}

/** One widget. */
export function useWidget(id: string): Widget | undefined {
  return useWidgets(useCallback(all => all[id], [id]))
}

/** All places by widget id, or what `select` picks of them. */
export function useLayout(): Readonly<Record<string, Box>>
export function useLayout<S>(select: (layout: Readonly<Record<string, Box>>) => S): S
export function useLayout<S>(select?: (layout: Readonly<Record<string, Box>>) => S): unknown {
  return useReadable(useDashboard().layout.all, select ?? (same as never))
}

/** One table; `undefined` when it is not there, or `id` is. */
export function useTable(id: string | undefined): Table | undefined {
  return useReadable(useDashboard().tables.all, useCallback((all: Readonly<Record<string, Table>>) => id === undefined ? undefined : all[id], [id]))
}

/** Values that are shared, with private ones laid over them, and how to change them. */
export interface UseScoped<T> {
  /** What is to be shown. */
  readonly values: Readonly<Partial<T>>
  /** What everybody has. */
  readonly shared: Readonly<Partial<T>>
  /** What is laid over it here. */
  readonly private: Readonly<Partial<T>>
  readonly set: (patch: ValuesPatch<T>) => void
  readonly setPrivate: (patch: ValuesPatch<T>) => void
  readonly promote: (...keys: (keyof T & string)[]) => void
  readonly reset: (...keys: (keyof T & string)[]) => void
}

/** The filters, and how to change them; or what `select` picks of those that are to be shown. */
export function useFilters(): UseScoped<Filters>
export function useFilters<S>(select: (values: Readonly<Partial<Filters>>) => S): S
export function useFilters<S>(select?: (values: Readonly<Partial<Filters>>) => S): unknown {
  return useScoped(useDashboard().filters, select)
}

/** The preferences, and how to change them; or what `select` picks of those that are to be shown. */
export function usePreferences(): UseScoped<Preferences>
export function usePreferences<S>(select: (values: Readonly<Partial<Preferences>>) => S): S
export function usePreferences<S>(select?: (values: Readonly<Partial<Preferences>>) => S): unknown {
  return useScoped(useDashboard().preferences, select)
}

function useScoped<T extends object, S>(model: Dashboard['filters'] | Dashboard['preferences'], select?: (values: Readonly<Partial<T>>) => S): S | UseScoped<T> {
  const { effective, shared, private: own } = model as unknown as Record<'effective' | 'shared' | 'private', Readable<Readonly<Partial<T>>>>
  const selected = useReadable(effective, select ?? nothing as never)
  const all = useTracked<UseScoped<T>, 'values' | 'shared' | 'private'>([model], { values: effective, shared, private: own }, {
    set: patch => { model.set(patch as never) },
    setPrivate: patch => { model.setPrivate(patch as never) },
    promote: (...keys) => { model.promote(...keys as never[]) },
    reset: (...keys) => { model.reset(...keys as never[]) }
  })
  return select === undefined ? all : selected
}

/** What this client announces of itself, and how to change it. */
export interface UsePresence {
  readonly self: Self
  readonly setUser: (user: Partial<User>) => void
  readonly setCursor: (cursor: Cursor | null) => void
  readonly setSelection: (widget: string | null) => void
  readonly setView: (view: Json) => void
}

/** This client among the others. */
export function usePresence(): UsePresence {
  const { presence } = useDashboard()
  return useTracked<UsePresence, 'self'>([presence], { self: presence.self }, {
    setUser: user => { presence.setUser(user) },
    setCursor: cursor => { presence.setCursor(cursor) },
    setSelection: widget => { presence.setSelection(widget) },
    setView: view => { presence.setView(view) }
  })
}

/** Everybody else, or what `select` picks of them; cursors are not among it. */
export function useOthers(): readonly Other[]
export function useOthers<S>(select: (others: readonly Other[]) => S): S
export function useOthers<S>(select?: (others: readonly Other[]) => S): unknown {
  return useReadable(useDashboard().presence.others, select ?? (same as never))
}

/** Everybody else's pointer, or what `select` picks of them. All of them render with every move: for an overlay, not for what stands around it. */
export function useCursors(): readonly OtherCursor[]
export function useCursors<S>(select: (cursors: readonly OtherCursor[]) => S): S
export function useCursors<S>(select?: (cursors: readonly OtherCursor[]) => S): unknown {
  return useReadable(useDashboard().presence.cursors, select ?? (same as never))
}

/** What can be undone, and how. */
export interface UseUndo extends UndoState {
  readonly undo: () => void
  readonly redo: () => void
}

/** Undo and redo of this client's edits. */
export function useUndo(): UseUndo {
  const { undo } = useDashboard()
  const { state } = undo
  return useTracked<UseUndo, keyof UndoState>([undo], { canUndo: derived(state, now => now.canUndo), canRedo: derived(state, now => now.canRedo) }, {
    undo: () => { undo.undo() },
    redo: () => { undo.redo() }
  })
}

/** The awareness, for an editor's binding; `null` until the provider above has connected, which is after the first effects below it. */
export function useAwareness(): Awareness | null {
  return useReadable(useDashboard().awarenessOverTime)
}

/** The link to the server. */
export function useStatus(): Status {
  return useReadable(useDashboard().status)
}

/** What has become of this client's edits. */
export function useSaveState(): SaveState {
  return useReadable(useDashboard().saveState)
}

/** What this session may do. */
export function useAccess(): Access {
  return useReadable(useDashboard().access)
}

/** Whom this client follows, and who follows it. */
export interface UseFollow {
  readonly target: Other | null
  /** What the one who is followed looks at. */
  readonly view: Json
  readonly followers: readonly Other[]
  readonly follow: (clientId: number) => void
  readonly stop: () => void
}

/** Follow mode. */
export function useFollow(): UseFollow {
  const { follow } = useDashboard()
  const { target, view, followers } = follow
  return useTracked<UseFollow, 'target' | 'view' | 'followers'>([follow], { target, view, followers }, {
    follow: clientId => { follow.start(clientId) },
    stop: () => { follow.stop() }
  })
}

/** A widget's soft lock. */
export interface UseWidgetLock {
  readonly holder: LockHolder | null
  /** Whether somebody else holds it. */
  readonly isLocked: boolean
  readonly acquire: () => boolean
  readonly takeOver: () => void
  readonly release: () => void
}

/** Who is busy with a widget. What a component holds is let go when it is unmounted. */
export function useWidgetLock(widget: string): UseWidgetLock {
  const { locks } = useDashboard()
  const took = useRef(false)
  useEffect(() => () => {
    if (took.current) locks.release(widget)
    took.current = false
  }, [locks, widget])
  const isOwn = (): boolean => locks.holder(widget)?.isSelf === true
  const holder = derived(locks.holders, () => locks.holder(widget))
  return useTracked<UseWidgetLock, 'holder' | 'isLocked'>([locks, widget], { holder, isLocked: derived(holder, one => one !== null && !one.isSelf) }, {
    acquire: () => {
      // What was lost meanwhile has to be acquired anew.
      if (!took.current || !isOwn()) took.current = locks.acquire(widget)
      return took.current
    },
    takeOver: () => {
      if (took.current && isOwn()) return
      took.current = true
      locks.takeOver(widget)
    },
    release: () => {
      if (took.current) locks.release(widget)
      took.current = false
    }
  })
}

/**
 * Several values and what can be done, in one object. Renders again, with another object, only when a value changes that was read
 * from it: so whoever only sets a cursor does not draw with every change of its own presence.
 */
function useTracked<R extends object, K extends keyof R>(owners: readonly unknown[], sources: { readonly [N in K]: Readable<R[N]> }, actions: Omit<R, K>): R {
  const { subscribe, read } = useMemo(() => {
    const all = Object.entries(sources) as [K, Readable<R[K]>][]
    const made = (read: Map<K, R[K]>): { readonly read: Map<K, R[K]>, readonly value: R } => {
      const value = { ...actions } as R
      for (const [key, source] of all) {
        const get = (): R[K] => {
          if (!read.has(key)) read.set(key, source.get())
          return read.get(key) as R[K]
        }
        Object.defineProperty(value, key, { get, enumerable: true })
      }
      return { read, value }
    }
    let last = made(new Map())
    return {
      subscribe: (listener: () => void) => {
        const stops = all.map(([, source]) => source.subscribe(listener))
        return () => { for (const stop of stops) stop() }
      },
      read: () => {
        const isStale = [...last.read].some(([key, before]) => !Object.is(sources[key].get(), before))
        if (isStale) last = made(new Map([...last.read.keys()].map(key => [key, sources[key].get()])))
        return last.value
      }
    }
    // The sources and actions are the owners'.
  }, owners)
  return useSyncExternalStore(subscribe, read, read)
}

/** A part of a readable, of which no change makes another object. */
function derived<T, S>({ get, subscribe }: Readable<T>, part: (value: T) => S): Readable<S> {
  return { get: () => part(get()), subscribe }
}

function same<T>(value: T): T {
  return value
}

function nothing(): void {}

function isShallowEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || Array.isArray(a) !== Array.isArray(b)) return false
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every(key => Object.is((a as never)[key], (b as never)[key]))
}
