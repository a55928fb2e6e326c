import type { Box, Dashboard, Json, Table } from '@ydash/client'
import * as Y from 'yjs'

/** A widget as text: for the clipboard, and to bring back what somebody removed. */
export interface Copy {
  readonly id: string
  readonly type: string
  readonly title: string
  readonly options: Readonly<Record<string, Json>>
  readonly box?: Box | undefined
  /** What is in a note. */
  readonly content?: readonly Node[] | undefined
  /** The table that it shows. */
  readonly table?: Table | undefined
}

/** A piece of a note. */
type Node =
  | { readonly name: string, readonly attributes: Readonly<Record<string, unknown>>, readonly children: readonly Node[] }
  | { readonly delta: readonly { readonly insert: string, readonly attributes?: Readonly<Record<string, unknown>> }[] }

const DEPTH_MAX = 40

/** Widgets as they are now. */
export function copiesOf({ widgets, layout, tables, doc }: Dashboard, ids: readonly string[]): Copy[] {
  return ids.flatMap(id => {
    const widget = widgets.get(id)
    if (widget === undefined) return []
    const map = doc.getMap('widgets').get(id)
    const content = map instanceof Y.Map ? map.get('content') : undefined
    const table = typeof widget.options.table === 'string' ? tables.get(widget.options.table) : undefined
    return [{ ...widget, box: layout.get(id), table, content: content instanceof Y.XmlFragment ? nodesOf(content, null) : undefined }]
  })
}

/**
 * Puts copies on the board, and returns their ids: new ones, unless they are to come back as what they were.
 *
 * A table comes along where this dashboard does not have it.
 */
export function putCopies(dashboard: Dashboard, copies: readonly Copy[], boxOf: (copy: Copy, n: number) => Box | undefined, areSame: boolean): string[] {
  const { widgets, tables, doc } = dashboard
  return dashboard.edit(() => copies.map((copy, n) => {
    const { type, title, table } = copy
    if (table !== undefined && tables.get(table.id) === undefined) tables.add(table)
    const id = widgets.add({ type, title, options: copy.options, ...areSame && { id: copy.id } }, boxOf(copy, n))
    const map = doc.getMap('widgets').get(id)
    if (copy.content !== undefined && map instanceof Y.Map) {
      const fragment = new Y.XmlFragment()
      map.set('content', fragment)
      fragment.insert(0, copy.content.map(made))
    }
    return id
  }))
}

/** Copies from the clipboard, if that is what they are. */
export function readCopies(text: string): Copy[] | null {
  if (!text.startsWith('{"ydash":')) return null
  try {
    const { ydash } = JSON.parse(text) as { ydash: unknown }
    if (!Array.isArray(ydash)) return null
    return ydash.slice(0, 200).filter((one): one is Copy => {
      const { type, title, options } = one as Record<string, unknown>
      return typeof type === 'string' && typeof title === 'string' && typeof options === 'object' && options !== null && !Array.isArray(options)
    })
  } catch {
    return null
  }
}

export function writeCopies(copies: readonly Copy[]): string {
  return JSON.stringify({ ydash: copies })
}

/** A widget that a transaction has just removed: what it was is there until the transaction is over. */
export function removedCopy(doc: Y.Doc, id: string, removed: unknown, transaction: Y.Transaction): Copy | null {
  if (!(removed instanceof Y.Map)) return null
  const entries = entriesOf(removed, transaction)
  const options = entries.get('options')
  const content = entries.get('content')
  const box = doc.getMap('layout') as unknown as Internal
  const place = box._map.get(id)?.content.type
  const cells = place === undefined ? new Map<string, unknown>() : entriesOf(place, transaction)
  const [x, y, w, h] = ['x', 'y', 'w', 'h'].map(key => cells.get(key))
  return {
    id,
    type: String(entries.get('type') ?? ''),
    title: String(entries.get('title') ?? ''),
    options: (options instanceof Y.Map ? Object.fromEntries(entriesOf(options, transaction)) : typeof options === 'object' && options !== null ? options : {}) as Record<string, Json>,
    box: [x, y, w, h].every(cell => typeof cell === 'number') ? { x, y, w, h } as Box : undefined,
    content: content instanceof Y.XmlFragment ? nodesOf(content, transaction) : undefined
  }
}

/** What of Yjs' items is looked at. */
interface Item {
  readonly id: { readonly client: number, readonly clock: number }
  readonly deleted: boolean
  readonly right: Item | null
  readonly content: { readonly type?: Internal, readonly str?: string, readonly arr?: readonly unknown[], readonly key?: string, readonly value?: unknown }
}

interface Internal {
  readonly _map: ReadonlyMap<string, Item>
  readonly _start: Item | null
}

const isThere = (item: Item, transaction: Y.Transaction | null): boolean =>
  !item.deleted || transaction !== null && Y.isDeleted(transaction.deleteSet, item.id as Y.ID)

function entriesOf(map: object, transaction: Y.Transaction | null): Map<string, unknown> {
  const entries = new Map<string, unknown>()
  for (const [key, item] of (map as Internal)._map) {
    if (isThere(item, transaction)) entries.set(key, item.content.type ?? item.content.arr?.at(-1))
  }
  return entries
}

function nodesOf(type: object, transaction: Y.Transaction | null, depth = 0): Node[] {
  const nodes: Node[] = []
  for (let item = (type as Internal)._start; item !== null && depth < DEPTH_MAX; item = item.right) {
    const child = item.content.type as unknown
    if (!isThere(item, transaction)) continue
    if (child instanceof Y.XmlText) nodes.push({ delta: deltaOf(child, transaction) })
    else if (child instanceof Y.XmlElement) nodes.push({ name: child.nodeName, attributes: Object.fromEntries(entriesOf(child, transaction)), children: nodesOf(child, transaction, depth + 1) })
  }
  return nodes
}

function deltaOf(text: Y.XmlText, transaction: Y.Transaction | null): { insert: string, attributes?: Record<string, unknown> }[] {
  const delta: { insert: string, attributes?: Record<string, unknown> }[] = []
  let attributes: Record<string, unknown> = {}
  for (let item = (text as unknown as Internal)._start; item !== null; item = item.right) {
    if (!isThere(item, transaction)) continue
    const { str, key, value } = item.content
    if (key !== undefined) {
      attributes = { ...attributes }
      if (value === null) delete attributes[key]
      else attributes[key] = value
    } else if (str !== undefined) delta.push({ insert: str, ...Object.keys(attributes).length > 0 && { attributes } })
  }
  return delta
}

function made(node: Node): Y.XmlElement | Y.XmlText {
  if ('delta' in node) {
    const text = new Y.XmlText()
    text.applyDelta(node.delta as never)
    return text
  }
  const element = new Y.XmlElement(node.name)
  for (const [key, value] of Object.entries(node.attributes)) element.setAttribute(key, value as never)
  element.insert(0, node.children.map(made))
  return element
}
