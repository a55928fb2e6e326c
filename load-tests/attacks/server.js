// One process of ydash over a store of its own, and what /proc says of it.

import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** `getconf CLK_TCK` on Linux, always. */
const TICKS_PER_SECOND = 100
const SAMPLED_EVERY = 250
const STARTS_WITHIN = 20_000

export class Server {
  samples = []
  #child = null
  #timer

  /** `files`: how many descriptors it may have. */
  static async start (binary, { flags = [], files } = {}) {
    const server = new Server()
    Object.assign(server, { binary, flags, files, folder: mkdtempSync(join(tmpdir(), 'ydash-attacks-')) })
    server.port = await freePort()
    await server.spawn()
    return server
  }

  async spawn ({ within = STARTS_WITHIN } = {}) {
    const command = [this.binary, '--listen', `127.0.0.1:${this.port}`, '--store', `file:${join(this.folder, 'store')}`, ...this.flags]
    const limit = this.files ? `ulimit -n ${this.files}; ` : 'ulimit -n $(ulimit -Hn); '
    this.#child = spawn('bash', ['-c', `${limit}umask 022; exec "$@"`, 'bash', ...command], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.pid = this.#child.pid
    this.output = ''
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream.on('data', data => { this.output = (this.output + data).slice(-5_000) })
    const deadline = Date.now() + within
    for (;;) {
      if (this.hasEnded) throw new Error(`${this.binary} ended at once:\n${this.output}`)
      if (await fetch(`http://127.0.0.1:${this.port}/healthz`).then(answer => answer.ok, () => false)) break
      if (Date.now() > deadline) throw new Error(`${this.binary} does not answer:\n${this.output}`)
      await new Promise(resolve => setTimeout(resolve, 50))
    }
    this.#timer = setInterval(() => this.#sample(), SAMPLED_EVERY)
    this.#sample()
  }

  get hasEnded () {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  async kill () {
    clearInterval(this.#timer)
    const gone = new Promise(resolve => this.#child.once('exit', resolve))
    if (this.hasEnded) return
    this.#child.kill('SIGKILL')
    await gone
  }

  remove () {
    rmSync(this.folder, { recursive: true, force: true })
  }

  #sample () {
    try {
      const stat = readFileSync(`/proc/${this.pid}/stat`, 'latin1')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      const status = readFileSync(`/proc/${this.pid}/status`, 'latin1')
      this.samples.push({
        at: performance.now(),
        cpu: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
        memory: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024,
        files: readdirSync(`/proc/${this.pid}/fd`).length
      })
    } catch {
      // It has ended.
    }
  }

  /** Figures between two moments of `performance.now()`. Cores: on average, and in the worst second. */
  between (from, to) {
    const samples = this.samples.filter(({ at }) => at >= from && at <= to)
    if (samples.length < 2) return { cores: 0, coresMax: 0, memoryMax: 0, filesMax: 0 }
    const cores = (a, b) => (b.cpu - a.cpu) / ((b.at - a.at) / 1000)
    let coresMax = 0
    for (let n = 0, then = 0; n < samples.length; n++) {
      while (samples[n].at - samples[then].at > 1_000 + SAMPLED_EVERY) then++
      if (samples[n].at - samples[then].at >= 1_000 - SAMPLED_EVERY / 2) coresMax = Math.max(coresMax, cores(samples[then], samples[n]))
    }
    return {
      cores: cores(samples[0], samples.at(-1)),
      coresMax,
      memoryMax: Math.max(...samples.map(({ memory }) => memory)),
      filesMax: Math.max(...samples.map(({ files }) => files))
    }
  }

  get last () {
    return this.samples.at(-1)
  }

  /** Bytes of the store, in MiB. */
  disk () {
    const below = path => {
      try {
        const stat = statSync(path)
        return stat.isDirectory() ? readdirSync(path).reduce((sum, name) => sum + below(join(path, name)), 0) : stat.blocks * 512
      } catch {
        return 0 // removed meanwhile
      }
    }
    return below(this.folder) / (1 << 20)
  }
}

function freePort () {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.on('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address()
      probe.close(() => resolve(port))
    })
  })
}
