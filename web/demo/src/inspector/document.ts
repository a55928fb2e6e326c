import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

/** Somebody as they show themselves. */
export interface Person {
  readonly name: string
  readonly color: string
}

/** Something in the document that just changed, and who did it. */
export interface Change {
  readonly at: number
  /** `null` as long as nobody knows: a deletion does not say whose it is, but the log does, a moment later. */
  readonly by: Person | null
  /** What is not there any more. */
  readonly removed: string
}

/** Of whom nothing is known but that they were here. */
export const UNKNOWN_COLOR = '#64748b'

/** How long a change is shown, in milliseconds. */
const SHOWN = 2_500
/** Letters of what was removed that are shown. */
const REMOVED_MAX = 60

/**
 * A dashboard's document as it changes: a session like any other, but one that shows nothing of itself.
 */
export class WatchedDocument {
  readonly doc = new Y.Doc()
  readonly changes = new Map<string, Change>()
  /** Called when something changed of which nobody knows whose change it is. */
  onUnsigned: () => void = () => {}
  readonly #provider: WebsocketProvider
  readonly #listeners = new Set<() => void>()
  readonly #observed = new Set<string>()
  /** Changes without an author, oldest first. */
  #unsigned: number[] = []
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
  person(client: number): Person | null {
    const user = this.#provider.awareness.getStates().get(client)?.user as { name?: unknown, color?: unknown } | undefined
    if (typeof user?.name !== 'string') return null
    return { name: user.name.slice(0, 64), color: typeof user.color === 'string' && /^#[0-9a-f]{6}$/i.test(user.color) ? user.color : UNKNOWN_COLOR }
  }

  /** Whether this inspector is among the members. */
  get isMember(): boolean {
    return this.#provider.synced
  }

  /** Whether some change waits for [WatchedDocument.sign]. */
  get isUnsigned(): boolean {
    return this.#unsigned.length > 0
  }

  /** Says whose the oldest changes are that nobody had signed, in the order in which they were made. */
  sign(authors: readonly Person[]): void {
    for (let n = 0; n < authors.length && this.isUnsigned; n++) {
      const at = this.#unsigned.shift()
      // What is left belongs to the last one: several deletions may have come as one.
      const [first, ...more] = this.isUnsigned ? [authors[n]] : authors.slice(n)
      const names = new Set([first, ...more].map(one => one?.name))
      const by = { name: [...names].join(', '), color: first?.color ?? UNKNOWN_COLOR }
      for (const [path, change] of this.changes) if (change.at === at && change.by === null) this.changes.set(path, { ...change, by })
    }
    this.#tell()
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
    const name = known.length > 0 ? known.map(({ name }) => name).join(', ') : `client ${authors.slice(0, 3).join(', ')}`
    // In a time of its own, by which it is found again.
    const at = Math.max(Date.now(), (this.#unsigned.at(-1) ?? 0) + 1)
    const by = authors.length === 0 ? null : { name, color: known[0]?.color ?? UNKNOWN_COLOR }
    for (const [name] of this.roots) this.#observe(name)
    // The first state is nobody's change.
    if (this.#provider.synced) {
      let isShown = false
      for (const [type, keys] of transaction.changed) {
        for (const [path, removed] of placesOf(type as Y.AbstractType<unknown>, keys, transaction)) {
          this.changes.set(path, { at, by, removed })
          isShown = true
        }
      }
      if (isShown && by === null) {
        this.#unsigned.push(at)
        this.onUnsigned()
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
    this.#unsigned = this.#unsigned.filter(at => at > now - SHOWN)
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

/** Where a change of `keys` in `type` is to be seen, and what was removed there. What is gone is seen where it was. */
function placesOf(type: Y.AbstractType<unknown>, keys: ReadonlySet<string | null>, transaction: Y.Transaction): readonly (readonly [path: string, removed: string])[] {
  const path = pathOf(type)
  if (path === null) return []
  const gone: string[] = []
  const places = new Map<string, string>()
  for (const key of keys) {
    if (key === null) gone.push(removedFrom(type, transaction))
    else if (type._map.get(key)?.deleted !== false) gone.push(key)
    else places.set(`${path}/${type instanceof Y.XmlElement ? '@' : ''}${key}`, '')
  }
  if (gone.length > 0) places.set(path, shortened(gone.filter(one => one !== '').join(', ')))
  return [...places]
}

/** What a transaction removed from a list or a text, in words. */
function removedFrom(type: Y.AbstractType<unknown>, transaction: Y.Transaction): string {
  let removed = ''
  for (let item = type._start; item !== null && removed.length <= REMOVED_MAX; item = item.right) {
    if (!item.deleted || !item.countable || !Y.isDeleted(transaction.deleteSet, item.id)) continue
    const { content } = item
    if (content instanceof Y.ContentString) removed += content.str
    else if (content instanceof Y.ContentType) removed += content.type instanceof Y.XmlElement ? `<${content.type.nodeName}>` : content.type instanceof Y.XmlText ? content.type.toString() : '…'
    else removed += JSON.stringify(content.getContent()).slice(1, -1)
  }
  return removed
}

function shortened(text: string): string {
  return text.length > REMOVED_MAX ? `${text.slice(0, REMOVED_MAX)}…` : text
}

/** The keys and indices that lead to a type; `null` when it is gone, which its parent shows. */
function pathOf(type: Y.AbstractType<unknown>): string | null {
  const parts: string[] = []
  for (let at = type; ;) {
    const item = at._item
    if (item === null) {
      const root = [...at.doc?.share ?? []].find(([, one]) => one === at)?.[0]
      return root === undefined ? null : [root, ...parts.reverse()].join('/')
    }
    if (item.deleted) return null
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
