// What people say about widgets: the root map `comments` of the document, by id. A comment is written once; only whether its thread is settled
// changes later. Others may have written anything there, so nothing is believed.

import type { Dashboard } from '@ydash/client'
import { useDashboard, useReadable } from '@ydash/client/react'
import { useEffect } from 'react'
import { announce } from './announce.js'
import { titleOf } from './board/operations.js'
import { showPanel, shownPanel } from './panel/shown.js'
import { Signal } from './signal.js'

/** One thing that was said. */
export interface Comment {
  readonly id: string
  /** The widget that it is about. */
  readonly widget: string
  /** The comment that it answers; `null` for one that begins a thread. */
  readonly thread: string | null
  readonly by: string
  readonly color: string
  /** Milliseconds since 1970. */
  readonly at: number
  readonly text: string
  /** Whether what this thread is about is settled. */
  readonly isDone: boolean
}

/** A comment with its answers, in the order of time. */
export interface Thread extends Comment {
  readonly answers: readonly Comment[]
}

export const TEXT_MAX = 2_000
/** So many are read; whatever else the document holds. */
const COMMENTS_MAX = 1_000

const text = (value: unknown, max: number): string => typeof value === 'string' ? value.slice(0, max) : ''

function commentOf(id: string, value: unknown): Comment | null {
  if (typeof value !== 'object' || value === null) return null
  const json = (typeof (value as { toJSON?: unknown }).toJSON === 'function' ? (value as { toJSON: () => unknown }).toJSON() : value) as Record<string, unknown>
  const { widget, thread, by, color, at, done } = json
  const said = text(json.text, TEXT_MAX)
  if (typeof widget !== 'string' || said === '') return null
  return {
    id, widget, thread: typeof thread === 'string' ? thread : null, by: text(by, 60) || 'Somebody', color: /^#[\da-f]{6}$/i.test(text(color, 7)) ? text(color, 7) : '#64748b',
    at: typeof at === 'number' && Number.isFinite(at) ? at : 0, text: said, isDone: done === true
  }
}

/** The comments of one dashboard. */
class Comments extends Signal<readonly Thread[]> {
  readonly #dashboard: Dashboard

  constructor(dashboard: Dashboard) {
    super([])
    this.#dashboard = dashboard
    const map = dashboard.doc.getMap('comments')
    const read = (): void => { this.set(this.#read()) }
    map.observeDeep(read)
    read()
  }

  #read(): Thread[] {
    const map = this.#dashboard.doc.getMap<unknown>('comments')
    const all: Comment[] = []
    for (const [id, value] of map) {
      const comment = commentOf(id, value)
      if (comment !== null) all.push(comment)
      if (all.length >= COMMENTS_MAX) break
    }
    all.sort((a, b) => a.at - b.at)
    return all.filter(({ thread }) => thread === null).map(one => ({ ...one, answers: all.filter(({ thread }) => thread === one.id) }))
  }

  /** Says something about a widget, in answer to `thread` if that is given. */
  say(widget: string, said: string, thread: string | null = null): void {
    const written = said.trim().slice(0, TEXT_MAX)
    if (written === '') return
    const { presence, doc, undo } = this.#dashboard
    const { name, color } = presence.self.get().user
    undo.cut()
    this.#dashboard.edit(() => {
      doc.getMap<unknown>('comments').set(crypto.getRandomValues(new Uint32Array(3)).join('-'), { widget, by: name, color, at: Date.now(), text: written, ...thread !== null && { thread } })
    })
    undo.cut()
  }

  settle({ id }: Thread, isDone: boolean): void {
    const map = this.#dashboard.doc.getMap<unknown>('comments')
    const value = map.get(id)
    if (typeof value !== 'object' || value === null) return
    this.#dashboard.edit(() => { map.set(id, { ...value, done: isDone }) })
  }

  /** Takes back a comment; with one that begins a thread go its answers. */
  remove(comment: Comment): void {
    const map = this.#dashboard.doc.getMap<unknown>('comments')
    const answers = this.get().find(({ id }) => id === comment.id)?.answers ?? []
    this.#dashboard.edit(() => { for (const { id } of [comment, ...answers]) map.delete(id) })
  }
}

const known = new WeakMap<Dashboard, Comments>()

export function commentsOf(dashboard: Dashboard): Comments {
  let comments = known.get(dashboard)
  if (comments === undefined) {
    comments = new Comments(dashboard)
    known.set(dashboard, comments)
  }
  return comments
}

/** How many threads about a widget are open. */
export function useOpenComments(widget: string): number {
  return useReadable(commentsOf(useDashboard()), threads => threads.reduce((sum, one) => sum + Number(one.widget === widget && !one.isDone), 0))
}

/** Tells what others say, and leads there. */
export function useCommentNews(): void {
  const dashboard = useDashboard()
  useEffect(() => {
    const comments = commentsOf(dashboard)
    const ids = (): Set<string> => new Set(comments.get().flatMap(({ id, answers }) => [id, ...answers.map(one => one.id)]))
    let before: Set<string> | null = null
    const look = (): void => {
      if (dashboard.status.get() !== 'live') return
      const seen = before
      before = ids()
      // What was there when this page came is no news.
      if (seen === null) return
      const shown = shownPanel()
      const news = comments.get().flatMap(one => [one, ...one.answers]).filter(({ id, by }) => !seen.has(id) && by !== dashboard.presence.self.get().user.name)
      for (const { by, widget } of news.slice(0, 3)) {
        const isInSight = shown?.kind === 'comments' && shown.id === widget
        announce(`${by} commented on “${titleOf(dashboard, widget)}”`, !isInSight, isInSight ? undefined : { name: 'Show', run: () => { showPanel({ kind: 'comments', id: widget }) } })
      }
    }
    look()
    const stops = [comments.subscribe(look), dashboard.status.subscribe(look)]
    return () => { for (const stop of stops) stop() }
  }, [dashboard])
}
