// Honest clients beside an attack, in a process of their own: pairs that edit and watch each other, somebody who asks /healthz, newcomers
// to dashboards that are not open, REST writes. A time counts from the moment at which something was due.
//
// Told over IPC: { begin: phase }, { report: true }, { end: true }.

import { get, request } from 'node:http'
import { Author, findMarks, missingIn, Session, stateOf } from './author.js'
import { Bytes, EMPTY, entry, syncStep1, syncStep2, update } from './bytes.js'
import { Socket } from './socket.js'

const { port, pairs, cuts = false } = JSON.parse(process.argv[2])
const EDITS_EVERY = 100
const SHOWS_EVERY = 1_000
const HEALTH_EVERY = 200
const NEWCOMER_EVERY = 1_000
const REST_EVERY = 1_000
/** Cut every so often, in turn, when asked for. */
const CUT_EVERY = 3_000
const GIVEN_UP_AFTER = 30_000
/** What is due for less is under way, and not missing. */
const UNDER_WAY = 1_000

let phase = 'before'

/** Times of one kind, by phase. */
class Series {
  #events = []

  due (at = performance.now()) {
    const event = { phase, due: at, done: null, isRefused: false }
    this.#events.push(event)
    return event
  }

  /** In milliseconds; what has not happened yet counts as long as it has been waited for. */
  report (wanted) {
    const now = performance.now()
    const events = this.#events.filter(event => event.phase === wanted)
    const times = events.map(({ due, done }) => (done ?? now) - due).sort((a, b) => a - b)
    return {
      count: times.length,
      p99: times[Math.floor(times.length * 0.99)] ?? 0,
      max: times.at(-1) ?? 0,
      missing: events.filter(event => event.done === null && now - event.due > UNDER_WAY).length,
      refused: events.filter(event => event.isRefused).length
    }
  }
}

const finish = event => { event.done ??= performance.now() }
const refuse = event => { event.isRefused = true; finish(event) }

class Pair {
  edits = new Series()
  shown = new Series()
  #pending = new Map()
  #moves = []

  constructor ({ room, dialect }) {
    Object.assign(this, { room, dialect, label: `${dialect[0]}-${room}` })
    this.author = new Author(port, dialect, room, this.label)
  }

