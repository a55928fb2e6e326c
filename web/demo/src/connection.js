// The link to the server, and what has become of this tab's edits.
//
// The server is asked for acks (`?acks=1`): it answers each frame that carries edits with `08 01` once they are durable,
// with `08 00` when it refused them. A server that knows no acks answers none; then nothing is claimed about saving.

import { WebsocketProvider } from 'y-websocket'

const MESSAGE_SYNC = 0
const MESSAGE_SYNC_STATUS = 8
const SYNC_STEP_1 = 0

export class Connection {
  #listeners = []
  #sentAt = [] // when each unanswered frame was sent, oldest first: answers come in order
  #answers = 0
  #refused = false
  #latency = null
  #edited = false
  #closed = null
  #status = 'connecting'

  constructor (doc, room) {
    const origin = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}`
    const path = room.split('/').map(encodeURIComponent).join('/')
    this.provider = new WebsocketProvider(`${origin}/ws/default`, path, doc, {
      params: { acks: '1' },
      WebSocketPolyfill: this.#watchingSocket(),
      disableBc: true // tabs of one browser would sync past the server, and this page is about the server
    })
    this.awareness = this.provider.awareness
    this.provider.messageHandlers[MESSAGE_SYNC_STATUS] = (_, decoder) => this.#answered(decoder.arr[decoder.pos++] === 1)
    this.provider.on('status', ({ status }) => {
      this.#status = status
      this.#sentAt = []
      this.#changed()
    })
    this.provider.on('sync', () => this.#changed())
    this.provider.on('closed', event => {
      this.#closed = event
      this.#changed()
    })
    doc.on('update', (_, origin) => {
      if (origin === this.provider) return
      this.#edited = true
      this.#changed()
    })
    addEventListener('beforeunload', event => {
      const acked = this.#answers > 0 || !this.provider.wsconnected
      if (this.#edited && acked && !this.#isSaved()) event.preventDefault()
    })
  }

  /** Calls `listener` with what to show, at once and on every change. */
  onChange (listener) {
    this.#listeners.push(listener)
    this.#changed()
  }

  #watchingSocket () {
    const connection = this
    return class extends WebSocket {
      send (frame) {
        super.send(frame)
        if (frame[0] === MESSAGE_SYNC && frame[1] !== SYNC_STEP_1) {
          connection.#sentAt.push(performance.now())
          connection.#changed()
        }
      }
    }
  }

  #answered (saved) {
    const sentAt = this.#sentAt.shift()
    this.#answers++
    this.#refused = !saved
    if (this.#sentAt.length === 0 && this.provider.wsconnected && sentAt !== undefined) {
      this.#latency = performance.now() - sentAt
      if (saved) this.#edited = false
    }
    this.#changed()
  }

  #isSaved () {
    return this.provider.wsconnected && this.provider.synced && this.#sentAt.length === 0
  }

  #link () {
    if (this.#closed) {
      return { state: 'bad', text: `Refused by the server (${this.#closed.reason || this.#closed.code})` }
    }
    if (this.provider.synced) return { state: 'good', text: 'Live' }
    if (this.#status === 'connected') return { state: 'waiting', text: 'Loading…' }
    return { state: 'waiting', text: this.#answers > 0 ? 'Offline, trying again…' : 'Connecting…' }
  }

  #save () {
    if (this.#closed) return { state: 'bad', text: 'Edits stay in this tab only' }
    if (!this.provider.wsconnected) {
      return this.#edited ? { state: 'busy', text: 'Edits kept in this tab until the server is back' } : { state: 'waiting', text: '' }
    }
    if (this.#refused) return { state: 'bad', text: 'Read-only: the last edit was not accepted' }
    if (this.#answers === 0) return { state: 'waiting', text: '' }
    if (!this.#isSaved()) return { state: 'busy', text: 'Saving…' }
    return { state: 'good', text: `All changes saved${this.#latency === null ? '' : ` (${Math.max(1, Math.round(this.#latency))} ms)`}` }
  }

  #changed () {
    const shown = { link: this.#link(), save: this.#save() }
    for (const listener of this.#listeners) listener(shown)
  }
}
