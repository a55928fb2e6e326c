// The store of y-sweet: a directory, or a copy of its S3 bucket, with `ID/data.ysweet` for each document.
//
// A file is a sorted map of byte strings as bincode 1 writes it (lengths are 8 bytes, little endian). Its keys are those of
// yrs-kvstore, of one document with a number (4 bytes, big endian):
//   00 01 number 00                   the state, as Yjs update v1
//   00 01 number 02 count(4) 00       an update that is not part of it yet
// The other keys are the name's number, a state vector, and metadata.

import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, sep } from 'node:path'

export const names = 'short'

const FILE = 'data.ysweet'

/** Yields every document as `{ name, updates }`, in the order of names. */
export async function * documents (directory) {
  const files = await readdir(directory, { recursive: true })
  for (const file of files.filter(file => file.endsWith(sep + FILE)).sort()) {
    const name = dirname(file).split(sep).join('/')
    yield { name, read: async () => updates(await readFile(join(directory, file))) }
  }
}

/** The updates in a `data.ysweet`. */
export function updates (bytes) {
  const reader = new Reader(bytes)
  const updates = []
  for (let entries = reader.length(); entries > 0; entries--) {
    const key = reader.bytes()
    const value = reader.bytes()
    const isState = key.length === 7 && key[6] === 0
    const isUpdate = key.length === 12 && key[6] === 2
    if (key[0] === 0 && key[1] === 1 && (isState || isUpdate)) updates.push(value)
  }
  if (reader.at !== bytes.length) throw new Error(`${bytes.length - reader.at} bytes behind the end`)
  return updates
}

class Reader {
  at = 0

  constructor (bytes) {
    this.source = bytes
  }

  length () {
    if (this.at + 8 > this.source.length) throw new Error('not a data.ysweet, or cut off')
    const length = Number(this.source.readBigUInt64LE(this.at))
    this.at += 8
    return length
  }

  bytes () {
    const end = this.length() + this.at
    if (end > this.source.length) throw new Error('not a data.ysweet, or cut off')
    const bytes = this.source.subarray(this.at, end)
    this.at = end
    return bytes
  }
}
