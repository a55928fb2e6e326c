// A client that speaks frames: for what no stock client shows.

import * as encoding from 'lib0/encoding'
import WebSocket from 'ws'
import { eventually } from './wait.js'

const EMPTY_STATE_VECTOR = Uint8Array.of(0)

const sync = (kind, body) => {
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, 0)
  encoding.writeVarUint(encoder, kind)
  encoding.writeVarUint8Array(encoder, body)
  return encoding.toUint8Array(encoder)
}

export const syncStep1 = (stateVector = EMPTY_STATE_VECTOR) => sync(0, stateVector)
export const syncStep2 = update => sync(1, update)
export const update = update => sync(2, update)

export const SAVED = '0801'
export const REFUSED = '0800'

/** An open socket that remembers what came. */
export class RawClient {
  frames = []
  closed = null

  static async connect (t, url, protocols = [], options = {}) {
    const client = new RawClient(url, protocols, options)
    t.after(() => client.socket.terminate())
    await eventually(() => client.socket.readyState !== WebSocket.CONNECTING, { what: `${url} answers` })
    if (client.error) throw client.error
    return client
  }

  constructor (url, protocols, options) {
    this.openedAt = null
    this.error = null
    this.socket = new WebSocket(url, protocols, options)
    this.socket.on('open', () => { this.openedAt = Date.now() })
    this.socket.on('error', error => { this.error = error })
    this.socket.on('message', data => this.frames.push(data))
    this.socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString(), after: Date.now() - this.openedAt }
    })
  }

  send (frame) {
    this.socket.send(frame)
  }

  /** How many frames came that are exactly `hex`. */
  count (hex) {
    return this.frames.filter(frame => frame.toString('hex') === hex).length
  }

  /** The frames of one message type, e.g. 0 for sync. */
  ofType (type) {
    return this.frames.filter(frame => frame[0] === type)
  }

  whenClosed (within = 10_000) {
    return eventually(() => this.closed, { within, what: 'the server closes' })
  }
}
