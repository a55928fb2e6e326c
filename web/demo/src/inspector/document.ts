import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { shorten } from '../shared/format.js'

/** Somebody as they show themselves. */
export interface Person {
  readonly name: string
  readonly color: string
}

/** Something in the document that just changed, and who did it. */
interface Change {
  readonly at: number
  /** `null` as long as nobody knows: a deletion does not say whose it is, but the log does, a moment later. */
  readonly by: Person | null
  /** What is not there any more. */
  readonly removed: string
}

/** Of whom nothing is known but that they were here. */
export const UNKNOWN_COLOR = '#64748b'

/** What stands in the document below a key or an index. */
type Child = readonly [key: string, value: unknown]

/** The first of what is in something, and how much there is. */
export interface Children {
  readonly shown: readonly Child[]
  readonly total: number
}

/** Letters of what was removed that are shown. */
const REMOVED_MAX = 60
/** How long a change is shown, in milliseconds. */
const SHOWN = 2_500
/** Children of one node that are shown, and that a change is looked for among. */
const CHILDREN_MAX = 100
/** Keys beyond which a map is shown in no order: sorting them with every change would take the page's time. */
const SORTED_MAX = 5_000
/** Changes of one transaction that light up. */
const CHANGES_MAX = 200
/** How often the page is drawn while the document changes: eyes need no more, milliseconds. */
const PERIOD = 100

/**
 * A dashboard's document as it changes: a session like any other, but one that shows nothing of itself.
 *
 * What anybody may write can be large: nothing here walks the document with every change.
 */
