// The database of Hocuspocus' SQLite extension: table documents (name, data), data being one Yjs update v1.
//
// Read with the sqlite3 command, which every system has or can get; so no database has to be compiled for this package.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access } from 'node:fs/promises'
import { createInterface } from 'node:readline'

export const names = 'short'

/** Yields every document as `{ name, updates }`. The server may be running. */
export async function * documents (file) {
  await access(file).catch(() => { throw new Error(`there is no ${file}`) })
  const query = "select json_object('name', name, 'data', hex(data)) from documents order by name;"
  const sqlite = spawn('sqlite3', ['-readonly', '-batch', '-noheader', '-cmd', '.timeout 5000', file, query], { stdio: ['ignore', 'pipe', 'pipe'] })
  let failure = ''
  sqlite.stderr.on('data', chunk => { failure += chunk })
  const ended = once(sqlite, 'close').catch(error => {
    throw new Error(error.code === 'ENOENT' ? 'the command sqlite3 is needed: apt-get install sqlite3' : error.message)
  })
  ended.catch(() => {}) // awaited below, and must not end the process before
  try {
    for await (const line of createInterface({ input: sqlite.stdout, crlfDelay: Infinity })) {
      const { name, data } = JSON.parse(line)
      yield { name, updates: [Buffer.from(data ?? '', 'hex')] }
    }
    const [status] = await ended
    if (status !== 0) throw new Error(`sqlite3 cannot read ${file}: ${failure.trim()}`)
  } finally {
    sqlite.kill()
  }
}
