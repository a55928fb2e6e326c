import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

/** Something in the document that just changed, and who did it. */
export interface Change {
  readonly at: number
  readonly who: string
  readonly color: string
}

/** How long a change is shown, in milliseconds. */
const SHOWN = 2_500

/**
 * A dashboard's document as it changes: a session like any other, but one that shows nothing of itself.
 */
export class WatchedDocument {
  readonly doc = new Y.Doc()
  readonly changes = new Map<string, Change>()
  readonly #provider: WebsocketProvider
  readonly #listeners = new Set<() => void>()
  readonly #observed = new Set<string>()
  #version = 0
  #frame = 0
  #fading: ReturnType<typeof setTimeout> | undefined

  constructor(dashboard: string) {
    const [workspace, ...name] = dashboard.split('/')
    const base = `${location.origin.replace(/^http/, 'ws')}/ws/${encodeURIComponent(workspace ?? '')}`
    this.#provider = new WebsocketProvider(base, name.map(encodeURIComponent).join('/'), this.doc, { disableBc: true, connect: false })
    this.#provider.awareness.setLocalState(null)
    this.doc.on('afterTransaction', this.#changed)
    this.#provider.awareness.on('change', this.#tell)
    this.#provider.on('status', this.#tell)
    this.#provider.connect()
  }

  /** The root types by name. */
  get roots(): [string, Y.AbstractType<unknown>][] {
    return [...this.doc.share.keys()].sort().map(name => [name, rootOf(this.doc, name)])
  }

  /** Who announced a client id, with their colour. */
  person(client: number): { readonly name: string, readonly color: string } | null {
    const user = this.#provider.awareness.getStates().get(client)?.user as { name?: unknown, color?: unknown } | undefined
    if (typeof user?.name !== 'string') return null
    return { name: user.name.slice(0, 64), color: typeof user.color === 'string' && /^#[0-9a-f]{6}$/i.test(user.color) ? user.color : '#64748b' }
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  /** Grows with whatever is to be drawn anew. */
  readonly version = (): number => this.#version

  destroy(): void {
    cancelAnimationFrame(this.#frame)
    clearTimeout(this.#fading)
    this.#provider.destroy()
    this.doc.destroy()
  }

  readonly #changed = (transaction: Y.Transaction): void => {
    const authors = [...transaction.afterState].filter(([client, clock]) => clock > (transaction.beforeState.get(client) ?? 0)).map(([client]) => client)
    const known = authors.map(client => this.person(client)).filter(person => person !== null)
    const who = known.length > 0 ? known.map(({ name }) => name).join(', ') : authors.length > 0 ? `client ${authors.slice(0, 3).join(', ')}` : 'deleted'
    const change = { at: Date.now(), who, color: known[0]?.color ?? '#64748b' }
    for (const [name] of this.roots) this.#observe(name)
    // The first state is nobody's change.
    if (this.#provider.synced) {
      for (const [type, keys] of transaction.changed) {
        const path = pathOf(type as Y.AbstractType<unknown>)
        if (path === null) continue
        for (const key of keys) this.changes.set(key === null ? path : `${path}/${key}`, change)
      }
    }
    this.#fade()
    this.#tell()
  }

  /** Forgets what has been shown for long enough, then and there. */
  readonly #fade = (): void => {
    clearTimeout(this.#fading)
    const now = Date.now()
    const before = this.changes.size
    for (const [path, { at }] of this.changes) if (at <= now - SHOWN) this.changes.delete(path)
    if (this.changes.size < before) this.#tell()
    const next = Math.min(...[...this.changes.values()].map(({ at }) => at)) + SHOWN - now
    if (Number.isFinite(next)) this.#fading = setTimeout(this.#fade, next)
  }

  /** Naming a root's type makes it one; what is in it is known only then. */
  #observe(name: string): void {
    if (this.#observed.has(name)) return
    this.#observed.add(name)
    rootOf(this.doc, name)
  }

  readonly #tell = (): void => {
    if (this.#frame !== 0) return
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0
      this.#version++
      for (const listener of this.#listeners) listener()
    })
  }
}

/** The keys and indices that lead to a type. */
function pathOf(type: Y.AbstractType<unknown>): string | null {
  const parts: string[] = []
  for (let at = type; ;) {
    const item = at._item
    if (item === null) {
      const root = [...at.doc?.share ?? []].find(([, one]) => one === at)?.[0]
      return root === undefined ? null : [root, ...parts.reverse()].join('/')
    }
    if (item.parentSub !== null) {
      parts.push(item.parentSub)
    } else {
      let index = 0
      for (let left = item.left; left !== null; left = left.left) if (!left.deleted && left.countable) index += left.length
      parts.push(String(index))
    }
    at = item.parent as Y.AbstractType<unknown>
  }
}

/** A root by what is in it: the document does not say what its clients take it for. */
function rootOf(doc: Y.Doc, name: string): Y.AbstractType<unknown> {
  const type = doc.share.get(name) as Y.AbstractType<unknown>
  if (type.constructor !== Y.AbstractType) return type
  if (type._map.size > 0 && type._start === null) return doc.getMap(name) as Y.AbstractType<unknown>
  for (let item = type._start; item !== null; item = item.right) {
    if (item.deleted) continue
    if (item.content instanceof Y.ContentString || item.content instanceof Y.ContentFormat) return doc.getText(name) as unknown as Y.AbstractType<unknown>
    if (item.content instanceof Y.ContentType && item.content.type instanceof Y.XmlElement) return doc.getXmlFragment(name) as unknown as Y.AbstractType<unknown>
    return doc.getArray(name) as Y.AbstractType<unknown>
  }
  return type
}