export class WatchedDocument {
  readonly doc = new Y.Doc()
  /** Called when something changed of which nobody knows whose change it is. */
  onUnsigned: () => void = () => {}
  readonly #provider: WebsocketProvider
  readonly #listeners = new Set<() => void>()
  readonly #changes = new Map<string, Change>()
  /** The last change somewhere below a path. */
  readonly #below = new Map<string, Change>()
  readonly #children = new WeakMap<object, Children | null>()
  #roots: readonly string[] = []
  #rootCount = 0
  /** When changes without an author were made, oldest first. */
  #unsigned: number[] = []
  #version = 0
  #drawing: ReturnType<typeof setTimeout> | undefined
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
  get roots(): Children {
    return { shown: this.#roots.map(name => [name, rootOf(this.doc, name)]), total: this.#rootCount }
  }

  /** What is in a value of the document; `null` for what can have nothing in it. */
  childrenOf(value: unknown): Children | null {
    if (typeof value !== 'object' || value === null) return null
    let known = this.#children.get(value)
    if (known === undefined) {
      known = childrenOf(value)
      this.#children.set(value, known)
    }
    return known
  }

  /** What changed at a path. */
  changeAt(path: string): Change | undefined {
    return this.#changes.get(path)
  }

  /** What changed last below a path. */
  changeBelow(path: string): Change | undefined {
    return this.#below.get(path)
  }

  /** Who announced a client id, with their colour. */
  person(client: number): Person | null {
    const user = this.#provider.awareness.getStates().get(client)?.user as { name?: unknown, color?: unknown } | null | undefined
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
      for (const changes of [this.#changes, this.#below]) {
        for (const [path, change] of changes) if (change.at === at && change.by === null) changes.set(path, { ...change, by })
      }
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
    clearTimeout(this.#drawing)
    clearTimeout(this.#fading)
    this.#provider.destroy()
    this.doc.destroy()
  }

  readonly #changed = (transaction: Y.Transaction): void => {
    if (this.#rootCount !== this.doc.share.size) {
      this.#rootCount = this.doc.share.size
      this.#roots = firstOf([...this.doc.share.keys()])
    }
    for (const type of transaction.changed.keys()) this.#children.delete(type)
    // The first state is nobody's change.
    if (this.#provider.synced) this.#highlight(transaction)
    this.#fade()
    this.#tell()
  }

  #highlight(transaction: Y.Transaction): void {
    const { afterState, beforeState, changed } = transaction
    const authors = [...afterState].filter(([client, clock]) => clock > (beforeState.get(client) ?? 0)).map(([client]) => client)
    const known = authors.slice(0, 3).map(client => this.person(client)).filter(person => person !== null)
    const name = known.length > 0 ? known.map(({ name }) => name).join(', ') : `client ${authors.slice(0, 3).join(', ')}`
    const by = authors.length === 0 ? null : { name, color: known[0]?.color ?? UNKNOWN_COLOR }
    // A time of its own, by which it is found again.
    const at = Math.max(performance.now(), (this.#unsigned.at(-1) ?? 0) + 1)
    const removed = removedIn(transaction)
    let left = CHANGES_MAX
    for (const [type, keys] of changed) {
      if (left-- <= 0) break
      const path = pathOf(type as Y.AbstractType<unknown>)
      if (path === null) continue
      // What is gone is seen where it was.
      const gone: string[] = []
      for (const key of keys) {
        if (key === null) gone.push(removed.get(type) ?? '')
        else if (type._map.get(key)?.deleted !== false) gone.push(key)
        else this.#mark([...path, type instanceof Y.XmlElement ? `@${key}` : key], { at, by, removed: '' })
        if (left-- <= 0) break
      }
      if (gone.length > 0) this.#mark(path, { at, by, removed: shorten(gone.filter(one => one !== '').join(', '), REMOVED_MAX) })
    }
    if (by === null && left < CHANGES_MAX) {
      this.#unsigned.push(at)
      this.onUnsigned()
    }
  }

  #mark(path: readonly string[], change: Change): void {
    this.#changes.set(path.join('/'), change)
    for (let depth = path.length - 1; depth > 0; depth--) this.#below.set(path.slice(0, depth).join('/'), change)
  }

  /** Forgets what has been shown for long enough, then and there. */
  readonly #fade = (): void => {
    clearTimeout(this.#fading)
    const now = performance.now()
    this.#unsigned = this.#unsigned.filter(at => at > now - SHOWN)
    let next = Infinity
    let hasFaded = false
    for (const changes of [this.#changes, this.#below]) {
      for (const [path, { at }] of changes) {
        if (at <= now - SHOWN) hasFaded = changes.delete(path)
        else next = Math.min(next, at)
      }
    }
    if (hasFaded) this.#tell()
    if (next < Infinity) this.#fading = setTimeout(this.#fade, next + SHOWN - now)
  }

  readonly #tell = (): void => {
    this.#drawing ??= setTimeout(() => {
      this.#drawing = undefined
      this.#version++
      for (const listener of this.#listeners) listener()
    }, PERIOD)
  }
}

/** What a transaction removed from lists and texts, in words, by where it was. */
function removedIn(transaction: Y.Transaction): ReadonlyMap<unknown, string> {
  const removed = new Map<unknown, string>()
  Y.iterateDeletedStructs(transaction, transaction.deleteSet, item => {
    if (!(item instanceof Y.Item) || item.parentSub !== null || !item.countable) return
    const before = removed.get(item.parent) ?? ''
    if (before.length <= REMOVED_MAX) removed.set(item.parent, before + wordsOf(item.content).slice(0, REMOVED_MAX))
  })
  return removed
}

function wordsOf(content: Y.Item['content']): string {
  if (content instanceof Y.ContentString) return content.str
  if (content instanceof Y.ContentType) return content.type instanceof Y.XmlElement ? `<${content.type.nodeName}>` : '…'
  return content.getContent().slice(0, REMOVED_MAX).map((value: unknown) => typeof value === 'object' ? '…' : String(value).slice(0, REMOVED_MAX)).join(' ')
}

/** The beginning of a shared text, without its formats. */
export function textOf(text: Y.Text, max: number): string {
  let found = ''
  for (let item = text._start; item !== null && found.length <= max; item = item.right) {
    if (!item.deleted && item.content instanceof Y.ContentString) found += item.content.str.slice(0, max + 1)
  }
  return found
}

function childrenOf(value: object): Children | null {
  if (value instanceof Y.Map) return mapChildren(value)
  if (value instanceof Y.XmlElement) {
    const attributes = mapChildren(value as never)
    const children = listed(value.slice(0, CHILDREN_MAX), value.length)
    return { shown: [...attributes.shown.map(([key, inner]): Child => [`@${key}`, inner]), ...children.shown].slice(0, CHILDREN_MAX), total: attributes.total + children.total }
  }
  if (value instanceof Y.XmlFragment || value instanceof Y.Array) return listed(value.slice(0, CHILDREN_MAX), value.length)
  if (Array.isArray(value)) return listed(value.slice(0, CHILDREN_MAX), value.length)
  if (value instanceof Y.AbstractType || value instanceof Uint8Array || value instanceof Y.Doc) return null
  const keys = Object.keys(value)
  return { shown: keys.slice(0, CHILDREN_MAX).map(key => [key, (value as Record<string, unknown>)[key]]), total: keys.length }
}

function mapChildren(map: Y.Map<unknown>): Children {
  const keys: string[] = []
  for (const [key, item] of map._map) if (!item.deleted) keys.push(key)
  return { shown: firstOf(keys).map(key => [key, map._map.get(key)?.content.getContent().at(-1)]), total: keys.length }
}

/** The keys that are shown. */
function firstOf(keys: string[]): string[] {
  return (keys.length > SORTED_MAX ? keys : keys.sort()).slice(0, CHILDREN_MAX)
}

function listed(first: readonly unknown[], total: number): Children {
  return { shown: first.map((child, n) => [String(n), child]), total }
}

/** The keys and indices that lead to a type; `null` when it is not among what is shown. */
function pathOf(type: Y.AbstractType<unknown>): string[] | null {
  const parts: string[] = []
  for (let at = type; ;) {
    const item = at._item
    if (item === null) {
      const root = [...at.doc?.share ?? []].find(([, one]) => one === at)?.[0]
      return root === undefined ? null : [root, ...parts.reverse()]
    }
    if (item.deleted) return null
    if (item.parentSub !== null) {
      parts.push(item.parentSub)
    } else {
      let [index, steps] = [0, 0]
      for (let left = item.left; left !== null; left = left.left) {
        if (!left.deleted && left.countable) index += left.length
        if (index > CHILDREN_MAX || ++steps > SORTED_MAX) return null
      }
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
