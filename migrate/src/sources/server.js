// A running server, asked as a client would: `ws://host:1234` in the y-websocket dialect, `hocuspocus+ws://host:1234` in the other.
//
// Servers do not list their documents over the wire, so their names come from a file, one per line.

import { readFile } from 'node:fs/promises'
import { connect, namesAt } from '../wire.js'

export { namesAt }

/** Yields every document that the names' file lists. */
export async function * documents (url, { names, ...access }) {
  if (!names) throw new Error('a server does not list its documents: name them with --names FILE, one per line')
  for (const name of (await readFile(names, 'utf8')).split(/\r?\n/).filter(line => line !== '')) {
    yield { name, read: async () => [await pull(url, name, access)] }
  }
}

async function pull (url, name, access) {
  const wire = await connect(url, name, access)
  try {
    return await wire.pull()
  } finally {
    wire.close()
  }
}
