// What y-websocket-server keeps under YPERSISTENCE: a LevelDB directory with the layout of y-leveldb, 0.1 and 0.2.
//
// A key is a list of words, each a byte for its kind (0 text, 1 number) and then a lib0 string or four bytes, big endian:
//   ['v1', name, 'update', number]   one Yjs update v1; later numbers follow on earlier ones
//   ['v1_sv', name]                  a state vector, there once the updates were joined
//   ['v1', name, 'meta', key]        what an application put there
// Only the updates are read. A name is the path of the WebSocket's URL as the client sent it, so it may be percent-encoded.

import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import * as decoding from 'lib0/decoding'

export const names = 'path'

/** Yields every document as `{ name, updates }`, in the order of names. */
export async function * documents (directory) {
  await access(join(directory, 'CURRENT')).catch(() => {
    throw new Error(`${directory} is not a LevelDB directory`)
  })
  const level = new ClassicLevel(directory, { createIfMissing: false, keyEncoding: 'buffer', valueEncoding: 'buffer' })
  await level.open().catch(error => {
    const isLocked = error.cause?.code === 'LEVEL_LOCKED'
    throw new Error(isLocked ? `${directory} is in use: stop the old server first` : `cannot open ${directory}`, { cause: error })
  })
  try {
    let document = null
    for await (const [key, value] of level.iterator()) {
      const [version, name, kind] = words(key)
      if (version !== 'v1' || kind !== 'update') continue
      // Keys of one name stand together.
      if (document?.name !== name) {
        if (document) yield document
        document = { name, updates: [] }
      }
      document.updates.push(value)
    }
    if (document) yield document
  } finally {
    await level.close()
  }
}

function words (key) {
  const decoder = decoding.createDecoder(key)
  const words = []
  while (decoding.hasContent(decoder)) {
    const kind = decoding.readUint8(decoder)
    if (kind === 0) words.push(decoding.readVarString(decoder))
    else if (kind === 1) words.push(decoding.readUint32BigEndian(decoder))
    else return []
  }
  return words
}
