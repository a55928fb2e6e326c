// The stock servers, for what ydash is compared with: their packages are those of load-tests/peers, not of these tests.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { freePort } from './server.js'
import { eventually } from './wait.js'

const at = path => fileURLToPath(new URL(`../../../load-tests/peers/${path}`, import.meta.url))

/** By dialect: what to run. */
const PEERS = {
  'y-websocket': { name: '@y/websocket-server', folder: 'y-websocket', script: 'node_modules/@y/websocket-server/src/server.js' },
  hocuspocus: { name: '@hocuspocus/server', folder: 'hocuspocus', script: 'server.js' }
}

/** Starts the stock server of `dialect`; `stop` ends it. */
export async function startPeer (dialect) {
  const { name, folder, script } = PEERS[dialect]
  if (!existsSync(at(`${folder}/node_modules`))) throw new Error(`${name} is not there: npm ci in load-tests/peers/${folder}`)
  const port = await freePort()
  const child = spawn(process.execPath, [at(`${folder}/${script}`)], {
    env: { ...process.env, HOST: '127.0.0.1', PORT: port },
    stdio: 'ignore'
  })
  process.once('exit', () => child.kill('SIGKILL'))
  await eventually(() => fetch(`http://127.0.0.1:${port}/`).then(() => true), { within: 15_000, what: `${name} answers` })
  return { name, address: `ws://127.0.0.1:${port}`, stop: () => child.kill('SIGKILL') }
}