  async start () {
    await Promise.all([this.author.connect(), this.#watch()])
    every(EDITS_EVERY, due => {
      this.#pending.set(this.author.written, this.edits.due(due))
      this.author.write()
    })
    every(SHOWS_EVERY, due => {
      if (!this.author.session) return
      const event = this.shown.due(due)
      this.#moves.push([this.author.show(), event])
    })
  }

  /** A reader that comes back like the author. */
  async #watch () {
    const session = await Session.open(port, this.dialect, this.room)
    const again = () => setTimeout(() => this.#watch(), 200)
    if (!session.isOpen) return again()
    session.onClose = again
    session.onMessage = message => {
      if (message[0] === 0 && message[1] === 0) session.send(syncStep2(Buffer.from([0, 0])))
      if (this.#pending.size > 0) findMarks(message, this.label, n => this.#seen(n))
      if (message[0] === 1) this.#look(message)
    }
    session.send(syncStep1(EMPTY))
  }

  #seen (n) {
    const event = this.#pending.get(n)
    if (!event) return
    finish(event)
    this.#pending.delete(n)
  }

  #look (message) {
    const opening = Buffer.from(`{"${this.label}":`)
    for (let at = message.indexOf(opening); at >= 0; at = message.indexOf(opening, at + 1)) {
      const clock = parseInt(message.toString('latin1', at + opening.length, at + opening.length + 12))
      while (this.#moves.length > 0 && this.#moves[0][0] <= clock) finish(this.#moves.shift()[1])
    }
  }

  cut () {
    this.author.session?.socket.end()
  }

  async report (wanted) {
    return { room: this.room, dialect: this.dialect, edits: this.edits.report(wanted), shown: this.shown.report(wanted) }
  }

  /** What was said to be saved and is not in the state that a newcomer gets. */
  async ending () {
    const { written, saved, refused, closes } = this.author
    const state = await stateOf(port, this.room)
    return { room: this.room, label: this.label, written, saved, refused, closes, isReadable: state !== null, lost: state ? missingIn(state, this.label, saved).length : 0 }
  }
}

/** How late this process itself was: the figures are worth no more. */
let late = 0

function every (interval, act) {
  let due = performance.now() + Math.random() * interval
  const timer = setInterval(() => {
    const now = performance.now()
    late = Math.max(late, now - due - 15)
    while (due <= now) {
      act(due)
      due += interval
    }
  }, 10)
  timers.push(timer)
}
const timers = []

const series = { health: new Series(), newcomers: new Series(), early: new Series(), rest: new Series() }

function ask (event, options, body) {
  const asked = (body ? request : get)({ host: '127.0.0.1', port, agent: false, timeout: GIVEN_UP_AFTER, ...options }, answer => {
    answer.resume()
    answer.on('end', () => (answer.statusCode < 300 ? finish(event) : refuse(event)))
  })
  asked.on('timeout', () => asked.destroy())
  asked.on('error', () => refuse(event))
  if (body) asked.end(body)
}

let newcomers = 0
async function newcomer (event) {
  const room = `newcomer-${newcomers++}`
  const session = await Session.open(port, 'y-websocket', room)
  if (!session.isOpen) return refuse(event)
  session.onClose = () => refuse(event)
  session.onMessage = message => {
    if (message[0] !== 0 || message[1] !== 1) return
    finish(event)
    session.end()
  }
  session.send(syncStep1(EMPTY))
}

/** As Hocuspocus' provider 2 begins when it has no token: with its first question. */
async function early (event) {
  const address = new Bytes().string(`early-${newcomers++}`).end()
  const socket = await Socket.open(port, '/hocuspocus')
  if (!socket.isOpen) return refuse(event)
  socket.onClose = () => refuse(event)
  socket.onMessage = frame => {
    const message = frame.subarray(address.length)
    if (message[0] !== 0 || message[1] !== 1) return
    finish(event)
    socket.onClose = () => {}
    socket.end()
  }
  socket.send(Buffer.concat([address, syncStep1(EMPTY)]))
}

let writes = 0
const members = pairs.map(pair => new Pair(pair))
await Promise.all(members.map(member => member.start()))
every(HEALTH_EVERY, due => ask(series.health.due(due), { path: '/healthz' }))
every(NEWCOMER_EVERY, due => newcomer(series.newcomers.due(due)))
every(NEWCOMER_EVERY * 2, due => early(series.early.due(due)))
every(REST_EVERY, due => {
  const body = update([[9, writes, 1, entry(`k${writes}`, 'v')]])
  writes++
  ask(series.rest.due(due), { method: 'POST', path: '/api/dashboards/default/rest/updates' }, body)
  ask(series.rest.due(due), { path: '/api/dashboards/default/rest' })
})
if (cuts) {
  let turn = 0
  every(CUT_EVERY, () => members[turn++ % members.length].cut())
}

process.on('message', async message => {
  if (message.begin) {
    phase = message.begin
    late = 0
  } else if (message.report) {
    const figures = Object.fromEntries(Object.entries(series).map(([name, one]) => [name, one.report(message.report)]))
    process.send({ ...figures, late, pairs: await Promise.all(members.map(member => member.report(message.report))) })
  } else if (message.end) {
    for (const timer of timers) clearInterval(timer)
    // What is still under way is waited for, within bounds.
    const patience = Date.now() + 5_000
    while (Date.now() < patience && members.some(({ author }) => author.saved < author.written)) await new Promise(resolve => setTimeout(resolve, 100))
    process.send({ endings: await Promise.all(members.map(member => member.ending())) })
  } else if (message.look) {
    // Another process serves the same store.
    const lost = await Promise.all(message.look.map(async ({ room, label, saved }) => {
      const state = await stateOf(port, room)
      return { room, isReadable: state !== null, lost: state ? missingIn(state, label, saved).length : 0 }
    }))
    process.send({ looked: lost })
  } else if (message.leave) {
    process.exit()
  }
})
process.on('disconnect', () => process.exit())
process.send({ ready: true })
