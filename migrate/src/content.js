// What a document is made of, and whether one holds all of another.

import * as Y from 'yjs'

/**
 * Joins updates to one. `pending` is how many bytes of it wait for updates that are not there: the old server never showed
 * them to anybody, and nobody can, so they are left out.
 */
export function join (updates) {
  // Without collecting garbage, or the copy would have forgotten more than the original.
  const doc = new Y.Doc({ gc: false })
  for (const update of updates) Y.applyUpdate(doc, update)
  const { pendingStructs, pendingDs } = doc.store
  const pending = (pendingStructs?.update.length ?? 0) + (pendingDs?.length ?? 0)
  doc.store.pendingStructs = doc.store.pendingDs = null
  const update = Y.encodeStateAsUpdate(doc)
  const content = { update, pending, isEmpty: doc.store.clients.size === 0, doc }
  return content
}

/** Whether `state` has every struct and every deletion of `update`. */
export function contains (state, update) {
  const doc = new Y.Doc({ gc: false })
  Y.applyUpdate(doc, state)
  return Y.snapshotContainsUpdate(Y.snapshot(doc), update)
}

/** What of `update` is missing in `state`. */
export function missing (state, update) {
  return Y.diffUpdate(update, Y.encodeStateVectorFromUpdate(state))
}

/** What a reader of the document sees, whatever the types of its roots: two that print the same show the same. */
export function print (update) {
  const doc = new Y.Doc()
  Y.applyUpdate(doc, update)
  return JSON.stringify([...doc.share.keys()].sort().map(name => [name, printType(doc.share.get(name))]))
}

function printType (type) {
  const keys = [...type._map.entries()].filter(([, item]) => !item.deleted).sort(([a], [b]) => (a < b ? -1 : 1))
  const list = []
  for (let item = type._start; item !== null; item = item.right) {
    if (!item.deleted) list.push(...printContent(item.content))
  }
  return { keys: keys.map(([key, item]) => [key, printContent(item.content).at(-1)]), list: joinTexts(list) }
}

function printContent (content) {
  if (content instanceof Y.ContentType) return [{ type: content.type.constructor.name, name: content.type.nodeName, ...printType(content.type) }]
  if (content instanceof Y.ContentString) return [{ text: content.str }]
  if (content instanceof Y.ContentFormat) return [{ format: content.key, value: content.value }]
  if (content instanceof Y.ContentEmbed) return [{ embed: content.embed }]
  if (content instanceof Y.ContentBinary) return [{ bytes: Buffer.from(content.content).toString('hex') }]
  if (content instanceof Y.ContentDoc) return [{ doc: content.doc.guid }]
  return content.getContent().map(value => ({ value: plain(value) }))
}

/** How a text is cut into items depends on the way it took. */
function joinTexts (list) {
  return list.reduce((joined, entry) => {
    const last = joined.at(-1)
    if (last?.text !== undefined && entry.text !== undefined) last.text += entry.text
    else joined.push(entry)
    return joined
  }, [])
}

/** What JSON would drop or refuse. */
function plain (value) {
  if (typeof value === 'bigint') return `${value}n`
  if (value === undefined || Number.isNaN(value) || Math.abs(value) === Infinity || Object.is(value, -0)) return { is: String(value) }
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString('hex') }
  if (Array.isArray(value)) return value.map(plain)
  if (value && typeof value === 'object') return Object.fromEntries(Object.keys(value).sort().map(key => [key, plain(value[key])]))
  return value
}
