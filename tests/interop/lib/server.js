// The server under test: a process of our own, or the one that YDASH_URL names.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { eventually } from './wait.js'

export const BINARY = process.env.YDASH_BIN ?? fileURLToPath(new URL('../../../target/release/ydash', import.meta.url))
/** `examples/controlled_server.rs`; `cargo test` builds it, too. */
const CONTROLLED = process.env.YDASH_CONTROLLED_BIN ?? ['release', 'debug']
  .map(profile => fileURLToPath(new URL(`../../../target/${profile}/examples/controlled_server`, import.meta.url)))
  .find(existsSync)
const EXTERNAL = process.env.YDASH_URL?.replace(/\/+$/, '')

/** Why a test that must start, stop or configure the server cannot run; `false` when it can. */
export const needsOwnServer = EXTERNAL ? 'YDASH_URL names a server that is not ours to restart' : false

/** A running server. `ws` is the base that clients append their room to, `http` the origin of the REST interface. */
export class Server {
  #process = null
  #output = ''
  #port
  #args
  #binary = BINARY

  /** Starts a process with an empty memory store, unless `store` says otherwise. */
  static async start ({ store = 'memory:', args = [], port } = {}) {
    const server = new Server()
    server.#args = ['--store', store, ...args]
    server.#port = port ?? await freePort()
    await server.restart()
    return server
  }

  /** A process that asks for tokens, and whose store goes down and up at a word. */
  static async controlled () {
    if (!CONTROLLED) throw new Error('cargo build --example controlled_server')
    const server = new Server()
    server.#binary = CONTROLLED
    server.#args = []
    server.#port = await freePort()
    await server.restart()
    return server
  }

  /** Tells a controlled server what to do. */
  say (line) {
    this.#process.stdin.write(`${line}\n`)
  }

  /** The server for tests that only talk to it: the external one if there is one. */
  static async shared () {
    if (!EXTERNAL) return Server.start()
    const server = new Server()
    server.#port = null
    return server
  }

  get origin () {
    return this.#port === null ? EXTERNAL : `ws://127.0.0.1:${this.#port}`
  }

  get ws () {
    return `${this.origin}/ws/default`
  }

  get http () {
    return this.origin.replace(/^ws/, 'http')
  }

  /** Starts the process again on the same port, after `stop`. */
  async restart () {
    const child = spawn(this.#binary, ['--listen', `127.0.0.1:${this.#port}`, ...this.#args], {
      stdio: [this.#binary === BINARY ? 'ignore' : 'pipe', 'pipe', 'pipe']
    })
    let exit = null
    child.on('error', error => { exit = error.message })
    child.on('exit', (code, signal) => { exit ??= `exit ${code ?? signal}` })
    const keep = chunk => { this.#output = (this.#output + chunk).slice(-20_000) }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    this.#process = child
    process.once('exit', () => child.kill('SIGKILL'))
    await eventually(async () => {
      if (exit !== null) return true
      return (await fetch(`${this.http}/healthz`)).ok
    }, { within: 15_000, what: `${this.#binary} answers /healthz` })
    if (exit !== null) throw new Error(`${this.#binary} ended at once (${exit}):\n${this.#output}`)
  }

  /** Ends the process and waits until it is gone. Harmless when it is gone already, or not ours. */
  async stop (signal = 'SIGTERM') {
    const child = this.#process
    this.#process = null
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise(resolve => child.once('exit', resolve))
    child.kill(signal)
    const impatience = setTimeout(() => child.kill('SIGKILL'), 20_000)
    await gone
    clearTimeout(impatience)
  }

  get output () {
    return this.#output
  }
}

/** A store on disk that the test's end removes. */
export async function temporaryStore (t) {
  const directory = await mkdtemp(join(tmpdir(), 'ydash-interop-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return `file:${directory}`
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
