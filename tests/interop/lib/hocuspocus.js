// The published Hocuspocus providers, each behind the same few words. Socket and provider are made apart, because version 2 takes a
// WebSocket implementation for the socket alone.

import WebSocket from 'ws'
import * as Y from 'yjs'
import { Awareness } from 'y-protocols/awareness'
import { HocuspocusProvider as Provider2, HocuspocusProviderWebsocket as Socket2 } from 'hocuspocus-2.15'
import { HocuspocusProvider as Provider3, HocuspocusProviderWebsocket as Socket3 } from 'hocuspocus-3.4'
import { HocuspocusProvider as Provider4, HocuspocusProviderWebsocket as Socket4 } from 'hocuspocus-4.7'
import { eventually } from './wait.js'

process.setMaxListeners(0)

/** Every version under test. */
export const providers = [
  { name: 'HocuspocusProvider 2.15', Provider: Provider2, Socket: Socket2, major: 2 },
  { name: 'HocuspocusProvider 3.4', Provider: Provider3, Socket: Socket3, major: 3 },
  { name: 'HocuspocusProvider 4.7', Provider: Provider4, Socket: Socket4, major: 4 }
]

/** A socket that counts what happens on it; documents come and go. */
export class Line {
  opened = 0
  closes = []
  sent = 0
  received = 0
  heartbeats = 0
  members = []

  constructor (version, url) {
    this.version = version
    this.socket = new version.Socket({ url, WebSocketPolyfill: this.#counting() })
  }

  static open (t, version, url) {
    const line = new Line(version, url)
    t.after(() => line.destroy())
    return line
  }

  /** A document on this socket. */
  join (name, options) {
    const member = new Member(this, name, options)
    this.members.push(member)
    return member
  }

  /** The socket breaks without a goodbye. The provider comes back by itself. */
  cut () {
    this.socket.webSocket?.terminate()
  }

  offline () {
    this.socket.disconnect()
  }

  online () {
    return this.socket.connect()
  }

  destroy () {
    for (const member of this.members) member.leave()
    this.socket.destroy()
    // Versions 3 and 4 come back a second after a close even if they were destroyed meanwhile, and then for ever.
    this.socket.connect = async () => {}
  }

  #counting () {
    const line = this
    return class extends WebSocket {
      constructor (...args) {
        super(...args)
        this.on('open', () => { line.opened++ })
        this.on('close', code => line.closes.push(code))
        this.on('message', data => {
          if (data.byteLength === 1) line.heartbeats++
          else line.received++
        })
      }

      send (...args) {
        line.sent++
        super.send(...args)
      }
    }
  }
}

/** One document of one client. */
export class Member {
  counts = []
  denied = []
  scopes = []
  stateless = []
  isGone = false

  constructor (line, name, { doc = new Y.Doc(), token = null, awareness, attach = true, ...options } = {}) {
    this.line = line
    this.name = name
    this.doc = doc
    this.map = doc.getMap('map')
    this.text = doc.getText('text')
    this.provider = new line.version.Provider({
      websocketProvider: line.socket,
      name,
      document: doc,
      token,
      awareness: awareness === undefined ? new Awareness(doc) : awareness,
      broadcast: false, // in one process the channel would carry what the server should
      ...options
    })
    // Version 2 says the bare number.
    this.provider.on('unsyncedChanges', told => this.counts.push(told?.number ?? told))
    this.provider.on('authenticationFailed', ({ reason }) => this.denied.push(reason))
    this.provider.on('authenticated', () => this.scopes.push(this.provider.authorizedScope))
    this.provider.on('stateless', ({ payload }) => this.stateless.push(payload))
    if (attach && line.version.major > 2) this.provider.attach()
  }

  get awareness () {
    return this.provider.awareness
  }

  get unsynced () {
    return this.provider.unsyncedChanges
  }

  synced (within = 10_000) {
    return eventually(() => this.provider.synced, { within, what: `${this.line.version.name} synced ${this.name}` })
  }

  /**
   * All that was edited is said to be saved. Every version begins to count when it asks its first question; what it sent before, or
   * kept while it was offline, is acknowledged like everything else, so the count may end below 0.
   */
  saved (within = 10_000) {
    return eventually(() => this.provider.synced && this.unsynced <= 0, {
      within,
      what: `${this.line.version.name} saved ${this.name}`
    })
  }

  sees (other) {
    return this.awareness.getStates().get(other.doc.clientID)
  }

  show (state) {
    this.awareness.setLocalState(state)
  }

  leave () {
    if (this.isGone) return
    this.isGone = true
    this.provider.destroy()
  }
}
