import { useEffect, useState } from 'react'
import { ask } from '../shared/token.js'

/** The node, as it tells of itself. */
export interface NodeInfo {
  readonly version: string
  readonly node: string
  readonly store: string
  readonly uptime_seconds: number
  readonly draining: boolean
}

/** A node of the company that serves these dashboards. One that was only heard on a dashboard has not said anything of itself. */
export interface NodeStatus {
  readonly id: string
  readonly self: boolean
  readonly name?: string
  readonly version?: string
  readonly address?: string
  readonly started?: number
  readonly rooms?: number
  readonly sessions?: number
  /** Milliseconds since it was heard. */
  readonly silent_ms: number
  /** Milliseconds until it is taken for gone. */
  readonly lease_ms?: number
}

/** A live room. One that was too busy to answer has only its name. */
export interface RoomInfo {
  readonly dashboard: string
  readonly members?: number
  readonly lagging?: number
  readonly waiting_bytes?: number
  readonly document_bytes?: number
  readonly memory_bytes?: number
  readonly clients?: number
  readonly updates?: number
  readonly flushed_bytes?: number
  readonly resyncs?: number
  readonly held?: number
  readonly saved?: boolean
}

/** A session in a room. */
export interface Seat {
  readonly session: string
  readonly user: string | null
  readonly may_edit: boolean
  readonly clients: readonly number[]
  readonly held: number
  readonly lagging: boolean
  readonly waiting_bytes: number
  readonly waiting_frames: number
}

/** An accepted update. */
export interface LogEntry {
  readonly position: string
  readonly at: number
  readonly author: string | null
  readonly session: string | null
  readonly source: string
  readonly bytes: number
  readonly spans: readonly { readonly client: number, readonly from: number, readonly to: number }[]
  readonly deletes: number
}

/** An answer, with when it came; `null` until one has, and when there is nothing to tell. */
export interface Answer<T> {
  readonly value: T
  readonly at: number
}

const PERIOD = 1_000

/** Asks for `path` every second while the page is looked at. */
export function usePolled<T>(path: string): { readonly now: Answer<T> | null, readonly before: Answer<T> | null, readonly failure: string | null } {
  const [state, setState] = useState<{ now: Answer<T> | null, before: Answer<T> | null, failure: string | null }>({ now: null, before: null, failure: null })
  useEffect(() => {
    let isOver = false
    let timer: ReturnType<typeof setTimeout>
    setState({ now: null, before: null, failure: null })
    const ask = async (): Promise<void> => {
      if (!document.hidden) {
        try {
          const value = await get<T>(path)
          if (isOver) return
          setState(({ now }) => ({ now: value === null ? null : { value, at: performance.now() }, before: now, failure: null }))
        } catch (error) {
          if (!isOver) setState(({ now, before }) => ({ now, before, failure: error instanceof Error ? error.message : String(error) }))
        }
      }
      if (!isOver) timer = setTimeout(() => { void ask() }, PERIOD)
    }
    void ask()
    return () => {
      isOver = true
      clearTimeout(timer)
    }
  }, [path])
  return state
}

/** What the server answers under `/api`; `null` where there is nothing. */
export async function get<T>(path: string): Promise<T | null> {
  const answer = await ask(`/api/${path}`)
  if (answer.status === 404) return null
  if (!answer.ok) throw new Error(answer.status === 401 || answer.status === 403 ? 'The inspector answers only to operators, and without tokens only to browsers on the server’s own machine.' : `The server answered ${answer.status}.`)
  return await answer.json() as T
}

/** A dashboard's name in a path. */
export function inPath(dashboard: string): string {
  return dashboard.split('/').map(encodeURIComponent).join('/')
}
