import { keep, recall } from '../session.js'

/** A dashboard that was opened in this browser. */
export interface Opened {
  readonly id: string
  readonly title: string
  /** When, in milliseconds since 1970. */
  readonly at: number
}

const OPENED_MAX = 200

/** Dashboards that were opened in this browser, the latest first. */
export function opened(): Opened[] {
  return stored('opened').flatMap(one => {
    const { id, title, at } = (typeof one === 'object' && one !== null ? one : {}) as Record<string, unknown>
    return typeof id === 'string' && typeof title === 'string' && typeof at === 'number' ? [{ id, title, at }] : []
  })
}

/** Remembers that a dashboard was opened, under its title. */
export function remember(id: string, title: string): void {
  keep('opened', JSON.stringify([{ id, title, at: Date.now() }, ...opened().filter(one => one.id !== id)].slice(0, OPENED_MAX)))
}

export function forget(id: string): void {
  keep('opened', JSON.stringify(opened().filter(one => one.id !== id)))
}

export function favourites(): ReadonlySet<string> {
  return new Set(stored('favourites').filter(one => typeof one === 'string'))
}

export function setFavourite(id: string, isOne: boolean): void {
  const next = new Set(favourites())
  if (isOne) next.add(id)
  else next.delete(id)
  keep('favourites', JSON.stringify([...next].slice(-OPENED_MAX)))
}

const WORKSPACES_MAX = 50

/** Workspaces that this browser has seen dashboards in: what was deleted there is in no list any more. */
export function workspacesSeen(ids: readonly string[] = []): string[] {
  const before = stored('workspaces').filter((one): one is string => typeof one === 'string')
  const all = [...new Set(['default', ...before, ...ids.map(id => id.slice(0, id.indexOf('/')))])].slice(0, WORKSPACES_MAX)
  if (all.length !== before.length) keep('workspaces', JSON.stringify(all))
  return all
}

function stored(key: string): unknown[] {
  try {
    const found: unknown = JSON.parse(recall(key) ?? '[]')
    return Array.isArray(found) ? found : []
  } catch {
    return []
  }
}
