// Lines of JSON, from a file or from `-`: what any database can print, and what `ydash export --yjs` writes.
//
//   {"name": "sales", "update": "AQHu…"}              named as a client of the old server names it
//   {"dashboard": "acme/sales", "update": "AQHu…"}    named as in ydash
//
// `update` is a Yjs update v1 in base64, or in hex as `hex`. A store that keeps single edits prints one line for each; those of
// one document have to follow on each other, for what builds on edits that are not there is not taken.

import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'

export const names = 'short'

/** Yields every document as `{ name, updates }` or `{ dashboard, updates }`; a line that cannot be read as `{ name, failure }`. */
export async function * documents (file) {
  let document = null
  for await (const next of lines(file)) {
    const isMore = document?.updates && next.updates && document.name === next.name && document.dashboard === next.dashboard
    if (isMore) {
      document.updates.push(...next.updates)
    } else {
      if (document) yield document
      document = next
    }
  }
  if (document) yield document
}

async function * lines (file) {
  const input = file === '-' ? process.stdin : createReadStream(file)
  let number = 0
  for await (const line of createInterface({ input, crlfDelay: Infinity })) {
    number++
    if (line.trim() === '') continue
    try {
      yield read(JSON.parse(line))
    } catch (error) {
      yield { name: `line ${number}`, failure: error.message }
    }
  }
}

function read ({ name, dashboard, update, hex }) {
  const named = typeof dashboard === 'string' ? { dashboard } : { name }
  if (typeof (name ?? dashboard) !== 'string') throw new Error('neither name nor dashboard')
  if (typeof update === 'string') return { ...named, updates: [decode(update, 'base64')] }
  // Postgres begins what it prints of bytea with \x.
  if (typeof hex === 'string') return { ...named, updates: [decode(hex.replace(/^\\x/, ''), 'hex')] }
  throw new Error('neither update nor hex')
}

/** Node's decoder skips what it does not understand; an update that lost something is worse than none. */
function decode (text, encoding) {
  const dense = text.replace(/\s/g, '')
  const bytes = Buffer.from(dense, encoding)
  const isWhole = encoding === 'hex' ? bytes.length * 2 === dense.length : bytes.toString('base64').replace(/=+$/, '') === dense.replace(/=+$/, '')
  if (!isWhole) throw new Error(`not ${encoding}`)
  return bytes
}
