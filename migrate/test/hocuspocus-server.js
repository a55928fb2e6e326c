// A Hocuspocus server whose store is what its two ready-made extensions would make of it, without their compiled parts:
// the table of its SQLite extension in the file SQLITE, and the objects of its S3 extension below the directory OBJECTS.

import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Database } from '@hocuspocus/extension-database'
import { Server } from '@hocuspocus/server'

const { SQLITE, OBJECTS, HOST, PORT } = process.env

const sqlite = sql => execFileSync('sqlite3', ['-cmd', '.timeout 5000', SQLITE], { input: sql, encoding: 'utf8' }).trim()
const quote = text => `'${text.replaceAll("'", "''")}'`
const object = name => join(OBJECTS, `${name}.bin`)

const inTable = {
  fetch: async ({ documentName }) => {
    const hex = sqlite(`select hex(data) from documents where name = ${quote(documentName)};`)
    return hex === '' ? null : Buffer.from(hex, 'hex')
  },
  store: async ({ documentName, state }) => {
    sqlite(`insert into documents (name, data) values (${quote(documentName)}, x'${Buffer.from(state).toString('hex')}')
      on conflict (name) do update set data = excluded.data;`)
  }
}

const inObjects = {
  fetch: async ({ documentName }) => {
    try {
      return readFileSync(object(documentName))
    } catch {
      return null
    }
  },
  store: async ({ documentName, state }) => {
    mkdirSync(dirname(object(documentName)), { recursive: true })
    writeFileSync(object(documentName), state)
  }
}

if (SQLITE) sqlite('create table if not exists documents (name varchar(255) not null, data blob not null, unique (name));')

const server = new Server({
  address: HOST,
  port: Number(PORT),
  quiet: true,
  debounce: 100,
  extensions: [new Database(SQLITE ? inTable : inObjects)],
  onAuthenticate: async ({ token }) => { if (token !== 'secret') throw new Error('who are you?') }
})
await server.listen()
console.log('running at', PORT)
