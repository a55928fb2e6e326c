import type { Dashboard } from '@ydash/client'
import { useDashboard } from '@ydash/client/react'
import { useEffect } from 'react'
import * as Y from 'yjs'
import { shorten, TITLE_MAX } from '../shared/format.js'
import { announce } from './announce.js'
import { type Copy, putCopies, removedCopy } from './board/copies.js'
import { WINDOWS } from './hooks.js'
import { Signal } from './signal.js'

/** What somebody did that others should hear of by name. A document does not say who deletes; presence does. */
export interface Act {
  /** Another one each time. */
  readonly n: number
  readonly did: 'removed' | 'range'
  /** Widgets, or the range that was set. */
  readonly what: readonly string[]
}

/** This client's last act, for presence to carry. */
export const ownAct = new Signal<Act | null>(null)

export function act(did: Act['did'], what: readonly string[]): void {
  ownAct.set({ n: (ownAct.get()?.n ?? Math.floor(Math.random() * 1e6)) + 1, did, what: what.slice(0, 50) })
}

/** Widgets that others have removed and that can be brought back. */
const REMOVED_MAX = 60
/** How long a removal and the word of who did it may arrive apart, in milliseconds. */
const APART = 1_500

/** Tells what others do to what one looks at, by name, and lets it be taken back. */
export function useActs(): void {
  const dashboard = useDashboard()
  useEffect(() => {
    const removed = new Map<string, Copy>()
    const map = dashboard.doc.getMap('widgets')
    const observe = (event: Y.YMapEvent<unknown>, transaction: Y.Transaction): void => {
      for (const [id, { action, oldValue }] of event.changes.keys) {
        const copy = action === 'delete' && !transaction.local ? removedCopy(dashboard.doc, id, oldValue, transaction) : null
        if (copy !== null) removed.set(id, copy)
      }
      for (const id of removed.keys()) if (removed.size > REMOVED_MAX) removed.delete(id)
    }
    map.observe(observe)

    const { presence, locks } = dashboard
    const heard = new Map<number, number>()
    const timers = new Set<ReturnType<typeof setTimeout>>()
    const tell = (): void => {
      for (const { clientId, user, view } of presence.others.get()) {
        const one = actOf(view)
        if (one === null) continue
        const before = heard.get(clientId)
        heard.set(clientId, one.n)
        // What was done before this page came is no news.
        if (before === one.n || before === undefined && !isFresh) continue
        const timer = setTimeout(() => {
          timers.delete(timer)
          report(dashboard, user.name, one, removed)
        }, one.did === 'removed' && !one.what.some(id => removed.has(id)) ? APART : 50)
        timers.add(timer)
      }
    }
    let isFresh = false
    tell()
    for (const { clientId } of presence.others.get()) if (!heard.has(clientId)) heard.set(clientId, 0)
    const settle = setTimeout(() => { isFresh = true }, APART)
    const stopOthers = presence.others.subscribe(tell)

    let held = new Set<string>()
    const stopLocks = locks.holders.subscribe(() => {
      const all = locks.holders.get()
      for (const id of held) {
        const holder = all[id]
        if (holder !== undefined && !holder.isSelf) announce(`${holder.user.name} took over “${titleOf(dashboard, id)}”`, true)
      }
      held = new Set(Object.keys(all).filter(id => all[id]?.isSelf === true))
    })
    return () => {
      map.unobserve(observe)
      stopOthers()
      stopLocks()
      clearTimeout(settle)
      for (const timer of timers) clearTimeout(timer)
    }
  }, [dashboard])
}

function report(dashboard: Dashboard, name: string, { did, what }: Act, removed: Map<string, Copy>): void {
  if (did === 'range') {
    announce(`${name} set the time range to ${WINDOWS.find(({ id }) => id === what[0])?.name ?? 'another one'} for everyone`, true)
    return
  }
  const copies = what.flatMap(id => removed.get(id) ?? []).filter(({ id }) => dashboard.widgets.get(id) === undefined)
  const [first] = copies
  if (first === undefined) return
  announce(`${name} removed ${copies.length === 1 ? `“${shorten(first.title || first.type, 40)}”` : `${copies.length} widgets`}`, true, dashboard.access.get() === 'read-only' ? undefined : {
    name: 'Undo',
    run: () => {
      dashboard.undo.cut()
      putCopies(dashboard, copies.filter(({ id }) => dashboard.widgets.get(id) === undefined), ({ box }) => box, true)
    }
  })
}

function actOf(view: unknown): Act | null {
  const { act } = (typeof view === 'object' && view !== null ? view : {}) as { act?: unknown }
  const { n, did, what } = (typeof act === 'object' && act !== null ? act : {}) as Record<string, unknown>
  return typeof n === 'number' && (did === 'removed' || did === 'range') && Array.isArray(what) && what.length <= 50 && what.every(one => typeof one === 'string') ? { n, did, what } : null
}

function titleOf(dashboard: Dashboard, id: string): string {
  return shorten(dashboard.widgets.get(id)?.title || 'Widget', TITLE_MAX)
}
