// Every published provider of both dialects for Yjs 13, each behind the same few words, against any server that speaks its dialect. For
// histories of what users do, which are the same whatever provider a page has.

import { isDeepStrictEqual } from 'node:util'
import WebSocket from 'ws'
import * as Y from 'yjs'
import { Awareness } from 'y-protocols/awareness'
import { WebsocketProvider as Provider15 } from 'y-websocket-1.5'
import { WebsocketProvider as Provider21 } from 'y-websocket-2.1'
import { WebsocketProvider as Provider30 } from 'y-websocket-3.0'
import { WebsocketProvider as Provider31 } from 'y-websocket-3.1'
import { providers } from './hocuspocus.js'
import { eventually } from './wait.js'

process.setMaxListeners(0)

const yWebsocket = (name, Provider) => ({
  name,
  dialect: 'y-websocket',
  open: ({ address, room, doc, WebSocket }) => {
    const provider = new Provider(address, room, doc, { WebSocketPolyfill: WebSocket, disableBc: true })
    return {
      provider,
      offline: () => provider.disconnect(),
      online: () => provider.connect(),
      cut: () => provider.ws?.terminate(),
      leave: () => {
        try {
          provider.destroy()
        } catch {
          // Once Yjs has taken another id for the document, the provider looks in vain for its own presence and gives up halfway.
          provider.ws?.terminate()
        }
      }
    }
  }
})

const hocuspocus = ({ name, Provider, Socket, major }) => ({
  name,
  dialect: 'hocuspocus',
  open: ({ address, room, doc, WebSocket }) => {
    const socket = new Socket({ url: address, WebSocketPolyfill: WebSocket })
    const provider = new Provider({
      websocketProvider: socket,
      name: room,
      document: doc,
      token: 'anonymous',
      awareness: new Awareness(doc),
      broadcast: false // in one process the channel would carry what the server should
    })
    if (major > 2) provider.attach()
    return {
      provider,
      offline: () => socket.disconnect(),
      online: () => socket.connect(),
      cut: () => socket.webSocket?.terminate(),
      leave: () => {
        try {
          provider.destroy()
        } catch {
          // As y-websocket's, when Yjs has taken another id.
        }
        socket.destroy()
        // Versions 3 and 4 come back a second after a close even if they were destroyed meanwhile, and then for ever.
        socket.connect = async () => {}
      }
    }
  }
})

/** Every provider, the oldest of each dialect first. */
export const versions = [
  yWebsocket('y-websocket 1.5', Provider15),
  yWebsocket('y-websocket 2.1', Provider21),
  yWebsocket('y-websocket 3.0', Provider30),
  yWebsocket('y-websocket 3.1', Provider31),
  ...providers.map(hocuspocus)
]

/** The newest of each dialect. */
export const newest = versions.filter(({ name }) => name === 'y-websocket 3.1' || name === 'HocuspocusProvider 4.7')

/** Where the providers of a dialect connect. */
export const addresses = server => ({ 'y-websocket': server.ws, hocuspocus: `${server.origin}/hocuspocus` })

/** One page of one user: a document, a provider, and what it shows of itself. */
export class User {
  opened = 0
  closes = []

  /** Joins `room` and leaves when test `t` ends. `places` has an address per dialect. */
  static join (t, places, version, room, options) {
    const user = new User(places[version.dialect], version, room, options)
    t.after(() => user.leave())
    return user
  }

  constructor (address, version, room, { doc = new Y.Doc(), Socket = WebSocket } = {}) {
    this.version = version
    this.doc = doc
    const user = this
    this.connection = version.open({
      address,
      room,
      doc,
      WebSocket: class extends Socket {
        constructor (...args) {
          super(...args)
          this.addEventListener('open', () => { user.opened++ })
          this.addEventListener('close', event => user.closes.push(event.code))
        }
      }
    })
  }

  get provider () {
    return this.connection.provider
  }

  get awareness () {
    return this.provider.awareness
  }

  get id () {
    return this.doc.clientID
  }

  synced (within = 10_000) {
    return eventually(() => this.provider.synced, { within, what: `${this.version.name} synced` })
  }

  /** What it sees of `other`. */
  sees (other) {
    return this.awareness.getStates().get(other.id)
  }

  show (field, value) {
    this.awareness.setLocalStateField(field, value)
  }

  offline () {
    this.connection.offline()
  }

  online () {
    this.connection.online()
  }

  /** The socket breaks without a goodbye. The provider comes back by itself. */
  cut () {
    this.connection.cut()
  }

  leave () {
    const { awareness } = this
    this.connection.leave()
    // Its timer outlives the provider.
    awareness.destroy()
  }
}

/** Whether the documents of all users say the same. */
export const agree = users => {
  const docs = users.map(({ doc }) => doc)
  // A document does not know what kind a root type is that only others have used.
  const kinds = new Map(docs.flatMap(({ share }) => [...share]).filter(([, { constructor }]) => constructor !== Y.AbstractType)
    .map(([name, { constructor }]) => [name, constructor]))
  const contents = docs.map(doc => [...kinds].map(([name, kind]) => doc.get(name, kind).toJSON()))
  return contents.every(content => isDeepStrictEqual(content, contents[0]))
}
