import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import * as sync from 'y-protocols/sync'
import * as Y from 'yjs'

const SYNC = 0
const AWARENESS = 1
const AUTH = 2
const SYNC_STATUS = 8

/** A server within the process that speaks the dialect, and answers acks when the test says so. */
export class MemoryServer {
  readonly doc = new Y.Doc()
  readonly sockets = new Set<MemorySocket>()
  readonly urls: string[] = []
  /** The tokens of all connections, which came as subprotocols. */
  readonly tokens: (string | undefined)[] = []
  /** Frames with edits that came, in all. */
  edits = 0
  isReachable = true
  access: 'read-write' | 'readonly' | null = 'read-write'
  /** Acks go out at once; else they wait for [MemoryServer.save]. */
  savesAtOnce = true
  /** What edits are answered with. */
  takesEdits = true
  /** What is said beside, when they are not taken. */
  why: string | null = null
  #owed: (() => void)[] = []
  #awareness = new Map<MemorySocket, Uint8Array>()

  /** The class to give to createClient. */
  get WebSocket(): unknown {
    const server = this
    return class extends MemorySocket {
      constructor(url: string, protocols?: readonly string[]) {
        super(server, url, protocols)
      }
    }
  }

  /** Answers everything that waits. */
  save(): void {
    for (const answer of this.#owed.splice(0)) answer()
  }

  /** Asks everybody for what is missing here, as a server does that found a hole. */
  ask(): void {
    for (const socket of this.sockets) socket.receive(this.#question())
  }

  /** Breaks every connection, as a network does. */
  cut(code = 1006, reason = ''): void {
    for (const socket of [...this.sockets]) socket.end(code, reason)
    this.#owed = []
  }

  opened(socket: MemorySocket): void {
    this.sockets.add(socket)
    if (this.access !== null) {
      socket.receive(encoding.encode(encoder => {
        encoding.writeVarUint(encoder, AUTH)
        encoding.writeVarUint(encoder, 2)
        encoding.writeVarString(encoder, this.access ?? '')
      }))
    }
    socket.receive(this.#question())
    for (const frame of this.#awareness.values()) socket.receive(frame)
  }

  received(from: MemorySocket, frame: Uint8Array): void {
    const decoder = decoding.createDecoder(frame)
    const type = decoding.readVarUint(decoder)
    if (type === AWARENESS) {
      this.#awareness.set(from, frame)
      for (const socket of this.sockets) if (socket !== from) socket.receive(frame)
    }
    if (type !== SYNC) return
    const kind = decoding.readVarUint(decoder)
    const body = decoding.readVarUint8Array(decoder)
    if (kind === 0) {
      from.receive(encoding.encode(encoder => {
        encoding.writeVarUint(encoder, SYNC)
        encoding.writeVarUint(encoder, 1)
        encoding.writeVarUint8Array(encoder, Y.encodeStateAsUpdate(this.doc, body))
      }))
      return
    }
    this.edits++
    const isNew = kind === 2 || body.length > 2
    const isTaken = this.takesEdits || !isNew
    if (isTaken) {
      Y.applyUpdate(this.doc, body)
      const update = encoding.encode(encoder => {
        encoding.writeVarUint(encoder, SYNC)
        sync.writeUpdate(encoder, body)
      })
      for (const socket of this.sockets) if (socket !== from && isNew) socket.receive(update)
    }
    const answer = (): void => {
      from.receive(Uint8Array.of(SYNC_STATUS, isTaken ? 1 : 0))
      const { why } = this
      if (isTaken || why === null) return
      from.receive(encoding.encode(encoder => {
        encoding.writeVarUint(encoder, AUTH)
        encoding.writeVarUint(encoder, 0)
        encoding.writeVarString(encoder, why)
      }))
    }
    if (this.savesAtOnce) answer()
    else this.#owed.push(answer)
  }

  left(socket: MemorySocket): void {
    this.sockets.delete(socket)
    this.#awareness.delete(socket)
  }

  #question(): Uint8Array {
    return encoding.encode(encoder => {
      encoding.writeVarUint(encoder, SYNC)
      sync.writeSyncStep1(encoder, this.doc)
    })
  }
}

/** The client's end of a connection to a [MemoryServer]. */
class MemorySocket {
  readonly OPEN = 1
  binaryType = 'arraybuffer'
  readyState = 0
  onopen: (() => void) | null = null
  onclose: ((event: unknown) => void) | null = null
  onerror: ((event: unknown) => void) | null = null
  onmessage: ((event: { data: ArrayBufferLike }) => void) | null = null
  readonly #server: MemoryServer

  constructor(server: MemoryServer, url: string, protocols: readonly string[] = []) {
    this.#server = server
    server.urls.push(url)
    server.tokens.push(protocols.find(protocol => protocol.startsWith('token.'))?.slice('token.'.length))
    setTimeout(() => {
      if (this.readyState !== 0) return
      if (!server.isReachable) return this.end(1006)
      this.readyState = 1
      this.onopen?.()
      server.opened(this)
    })
  }

  send(frame: Uint8Array): void {
    const copy = frame.slice()
    queueMicrotask(() => { if (this.readyState === 1) this.#server.received(this, copy) })
  }

  close(): void {
    // What was sent before goes out first, and the server hears of the end after it.
    queueMicrotask(() => {
      this.readyState = 3
      this.#server.left(this)
    })
  }

  receive(frame: Uint8Array): void {
    const { buffer } = frame.slice()
    queueMicrotask(() => { if (this.readyState === 1) this.onmessage?.({ data: buffer }) })
  }

  end(code: number, reason = ''): void {
    this.readyState = 3
    this.#server.left(this)
    this.onclose?.({ code, reason })
  }
}
