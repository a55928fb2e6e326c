// One document of a running server over WebSocket, in either dialect.
//
//   ws://host:1234                       y-websocket: the name follows as path, or stands where the URL says {name}
//   hocuspocus+ws://host:1234            Hocuspocus: the name goes in every frame, the token in the first
//
// Nothing of it is announced as presence, and nothing is kept open.

import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import WebSocket from 'ws'
import * as Y from 'yjs'
import { contains } from './content.js'

const HOCUSPOCUS = 'hocuspocus+'
const SYNC = 0
const AUTH = 2
const CLOSE = 7
const SYNC_STEP_1 = 0
const SYNC_STEP_2 = 1
const UPDATE = 2
const TOKEN = 0
const DENIED = 1

/** How long one document may take. */
const PATIENCE = 30_000
/**
 * How long to wait before asking again. y-websocket-server answers before it has loaded the document, and sends what it
 * loaded behind its answer.
 */
const SETTLE = 500

/** By which rule the server behind `url` names documents. */
export const namesAt = url => url.startsWith(HOCUSPOCUS) ? 'short' : 'path'

/** Opens `name` on the server behind `url`; `protocol` is a subprotocol to offer, where a server looks for a token there. */
export async function connect (url, name, { token = '', protocol } = {}) {
  const wire = new Wire(url, name, token, protocol)
  await wire.opened
  return wire
}

class Wire {
  #socket
  #address
  #answer = null
  #failure = null
  #wake = () => {}

  constructor (url, name, token, protocol) {
    const isHocuspocus = url.startsWith(HOCUSPOCUS)
    this.#address = isHocuspocus ? name : null
    this.#socket = new WebSocket(isHocuspocus ? url.slice(HOCUSPOCUS.length) : address(url, name), protocol ?? [])
    this.#socket.binaryType = 'arraybuffer'
    this.#socket.on('message', data => this.#read(new Uint8Array(data)))
    this.#socket.on('error', error => this.#fail(error.message || error.code || 'cannot be reached'))
    this.#socket.on('close', (code, reason) => this.#fail(`closed the socket (${code}${reason.length > 0 ? ` ${reason}` : ''})`))
    this.opened = this.#until(() => this.#socket.readyState === WebSocket.OPEN).then(() => {
      if (isHocuspocus) this.#send(AUTH, encoder => { encoding.writeVarUint(encoder, TOKEN); encoding.writeVarString(encoder, token) })
    })
    this.#socket.on('open', () => this.#wake())
  }

  /** The document's state, once the server says twice the same. */
  async pull () {
    let state = await this.#ask()
    for (;;) {
      await new Promise(resolve => setTimeout(resolve, SETTLE))
      const again = await this.#ask()
      if (contains(state, again)) return again
      state = again
    }
  }

  /** Adds `update`, and returns when the server shows it. */
  async push (update) {
    await this.pull() // so that nothing is written before the document is loaded
    this.#send(SYNC, encoder => { encoding.writeVarUint(encoder, UPDATE); encoding.writeVarUint8Array(encoder, update) })
    const deadline = Date.now() + PATIENCE
    while (!contains(await this.#ask(), update)) {
      if (Date.now() > deadline) throw new Error('does not show what it was sent')
      await new Promise(resolve => setTimeout(resolve, SETTLE))
    }
  }

  close () {
    this.#socket.removeAllListeners('close')
    this.#socket.close()
  }

  async #ask () {
    this.#answer = null
    this.#send(SYNC, encoder => {
      encoding.writeVarUint(encoder, SYNC_STEP_1)
      encoding.writeVarUint8Array(encoder, Y.encodeStateVector(new Map()))
    })
    await this.#until(() => this.#answer !== null)
    return this.#answer
  }

  #read (frame) {
    const decoder = decoding.createDecoder(frame)
    if (this.#address !== null && decoding.readVarString(decoder) !== this.#address) return
    switch (decoding.readVarUint(decoder)) {
      case SYNC:
        if (decoding.readVarUint(decoder) === SYNC_STEP_2) this.#answer = decoding.readVarUint8Array(decoder)
        break
      case AUTH:
        // The y-websocket dialect knows one kind of this message only: denied.
        if (decoding.readVarUint(decoder) === (this.#address === null ? TOKEN : DENIED)) {
          this.#fail(`refuses: ${decoding.readVarString(decoder)}`)
        }
        break
      case CLOSE:
        if (this.#address !== null) this.#fail('closed the document')
        break
    }
    this.#wake()
  }

  #send (type, body) {
    const encoder = encoding.createEncoder()
    if (this.#address !== null) encoding.writeVarString(encoder, this.#address)
    encoding.writeVarUint(encoder, type)
    body(encoder)
    this.#socket.send(encoding.toUint8Array(encoder))
  }

  #fail (message) {
    this.#failure ??= new Error(`the old server ${message}`)
    this.#wake()
  }

  async #until (isSo) {
    const deadline = Date.now() + PATIENCE
    while (!isSo()) {
      if (this.#failure) throw this.#failure
      const left = deadline - Date.now()
      if (left <= 0) throw new Error('the old server does not answer')
      await new Promise(resolve => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => { clearTimeout(timer); resolve() }
      })
    }
  }
}

function address (url, name) {
  if (url.includes('{name}')) return url.replaceAll('{name}', name)
  const [base, query] = url.split('?', 2)
  return `${base.replace(/\/+$/, '')}/${name}${query === undefined ? '' : `?${query}`}`
}
