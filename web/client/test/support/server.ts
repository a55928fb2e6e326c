import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { eventually } from './wait.js'

const BINARY = process.env.YDASH_BIN ?? fileURLToPath(new URL('../../../../target/release/ydash', import.meta.url))

/** A real server: the release binary, with a store on disk that survives its restarts. */
export class Server {
  readonly url: string
  readonly #port: number
  readonly #directory: string
  readonly #args: readonly string[]
  #process: ChildProcess | null = null

  private constructor(port: number, directory: string, args: readonly string[]) {
    this.#port = port
    this.#directory = directory
    this.#args = args
    this.url = `http://127.0.0.1:${port}`
  }

  static async start(...args: string[]): Promise<Server> {
    const server = new Server(await freePort(), await mkdtemp(join(tmpdir(), 'ydash-client-')), args)
    await server.restart()
    return server
  }

  async restart(): Promise<void> {
    const child = spawn(BINARY, ['--listen', `127.0.0.1:${this.#port}`, '--store', `file:${this.#directory}`, ...this.#args], { stdio: 'ignore' })
    this.#process = child
    process.once('exit', () => child.kill('SIGKILL'))
    let failure: Error | null = null
    child.once('error', error => { failure = error })
    await eventually(async () => {
      if (failure !== null) return true
      return (await fetch(`${this.url}/healthz`)).ok
    }, `${BINARY} answers`, 20_000)
    if (failure !== null) throw failure
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process
    this.#process = null
    if (child === null || child.exitCode !== null) return
    const gone = new Promise(resolve => child.once('exit', resolve))
    child.kill(signal)
    await gone
  }

  async end(): Promise<void> {
    await this.kill()
    await rm(this.#directory, { recursive: true, force: true })
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.on('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number }
      probe.close(() => { resolve(port) })
    })
  })
}
