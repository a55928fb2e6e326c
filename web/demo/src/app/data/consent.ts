import { useSyncExternalStore } from 'react'

/** Where this browser remembers which servers its user lets dashboards load from. */
const KEY = 'ydash:allowed-origins'

const listeners = new Set<() => void>()
let allowed: ReadonlySet<string> = read()

function read(): ReadonlySet<string> {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]')
    return new Set(Array.isArray(stored) ? stored.filter(one => typeof one === 'string') : [])
  } catch {
    return new Set()
  }
}

/** The origin of an address that may be loaded at all: `http` and `https`, absolute or on this server. */
export function originOf(url: unknown): string | null {
  if (typeof url !== 'string' || url.length > 4_000) return null
  try {
    const { protocol, origin, username } = new URL(url, location.origin)
    return (protocol === 'https:' || protocol === 'http:') && username === '' ? origin : null
  } catch {
    return null
  }
}

/**
 * Whether this browser's user lets dashboards load from an origin. Whoever edits a dashboard decides what it loads, and everybody who opens it
 * would: their addresses would be known there, and servers only they can reach would be asked.
 */
export function isAllowed(origin: string): boolean {
  return origin === location.origin || allowed.has(origin)
}

export function allow(origin: string): void {
  allowed = new Set([...allowed, origin])
  try {
    localStorage.setItem(KEY, JSON.stringify([...allowed].slice(-200)))
  } catch {
    // Then it is asked again next time.
  }
  for (const listener of [...listeners]) listener()
}

export function subscribe(listener: () => void): () => void {
  listeners.add(listener)
  return () => { listeners.delete(listener) }
}

/** Whether an origin may be loaded from, followed. */
export function useIsAllowed(origin: string | null): boolean {
  return useSyncExternalStore(subscribe, () => origin !== null && isAllowed(origin))
}
