// An honest client of either dialect: writes keys of a map under an id of its own, keeps what it wrote, answers the server's questions,
// comes back when its socket ends, and counts what was said to be saved and what was refused.

import { randomInt } from 'node:crypto'
import { awareness, Bytes, Cursor, EMPTY, entry, stateVector, syncStep1, syncStep2, update, updateMessage } from './bytes.js'
import { Socket } from './socket.js'

/** Stock clients wait for 100 ms to 2.5 s. */
const COMES_BACK_AFTER = 200

/** A session of either dialect, in which messages are those of y-websocket. */
export class Session {
  onMessage = () => {}
  onClose = () => {}

  static async open (port, dialect, room, { isDeaf = false } = {}) {
    const session = new Session()
    session.address = dialect === 'hocuspocus' ? new Bytes().string(room).end() : null
    const path = session.address ? '/hocuspocus' : `/ws/default/${room}?acks=1`
    const socket = session.socket = await Socket.open(port, path, { isDeaf })
    if (!socket.isOpen) return session
    socket.onMessage = frame => {
      if (!session.address) session.onMessage(frame)
      // Heartbeats have an empty address.
      else if (frame.length > 1) session.onMessage(frame.subarray(session.address.length))
    }
    socket.onClose = () => session.onClose(socket.code)
    if (session.address) session.send(Buffer.from([2, 0, 0]))
    return session
  }

  get isOpen () {
    return this.socket.isOpen
  }

  send (message) {
    return this.socket.send(this.address ? Buffer.concat([this.address, message]) : message)
  }

  end () {
    this.onClose = () => {}
    this.socket.end()
  }
}

export class Author {
  /** Edits written, and how many of the first of them were said to be saved. */
  written = 0
  saved = 0
  refused = 0
  closes = 0
  session = null
  #sent = 0
  #answered = 0
  #refusedHere = 0
  #clock = 0
  #wanted = true

  /** `label` names its edits. */
  constructor (port, dialect, room, label, id = randomInt(2 ** 31, 2 ** 32)) {
    Object.assign(this, { port, dialect, room, label, id })
  }

  async connect () {
    this.#wanted = true
    const session = await Session.open(this.port, this.dialect, this.room)
    if (!session.isOpen) return this.#comeBack()
    this.session = session
    this.#sent = this.#answered = this.#refusedHere = 0
    session.onMessage = message => this.#hear(message)
    session.onClose = () => this.#comeBack()
    session.send(syncStep1(stateVector(this.written > 0 ? [[this.id, this.written]] : [])))
    this.show()
  }

  show () {
    this.session?.send(awareness([[this.id, ++this.#clock, JSON.stringify({ [this.label]: this.#clock })]]))
    return this.#clock
  }

  disconnect () {
    this.#wanted = false
    this.session?.end()
    this.session = null
  }

  /** Writes one edit and returns its number; it is sent if there is a session. */
  write () {
    const n = this.written++
    this.#say(updateMessage(this.#since(n)))
    return n
  }

  #since (from) {
    const count = this.written - from
    return update(count > 0 ? [[this.id, from, count, (out, n) => entry(`${this.label}${from + n}`, mark(this.label, from + n))(out)]] : [])
  }

  #say (message) {
    if (!this.session) return
    this.#sent++
    this.session.send(message)
  }

  #hear (message) {
    if (message[0] === 8) {
      this.#answered++
      if (message[1] !== 1) {
        this.refused++
        this.#refusedHere++
      }
      // Answers may come in another order: when all of a session have come, all that was written is saved, unless one was refused.
      if (this.#answered === this.#sent && this.#refusedHere === 0) this.saved = this.written
    } else if (message[0] === 0 && message[1] === 0) {
      const asked = new Cursor(new Cursor(message, 2).bytes())
      let known = 0
      for (let left = asked.uint(); left > 0; left--) {
        const [client, clock] = [asked.uint(), asked.uint()]
        if (client === this.id) known = clock
      }
      this.#say(syncStep2(this.#since(Math.min(known, this.written))))
    }
  }

  #comeBack () {
    this.session = null
    if (!this.#wanted) return
    this.closes++
    setTimeout(() => { if (this.#wanted && !this.session) this.connect() }, COMES_BACK_AFTER)
  }
}

const mark = (label, n) => `<${label}:${n}>`

/** Calls `found` with the number of each edit of `label` in `buffer`. */
export function findMarks (buffer, label, found) {
  const opening = Buffer.from(`<${label}:`)
  for (let at = buffer.indexOf(opening); at >= 0; at = buffer.indexOf(opening, at + 1)) {
    let [n, next] = [0, at + opening.length]
    while (buffer[next] >= 48 && buffer[next] <= 57) n = n * 10 + buffer[next++] - 48
    found(n)
  }
}

/** The whole state of a room as a newcomer gets it, or `null` after `within` ms. */
export async function stateOf (port, room, within = 10_000) {
  const session = await Session.open(port, 'y-websocket', room)
  if (!session.isOpen) return null
  const state = await new Promise(resolve => {
    const late = setTimeout(() => resolve(null), within)
    session.onClose = () => { clearTimeout(late); resolve(null) }
    session.onMessage = message => { if (message[0] === 0 && message[1] === 1) { clearTimeout(late); resolve(message) } }
    session.send(syncStep1(EMPTY))
  })
  session.end()
  return state
}

/** Which of the first `count` edits of `label` are missing in `state`. */
export function missingIn (state, label, count) {
  const found = new Set()
  if (state) findMarks(state, label, n => found.add(n))
  return Array.from({ length: count }, (_, n) => n).filter(n => !found.has(n))
}
