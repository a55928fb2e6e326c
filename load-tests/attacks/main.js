// Plays attacks one at a time, or all at once, and prints the table of docs/SECURITY.md. Usage: ./run

import { fork } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { attacks, elsewhere } from './inputs/list.js'
import { Server } from './server.js'
import { soak } from './soak.js'
import { format } from './table.js'

const { values: options, positionals: [binary, ...names] } = parseArgs({
  allowPositionals: true,
  options: {
    before: { type: 'string' },
    into: { type: 'string' },
    record: { type: 'string' },
    seconds: { type: 'string', default: '12' },
    after: { type: 'string', default: '10' },
    soak: { type: 'string' }
  }
})
if (!binary) {
  console.error('usage: load-tests/attacks/run BINARY [NAME…] [--before OTHER] [--record FILE] [--into DOCUMENT] [--soak MINUTES] [--seconds N] [--after N]')
  process.exit(2)
}
const [seconds, after] = [Number(options.seconds), Number(options.after)]
const chosen = attacks.filter(({ name, number }) => names.length === 0 || names.includes(name) || names.includes(String(number)))

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
const SETUP_WITHIN = 60_000
const OVER_WITHIN = 40_000
/** Witnesses alone, so that there is something to compare with. */
const CALM = 2_000
/** The last of the time afterwards, in which everything has to be as it was. */
const SETTLED = 3_000

/** A process of this folder and what it says. */
class Helper {
  said = []
  lost = 0
  hasHarmed = false
  #waiting = []
  #ready

  constructor (script, argument) {
    this.process = fork(new URL(script, import.meta.url), [JSON.stringify(argument)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.process.on('message', message => {
      if (message.said) this.said.push(message.said)
      if (message.isHarm) this.hasHarmed = true
      if (message.lost) this.lost += message.lost
      for (const wait of [...this.#waiting]) wait(message)
    })
    this.#ready = new Promise(resolve => this.process.on('message', message => { if (message.ready) resolve(true) }))
  }

  /** Whether it is ready, or gets so within `within` ms. */
  ready (within) {
    return Promise.race([this.#ready, sleep(within).then(() => false)])
  }

  /** The next message with `key`, or `null` after `within` ms. */
  hears (key, within) {
    return new Promise(resolve => {
      const end = value => {
        clearTimeout(timer)
        this.#waiting = this.#waiting.filter(one => one !== wait)
        resolve(value)
      }
      const wait = message => { if (key in message) end(message) }
      const timer = setTimeout(end, within, null)
      this.#waiting.push(wait)
    })
  }

  tell (message) {
    if (this.process.connected) this.process.send(message)
  }

  asks (message, key, within) {
    const answer = this.hears(key, within)
    this.tell(message)
    return answer
  }

  kill () {
    this.process.kill('SIGKILL')
  }
}

async function play (binary, attack) {
  const server = await Server.start(binary, attack)
  const { port } = server
  const pairs = [{ room: 'else', dialect: 'y-websocket' }, { room: 'same', dialect: 'y-websocket' }]
  const witnesses = new Helper('witnesses.js', { port, pairs })
  const attacker = new Helper('attacker.js', { name: attack.name, port, seconds, room: 'same', folder: server.folder, from: '127.0.0.2' })
  try {
    await witnesses.ready(10_000)
    witnesses.tell({ begin: 'calm' })
    await sleep(CALM)
    witnesses.tell({ begin: 'setup' })
    await attacker.ready(SETUP_WITHIN)
    const before = server.last
    const disk = server.disk()
    witnesses.tell({ begin: 'attack' })
    const began = performance.now()
    await attacker.asks({ attack: true }, 'over', seconds * 1000 + OVER_WITHIN)
    const ended = performance.now()
    attacker.kill()
    witnesses.tell({ begin: 'after' })
    await sleep(after * 1000 - SETTLED)
    witnesses.tell({ begin: 'settled' })
    await sleep(SETTLED)
    const seen = await witnesses.asks({ report: 'attack' }, 'pairs', 5_000)
    const settled = await witnesses.asks({ report: 'settled' }, 'pairs', 5_000)
    const used = server.between(began, began + seconds * 1000)
    const since = server.between(began, performance.now())
    const last = server.last
    const { endings } = await witnesses.asks({ end: true }, 'endings', 30_000)
    const grown = server.disk() - disk
    const hasEnded = server.hasEnded
    // What was said to be saved is there after a crash.
    await server.kill()
    const looked = await server.spawn().then(
      () => witnesses.asks({ look: endings.filter(({ saved }) => saved > 0) }, 'looked', 20_000),
      () => null
    )
    return {
      number: attack.number,
      name: attack.name,
      what: attack.what,
      else: seen.pairs[0].edits,
      same: seen.pairs[1].edits,
      shown: seen.pairs[1].shown,
      health: seen.health,
      newcomers: seen.newcomers,
      early: seen.early,
      rest: seen.rest,
      late: seen.late,
      settled,
      cores: used.cores,
      coresMax: used.coresMax,
      memory: { before: before.memory, max: since.memoryMax, after: last.memory },
      files: { before: before.files, max: since.filesMax, after: last.files },
      disk: grown,
      endings,
      looked: looked?.looked ?? null,
      hasEnded,
      lost: attacker.lost,
      said: attacker.said,
      hasHarmed: attacker.hasHarmed,
      tookMs: ended - began
    }
  } finally {
    witnesses.kill()
    attacker.kill()
    await server.kill()
    server.remove()
  }
}

/** Figures of both binaries by the attack's number: those of `--record`, and what is played now in their place. */
const record = options.record && existsSync(options.record) ? JSON.parse(readFileSync(options.record, 'utf8')) : { before: {}, after: {} }

/** Plays what was chosen and keeps the figures as `which` of the record. */
async function playAll (binary, which) {
  for (const attack of chosen) {
    console.error(`== ${attack.number} ${attack.name}: ${attack.what}`)
    let figures
    try {
      figures = await play(binary, attack)
      console.error(format.line(figures))
    } catch (error) {
      console.error(`! ${error.stack}`)
      figures = { number: attack.number, name: attack.name, what: attack.what, failed: error.message.split('\n')[0] }
    }
    record[which][attack.number] = figures
    if (options.record) writeFileSync(options.record, JSON.stringify(record, null, 1) + '\n')
  }
}

if (options.soak) {
  const isGood = await soak(binary, Number(options.soak) * 60, chosen, Helper)
  process.exit(isGood ? 0 : 1)
}
if (options.before) await playAll(options.before, 'before')
await playAll(binary, 'after')
const table = format.table(attacks.map(({ number }) => record.after[number]).filter(Boolean), record.before, names.length === 0 || options.record ? elsewhere : [])
console.log(table)
if (options.into) {
  const text = readFileSync(options.into, 'utf8')
  writeFileSync(options.into, text.replace(/(<!-- attacks -->\n)[^]*(<!-- end -->)/, (_, opening, closing) => opening + table + '\n' + closing))
}
process.exit(chosen.every(({ number }) => format.isHarmless(record.after[number])) ? 0 : 1)
