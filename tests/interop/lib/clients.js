// The published clients, each behind the same few words, so that one test runs against all of them.

import { randomBytes } from 'node:crypto'
import * as decoding from 'lib0/decoding'
import WebSocket from 'ws'
import * as Y13 from 'yjs'
import { WebsocketProvider as Provider21 } from 'y-websocket-2.1'
import { WebsocketProvider as Provider30 } from 'y-websocket-3.0'
import { WebsocketProvider as Provider31 } from 'y-websocket-3.1'
import * as Y14 from '@y/y'
import { WebsocketProvider as Provider40 } from '@y/websocket'
import { eventually } from './wait.js'

// Every provider of Node registers an `exit` listener.
process.setMaxListeners(0)

/** Root types of Yjs 13: maps, texts and arrays are kinds of their own. */
const roots13 = doc => {
  const map = doc.getMap('map')
  const text = doc.getText('text')
  const list = doc.getArray('list')
  return {
    text,
    set: (key, value) => map.set(key, value),
    get: key => map.get(key),
    has: key => map.has(key),
    remove: key => map.delete(key),
    write: (index, string) => text.insert(index, string),
    erase: (index, length) => text.delete(index, length),
    read: () => text.toString(),
    insert: (index, values) => list.insert(index, values),
    drop: (index, length) => list.delete(index, length),
    items: () => list.toArray(),
    keys: () => [...map.keys()]
  }
}

/** Root types of Yjs 14: one type that has attributes and children. */
const roots14 = doc => {
  const map = doc.get('map')
  const text = doc.get('text')
  const list = doc.get('list')
  return {
    text,
    set: (key, value) => map.setAttr(key, value),
    get: key => map.getAttr(key),
    has: key => map.hasAttr(key),
    remove: key => map.deleteAttr(key),
    write: (index, string) => text.insert(index, string),
    erase: (index, length) => text.delete(index, length),
    read: () => text.toString(),
    insert: (index, values) => list.insert(index, values),
    drop: (index, length) => list.delete(index, length),
    items: () => list.toArray(),
    keys: () => [...map.attrKeys()]
  }
}

const yjs13 = { Y: Y13, roots: roots13 }
const yjs14 = { Y: Y14, roots: roots14 }

/** Every client version under test. `stopsWhenRefused`: close codes 4400-4499 end its attempts. */
export const clients = [
  { name: 'y-websocket 2.1', Provider: Provider21, ...yjs13, stopsWhenRefused: false },
  { name: 'y-websocket 3.0', Provider: Provider30, ...yjs13, stopsWhenRefused: false },
  { name: 'y-websocket 3.1', Provider: Provider31, ...yjs13, stopsWhenRefused: true },
  { name: '@y/websocket 4.0', Provider: Provider40, ...yjs14, stopsWhenRefused: false }
]

/** The clients that use Yjs 13, whose kinds of types are richer than the common words above. */
export const clients13 = clients.filter(client => client.Y === Y13)

export const latest = clients.find(client => client.name === 'y-websocket 3.1')

/** A room name that no other test uses. */
export const freshRoom = (hint = 'room') => `${hint}-${randomBytes(6).toString('hex')}`

export const KEEP_ALIVE = '010100'

/** One client with its document: joins at once, leaves when the test ends. */
export class Peer {
  // What went over the wire, keep-alive frames aside.
  sent = 0
  received = 0
  opened = 0
  closes = []
  /** What the server said that it may do, as providers pass over it: a page reads it in `messageHandlers[2]`. */
  scopes = []

  constructor (client, base, room, { doc = new client.Y.Doc(), connect = true, acks = false, ...options } = {}) {
    this.client = client
    this.doc = doc
    Object.assign(this, client.roots(doc))
    this.provider = new client.Provider(base, room, doc, {
      WebSocketPolyfill: this.#countingSocket(),
      disableBc: true, // in one process the channel would carry what the server should
      connect,
      params: acks ? { acks: '1' } : {},
      ...options
    })
    this.saved = 0
    this.provider.messageHandlers[8] = (_, decoder) => {
      if (decoding.readVarUint(decoder) === 1) this.saved++
    }
    this.provider.on('connection-close', event => this.closes.push(event?.code ?? null))
  }

  /** Joins `room` on `server` and leaves when test `t` ends. */
  static join (t, server, client, room, options) {
    const peer = new Peer(client, server.ws, room, options)
    t.after(() => peer.leave())
    return peer
  }

  get awareness () {
    return this.provider.awareness
  }

  get Y () {
    return this.client.Y
  }

  synced (within = 5_000) {
    return eventually(() => this.provider.synced, { within, what: `${this.client.name} synced` })
  }

  /** Sees `other` in the presence list, with the state it announced. */
  sees (other) {
    return this.awareness.getStates().get(other.doc.clientID)
  }

  /** The socket breaks without a goodbye, as when a network fails. The client comes back by itself. */
  cut () {
    this.provider.ws?.terminate()
  }

  offline () {
    this.provider.disconnect()
  }

  online () {
    this.provider.connect()
  }

  leave () {
    this.provider.destroy()
    this.doc.destroy()
  }

  /** Everything that two converged peers must agree on, whatever their version of Yjs. */
  content () {
    const clocks = [...this.Y.decodeStateVector(this.Y.encodeStateVector(this.doc))].sort((a, b) => a[0] - b[0])
    const map = this.keys().sort().map(key => [key, this.get(key)])
    return print({ clocks, map, text: this.read(), list: this.items() })
  }

  #countingSocket () {
    const peer = this
    return class extends WebSocket {
      constructor (...args) {
        super(...args)
        this.on('open', () => { peer.opened++ })
        this.on('message', data => {
          const bytes = Buffer.from(data)
          if (bytes.length === 3 && bytes.toString('hex') === KEEP_ALIVE) return
          peer.received++
          if (bytes[0] === 2 && bytes[1] === 2) peer.scopes.push(bytes.subarray(3).toString())
        })
      }

      send (...args) {
        peer.sent++
        super.send(...args)
      }
    }
  }
}

/** Waits until all peers hold the same. */
export function converged (peers, { within = 5_000 } = {}) {
  return eventually(() => {
    const contents = peers.map(peer => peer.content())
    const odd = contents.findIndex(content => content !== contents[0])
    if (odd >= 0) throw new Error(difference(peers[0], contents[0], peers[odd], contents[odd]))
    return true
  }, { within, what: `${peers.length} peers converge` })
}

/** Where two contents part, with a little of what stands around it. */
function difference (one, left, other, right) {
  let at = 0
  while (left[at] === right[at]) at++
  const around = content => content.slice(Math.max(0, at - 60), at + 60)
  return `at ${at} of ${left.length} and ${right.length}\n${one.client.name} has …${around(left)}…\n${other.client.name} has …${around(right)}…`
}

/** A value's print in which every difference shows that JSON hides. */
export const print = value => {
  if (typeof value === 'bigint') return `${value}n`
  if (Object.is(value, -0)) return '-0'
  if (value === undefined) return 'undefined'
  if (typeof value === 'number') return String(value)
  if (value instanceof Uint8Array) return `bytes(${Buffer.from(value).toString('hex')})`
  if (Array.isArray(value)) return `[${value.map(print).join()}]`
  if (value?.toJSON) return print(value.toJSON())
  if (value && typeof value === 'object') {
    return `{${Object.keys(value).sort().map(key => `${JSON.stringify(key)}:${print(value[key])}`).join()}}`
  }
  return JSON.stringify(value)
}
