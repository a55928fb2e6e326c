// Keeps a text area and a Y.Text the same, with the caret where its owner left it.

import * as Y from 'yjs'

/** Binds until the returned function is called. `afterChange` runs after either side changed. */
export function bindText (area, text, afterChange = () => {}) {
  const fromArea = () => {
    const edit = difference(text.toString(), area.value, area.selectionStart)
    text.doc.transact(() => {
      if (edit.removed > 0) text.delete(edit.at, edit.removed)
      if (edit.inserted !== '') text.insert(edit.at, edit.inserted)
    }, area)
    afterChange()
  }

  const fromText = (event, transaction) => {
    if (transaction.origin === area) return
    const { selectionStart, selectionEnd, selectionDirection, scrollTop } = area
    const start = shifted(selectionStart, event.delta)
    const end = shifted(selectionEnd, event.delta)
    area.value = text.toString()
    if (document.activeElement === area) area.setSelectionRange(start, end, selectionDirection)
    area.scrollTop = scrollTop
    afterChange()
  }

  area.value = text.toString()
  area.addEventListener('input', fromArea)
  text.observe(fromText)
  return () => {
    area.removeEventListener('input', fromArea)
    text.unobserve(fromText)
  }
}

/** The one edit between two strings that ends at the caret: in "aaa" it is the caret that tells which "a" was typed. */
function difference (before, after, caret) {
  const shortest = Math.min(before.length, after.length)
  let suffix = 0
  const suffixMax = Math.min(shortest, after.length - caret)
  while (suffix < suffixMax && before[before.length - 1 - suffix] === after[after.length - 1 - suffix]) suffix++
  let at = 0
  while (at < shortest - suffix && before[at] === after[at]) at++
  while (suffix < shortest - at && before[before.length - 1 - suffix] === after[after.length - 1 - suffix]) suffix++
  // Never between the halves of a surrogate pair: a lone half cannot travel.
  if (at > 0 && isHighSurrogate(before.charCodeAt(at - 1))) at--
  if (suffix > 0 && isLowSurrogate(before.charCodeAt(before.length - suffix))) suffix--
  return { at, removed: before.length - suffix - at, inserted: after.slice(at, after.length - suffix) }
}

const isHighSurrogate = unit => unit >= 0xD800 && unit < 0xDC00
const isLowSurrogate = unit => unit >= 0xDC00 && unit < 0xE000

/** Where an index is after somebody else's change. */
function shifted (index, delta) {
  let at = 0
  for (const { retain = 0, insert, delete: removed = 0 } of delta) {
    at += retain
    if (at > index) break
    if (insert !== undefined) {
      if (at < index) index += insert.length
      at += insert.length
    }
    index -= Math.min(removed, index - at)
  }
  return index
}

/** A caret as it travels: tied to the character beside it. */
export const toRelative = (text, index) => Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(text, index))

/** The index that a travelled caret has here, or null when it is not for this text or not a caret at all. */
export function fromRelative (text, json) {
  try {
    const position = Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(json), text.doc)
    return position !== null && position.type === text ? position.index : null
  } catch {
    return null
  }
}
