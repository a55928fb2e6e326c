// What items at one place cost a Yjs client: the figures of docs/internals/conflicts.md.
// node conflicts.js [NAME [COUNT ...]]
import * as encoding from 'lib0/encoding'
import * as Y from 'yjs'

const HAS_ORIGIN = 0x80
const HAS_RIGHT_ORIGIN = 0x40
const HAS_KEY = 0x20
const STRING = 4

const times = (count, one) => Array.from({ length: count }, (_, at) => one(at))

/** An update v1 of sections `[client, first clock, items]`; an item has `origin`, `right`, `key` and `text`, or the front of the root "r". */
function update (...sections) {
  const out = encoding.createEncoder()
  const id = ([client, clock]) => {
    encoding.writeVarUint(out, client)
    encoding.writeVarUint(out, clock)
  }
  encoding.writeVarUint(out, sections.length)
  for (const [client, clock, items] of sections) {
    encoding.writeVarUint(out, items.length)
    id([client, clock])
    for (const { origin, right, key, text = 'x' } of items) {
      const isPlaced = origin || right
      const flags = (origin ? HAS_ORIGIN : 0) | (right ? HAS_RIGHT_ORIGIN : 0) | (key && !isPlaced ? HAS_KEY : 0)
      encoding.writeUint8(out, STRING | flags)
      if (origin) id(origin)
      if (right) id(right)
      if (!isPlaced) {
        encoding.writeVarUint(out, 1)
        encoding.writeVarString(out, 'r')
        if (key) encoding.writeVarString(out, key)
      }
      encoding.writeVarString(out, text)
    }
  }
  encoding.writeVarUint(out, 0)
  return encoding.toUint8Array(out)
}

const row = (client, count) => [{}, ...times(count - 1, at => ({ origin: [client, at] }))]
const fronts = (client, count) => [client, 0, [{}, ...times(count - 1, at => ({ right: [client, at] }))]]
const key = 'k'

/** A document over a text, an array and a map that everybody has; each of `people` edits it without hearing of the others. */
function offline (people, edit) {
  const base = new Y.Doc()
  base.getText('t').insert(0, 'head tail')
  base.getArray('a').push([0])
  const state = Y.encodeStateAsUpdate(base)
  return [state, ...times(people, () => {
    const doc = new Y.Doc()
    Y.applyUpdate(doc, state)
    const updates = []
    doc.on('update', update => updates.push(update))
    edit(doc)
    return Y.mergeUpdates(updates)
  })]
}

const documents = {
  // Hostile, one frame each.
  rights: [n => [update([1, 0, [{ text: 'e'.repeat(n) }, ...times(n, at => ({ right: [1, at] }))]])], 1000, 4000],
  leaves: [n => [update([1, 0, row(1, n)], [2, 0, times(n, at => ({ origin: [1, n - 1 - at] }))])], 1000, 4000],
  values: [n => [update([1, 0, times(n, () => ({ key }))])], 4000, 16000],
  // Hostile, a frame for each item.
  clients: [n => times(n, at => update([at + 1, 0, [{}]])), 1000, 4000],
  // As honest clients write it: two put items at the front of a list, each without the other's; then a third, who has both, one more.
  fronts: [n => [update(fronts(10, n)), update(fronts(5, n))], 4000, 16000],
  'fronts-and-one': [n => [update(fronts(10, n)), update(fronts(5, n)), update([20, 0, [{ right: [5, n - 1] }]])], 4000, 16000],
  // By Yjs itself.
  typing: [n => offline(20, doc => times(n, at => doc.getText('t').insert(5 + at, 'x'))), 2000],
  mending: [n => offline(20, doc => {
    const text = doc.getText('t')
    for (let at = 0; at < n; at++) {
      text.insert(5 + at, 'x')
      if (at % 10 === 9) {
        text.delete(3 + at, 1)
        text.insert(3 + at, 'y')
      }
    }
  }), 2000],
  ends: [n => offline(5, doc => times(n, at => doc.getArray('a').push([new Y.Map([['x', at]])]))), 2000],
  unshifts: [n => offline(5, doc => times(n, at => doc.getArray('a').unshift([at]))), 500, 2000],
  sets: [n => offline(n, doc => times(100, at => doc.getMap('m').set(`k${at % 20}`, at))), 100, 1000]
}

function milliseconds (act) {
  const began = performance.now()
  act()
  return performance.now() - began
}

function measure (name, count) {
  const updates = documents[name][0](count)
  const doc = new Y.Doc()
  const each = updates.map(update => milliseconds(() => Y.applyUpdate(doc, update)))
  const state = Y.encodeStateAsUpdate(doc)
  const opened = milliseconds(() => Y.applyUpdate(new Y.Doc(), state))
  const live = each.reduce((sum, one) => sum + one, 0)
  const bytes = updates.reduce((sum, update) => sum + update.length, 0)
  const shown = [live, Math.max(...each), opened].map(time => `${time.toFixed(0)} ms`)
  console.log(`${name} ${count}: ${bytes} bytes in ${updates.length}; as they come ${shown[0]}, the worst ${shown[1]}; opened ${shown[2]}`)
}

const [name, ...counts] = process.argv.slice(2)
for (const one of name ? [name] : Object.keys(documents)) {
  const [, ...usual] = documents[one]
  for (const count of counts.length > 0 ? counts.map(Number) : usual) measure(one, count)
}
