// Old servers and their clients, as they are published; and the tool under test, as its users run it.

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import WebSocket from 'ws'
import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'
import { Server } from '../../tests/interop/lib/server.js'
import { eventually, sleep } from '../../tests/interop/lib/wait.js'
import { print } from '../src/content.js'

export { eventually, print, sleep }

// Every provider of Node registers an `exit` listener.
process.setMaxListeners(0)

const path = relative => fileURLToPath(new URL(relative, import.meta.url))
const TOOL = path('../bin/ydash-migrate.js')
const BINARY = process.env.YDASH_BIN ?? path('../../target/release/ydash')

/** A ydash that the end of test `t` stops. */
export async function startYdash (t, options) {
  const ydash = await Server.start(options)
  t.after(() => ydash.stop())
  return ydash
}

/** What `ydash export --yjs` writes about a store that no server has open. */
export const exportLines = store => execFileSync(BINARY, ['export', '--yjs', '-', '--store', store], { stdio: ['ignore', 'pipe', 'ignore'] })

/** What the published servers are started with. */
export const oldServers = {
  '@y/websocket-server': '../node_modules/@y/websocket-server/src/server.js',
  'y-websocket 2.1': '../node_modules/y-websocket-2.1/bin/server.cjs',
  hocuspocus: './hocuspocus-server.js'
}

/** An old server in a process of its own, which the end of test `t` stops. */
export async function startOld (t, which, { environment = {}, port } = {}) {
  port ??= await freePort()
  let output = ''
  const child = spawn(process.execPath, [path(oldServers[which])], {
    env: { ...process.env, HOST: '127.0.0.1', PORT: port, ...environment }, stdio: ['ignore', 'pipe', 'pipe']
  })
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => { output += chunk })
  const gone = once(child, 'exit')
  const old = {
    port,
    ws: `ws://127.0.0.1:${port}`,
    stop: async (signal = 'SIGTERM') => { child.kill(signal); await gone }
  }
  t.after(() => old.stop('SIGKILL'))
  await eventually(() => {
    if (child.exitCode !== null) throw new Error(output)
    return output.includes('running at')
  }, { within: 20_000, what: `${which} listens` })
  return old
}

/** A stock y-websocket client of `room`. */
export function join13 (t, base, room, { doc = new Y.Doc(), ...options } = {}) {
  const provider = new WebsocketProvider(base, room, doc, { WebSocketPolyfill: WebSocket, disableBc: true, ...options })
  t.after(() => {
    provider.destroy()
    doc.destroy() // ends the timer of its awareness
  })
  return { doc, provider, synced: () => eventually(() => provider.synced, { within: 15_000, what: `${room} synced` }) }
}

/** What a stock client that opens `room` finds there. */
export async function readAs13 (t, base, room, isComplete = () => true) {
  const client = join13(t, base, room)
  await client.synced()
  await eventually(() => isComplete(client.doc), { what: `${room} is complete` })
  client.provider.destroy()
  return client.doc
}

/** Writes what dashboards are made of, by two hands: nested maps, texts, lists, bytes, and deletions. */
export function fill (doc, seed) {
  const other = new Y.Doc()
  const widgets = doc.getMap('widgets')
  for (const id of ['sales', 'costs', 'gone']) {
    const widget = new Y.Map()
    widget.set('title', new Y.Text(`${id} of ${seed}`))
    widget.set('layout', { x: 1, y: 2.5, big: 2 ** 40 })
    widgets.set(id, widget)
  }
  widgets.delete('gone')
  doc.getText('notes').insert(0, `Notes of ${seed}: 😀 ünï`)
  doc.getText('notes').format(0, 5, { bold: true })
  doc.getText('notes').delete(6, 2)
  doc.getArray('order').insert(0, ['sales', null, true, { deep: [1, 'two'] }, Uint8Array.of(1, 2, 3)])
  doc.getXmlFragment('page').insert(0, [new Y.XmlElement('p')])
  Y.applyUpdate(other, Y.encodeStateAsUpdate(doc))
  other.getMap('widgets').get('sales').set('title', new Y.Text('by another hand'))
  other.getArray('order').delete(1, 1)
  Y.applyUpdate(doc, Y.encodeStateAsUpdate(other))
}

/** Everything in `doc`, for comparing. */
export const shows = doc => print(Y.encodeStateAsUpdate(doc))

/** Runs the tool. `outcomes` counts its lines by their first word. */
export async function migrate (...args) {
  const { stdin, signal, environment } = typeof args.at(-1) === 'object' ? args.pop() : {}
  const child = spawn(process.execPath, [TOOL, ...args], { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...environment }, signal })
  let [output, errors] = ['', '']
  child.stdout.on('data', chunk => { output += chunk })
  child.stderr.on('data', chunk => { errors += chunk })
  child.stdin.on('error', () => {}) // it may end before it has read
  child.stdin.end(stdin)
  const [status] = await once(child, 'close')
  return { status, output, errors, outcomes: count(output) }
}

function count (output) {
  const outcomes = {}
  for (const [, word] of output.matchAll(/^(moved|there|empty|missing|failed|read) +\S/gm)) outcomes[word] = (outcomes[word] ?? 0) + 1
  return outcomes
}

/** A directory that the end of test `t` removes. */
export async function temporary (t) {
  const directory = await mkdtemp(join(tmpdir(), 'ydash-migrate-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return directory
}

export async function namesFile (t, names) {
  const file = join(await temporary(t), 'names')
  await writeFile(file, names.join('\n'))
  return file
}

export function freePort () {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.on('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address()
      probe.close(() => resolve(port))
    })
  })
}
