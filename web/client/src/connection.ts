import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import type { Awareness } from 'y-protocols/awareness'
import { WebsocketProvider } from 'y-websocket'
import type * as Y from 'yjs'
import type { Persistence } from './persistence.js'
import { type Readable, Signal } from './readable.js'
import { watchingSocket } from './socket.js'

/** Message types beyond the sync protocol's, docs/PROTOCOL.md. */
const AUTH = 2
const DENIED = 0
const TOKEN_WANTED = 1
const AUTHENTICATED = 2
const SYNC_STATUS = 8

/** The token is not taken: only another one would be. */
const UNAUTHENTICATED = 4401

/** What was sent is larger than the server takes. It would be sent again with every connection. */
const MESSAGE_TOO_BIG = 1009

/** What every connection asks for. */
const PARAMS = { acks: '1' }

/** What a subprotocol consists of (RFC 7230, 3.2.6), and so every signed token and every share link. */
const SUBPROTOCOL = /^[\w!#$%&'*+.^`|~-]+$/

/** How long between attempts to get a token, at most. */
const TOKEN_BACKOFF_MAX = 2_500

/**
 * The link to the server.
 *
 * - `connecting`: the first attempt, or what was missed is on its way.
 * - `live`: in sync; edits travel at once.
 * - `offline`: no connection; attempts go on.
 * - `refused`: the server will not serve this dashboard, and attempts have ended. [Dashboard.refusal] says why.
 */
export type Status = 'connecting' | 'live' | 'offline' | 'refused'

/**
 * What has become of this client's edits.
 *
 * - `saved`: the server has said that all of them are durable. A crash loses nothing.
 * - `saving`: on their way.
 * - `offline-changes`: some are only here (and in IndexedDB), and go out with the next connection.
 * - `refused`: the server took some of them not: the session may only read, or a limit was reached. They are only here, and
 *   [Dashboard.saveRefusal] says why.
 */
export type SaveState = 'saved' | 'saving' | 'offline-changes' | 'refused'

/** What the session may do, once the server has said so. */
export type Access = 'unknown' | 'read-write' | 'read-only'

/** Why the server ended the session for good. */
export interface Refusal {
  readonly code: number
  readonly reason: string
}

/**
 * A token, or how to get one: asked before every connection, and when the one that the session has ends soon. So it may expire, and the
 * session goes on.
 */
export type Token = string | (() => string | Promise<string>)

export interface ConnectionOptions {
  /** Everything before the dashboard's name: `wss://host/ws/acme`. */
  readonly base: string
  /** The dashboard's name as it stands in the URL. */
  readonly path: string
  readonly token: Token | undefined
  readonly WebSocket: typeof WebSocket
  readonly batchInterval: number
  readonly persistence: Persistence | null
}

/** One document's connection: y-websocket's provider, and an account of what the server has made durable. */
export class Connection {
  readonly provider: WebsocketProvider
  readonly status: Readable<Status>
  readonly saveState: Readable<SaveState>
  readonly access: Readable<Access>
  readonly refusal: Readable<Refusal | null>
  readonly saveRefusal: Readable<string | null>

  readonly #status = new Signal<Status>('connecting')
  readonly #saveState = new Signal<SaveState>('saved')
  readonly #access = new Signal<Access>('unknown')
  readonly #refusal = new Signal<Refusal | null>(null)
  readonly #saveRefusal = new Signal<string | null>(null)
  readonly #doc: Y.Doc
  readonly #token: Token | undefined
  readonly #persistence: Persistence | null

  /** Some edit of this client is not known to be durable. */
  #isDirty = false
  /** What other tabs left unsaved in this browser is on its way into the document. */
  #isLoading = false
  /** An edit found no socket: the next handshake brings it. */
  #hasGap = false
  #wasTaken = false
  /** Frames with edits that were handed over, went out, and were answered, on this socket. */
  #batching = false
  #unanswered = 0
  #handshaken = false
  #wasRefused = false
  /** What the server said last about what it does not take, on this socket. */
  #denial: string | null = null
  #isReadOnly = false
  #hasFailed = false
  #isDestroyed = false
  /** There shall be a connection, whatever there is. */
  #isWanted = false
  #isAskingForToken = false
  #tokenAttempts = 0
  /** The server did not take the token that the function gave last. */
  #wasTokenRefused = false
  #tokenTimer: ReturnType<typeof setTimeout> | undefined

  constructor(doc: Y.Doc, awareness: Awareness, options: ConnectionOptions) {
    this.status = this.#status
    this.saveState = this.#saveState
    this.access = this.#access
    this.refusal = this.#refusal
    this.saveRefusal = this.#saveRefusal
    this.#doc = doc
    this.#token = options.token
    this.#persistence = options.persistence
    // Before the provider's own handler, and after it: so it shows whether the provider's socket took the edit.
    doc.on('update', this.#beforeSend)
    this.provider = new WebsocketProvider(options.base, options.path, doc, {
      connect: false,
      awareness,
      params: PARAMS,
      // Tabs of one browser would sync past the server, and then nobody could say what is durable.
      disableBc: true,
      WebSocketPolyfill: watchingSocket(options.WebSocket, {
        taken: () => {
          this.#wasTaken = true
          this.#batching = true
        },
        sent: kind => { this.#sent(kind) },
        ownId: () => awareness.clientID
      }, options.batchInterval)
    })
    doc.on('update', this.#afterSend)
    const { provider } = this
    provider.messageHandlers[SYNC_STATUS] = (_, decoder) => {
      this.#answered(decoding.readVarUint(decoder) === 1)
    }
    const denied = provider.messageHandlers[AUTH]
    provider.messageHandlers[AUTH] = (...message) => {
      const [, decoder] = message
      const { pos } = decoder
      const kind = decoding.readVarUint(decoder)
      if (kind === TOKEN_WANTED) void this.#renew()
      else if (kind === AUTHENTICATED) this.#isReadOnly = decoding.readVarString(decoder) === 'readonly'
      else {
        if (kind === DENIED) this.#denial = decoding.readVarString(decoder)
        decoder.pos = pos
        denied?.(...message)
      }
      this.#update()
    }
    provider.on('status', ({ status }) => {
      if (status === 'connected') this.#opened()
      this.#update()
    })
    provider.on('sync', () => { this.#update() })
    provider.on('connection-close', event => {
      if (event?.code === MESSAGE_TOO_BIG) {
        provider.shouldConnect = false
        this.#ended(event)
      }
      this.#closed()
    })
    provider.on('closed', event => {
      // A page that slept for long has an old token, and gets another one. That one is refused for good.
      if (event.code === UNAUTHENTICATED && typeof this.#token === 'function' && !this.#wasTokenRefused && this.#isWanted) {
        this.#wasTokenRefused = true
        this.#connectLater(0)
      } else this.#ended(event)
    })
    void options.persistence?.hasUnsaved.then(async hasUnsaved => {
      if (!hasUnsaved || this.#isDestroyed) return
      this.#isDirty = this.#isLoading = true
      this.#update()
      await options.persistence?.loaded
      this.#isLoading = false
      if (!this.#isDestroyed) this.#update()
    })
  }

  /** Connects, and keeps connected from then on. Does nothing when that is so already. */
  connect(): void {
    if (this.#isWanted) return
    this.#isWanted = true
    this.#refusal.set(null)
    void this.#connect()
  }

  /** Disconnects until [Connection.connect]. */
  disconnect(): void {
    this.#isWanted = false
    this.#stayAway()
    this.#hasFailed = true
    this.provider.disconnect()
    this.#update()
  }

  /** Tries at once, if an attempt is only due later: the network is back. */
  hurry(): void {
    if (this.#isWanted && this.provider.ws === null) void this.#connect()
  }

  destroy(): void {
    this.#isDestroyed = true
    this.disconnect()
    this.#doc.off('update', this.#beforeSend)
    this.#doc.off('update', this.#afterSend)
    this.provider.destroy()
  }

  readonly #beforeSend = (): void => {
    this.#wasTaken = false
  }

  readonly #afterSend = (_: Uint8Array, origin: unknown): void => {
    if (origin === this.provider) return
    if (!this.#wasTaken) this.#hasGap = true
    // What IndexedDB brings was accounted for when it was made.
    if (!this.#persistence?.isOrigin(origin)) this.#setDirty(true)
    this.#update()
  }

  async #connect(): Promise<void> {
    const { provider } = this
    this.#stayAway()
    let token = this.#token
    if (typeof token === 'function') {
      // Whoever asked first connects everybody who came meanwhile.
      if (this.#isAskingForToken) return
      this.#isAskingForToken = true
      try {
        token = await token()
        this.#tokenAttempts = 0
      } catch (error) {
        console.warn('ydash: no token, trying again', error)
        this.#hasFailed = true
        this.#update()
        this.#connectLater(Math.min(2 ** ++this.#tokenAttempts * 100, TOKEN_BACKOFF_MAX))
        return
      } finally {
        this.#isAskingForToken = false
      }
    }
    if (token !== undefined) this.#show(token)
    // A token may take its time; what was wanted then need not be wanted still.
    if (this.#isWanted) provider.connect()
  }

  /** Has the next connection show a token: as a subprotocol, because proxies and servers write addresses into their logs. */
  #show(token: string): void {
    // Any other token is none of ydash's. That is for the server to say, and a browser would throw.
    const fits = SUBPROTOCOL.test(token)
    this.provider.protocols = fits ? ['ydash', `token.${token}`] : []
    this.provider.params = fits ? PARAMS : { ...PARAMS, token }
  }

  /** Gives the session another token before the one that it has ends. One that comes too late is shown with the next connection. */
  async #renew(): Promise<void> {
    if (typeof this.#token !== 'function') return
    const socket = this.provider.ws
    try {
      const token = await this.#token()
      if (socket === null || socket !== this.provider.ws || socket.readyState !== socket.OPEN) return
      const encoder = encoding.createEncoder()
      encoding.writeVarUint(encoder, AUTH)
      encoding.writeVarUint(encoder, 0)
      encoding.writeVarString(encoder, token)
      socket.send(encoding.toUint8Array(encoder))
    } catch (error) {
      console.warn('ydash: no new token', error)
    }
  }

  #connectLater(delay: number): void {
    if (!this.#isWanted) return
    this.#stayAway()
    this.#tokenTimer = setTimeout(() => { void this.#connect() }, delay)
  }

  /** Forgets the attempt that is due later. */
  #stayAway(): void {
    clearTimeout(this.#tokenTimer)
  }

  #opened(): void {
    this.#unanswered = 0
    this.#batching = false
    this.#handshaken = false
    this.#wasRefused = false
    this.#denial = null
    this.#isReadOnly = false
    // The SyncStep2 of this connection holds whatever found no socket before.
    this.#hasGap = false
  }

  /** For good: coming back would heal nothing. */
  #ended({ code, reason }: Refusal): void {
    this.#isWanted = false
    this.#refusal.set({ code, reason })
    this.#update()
  }

  #closed(): void {
    this.#hasFailed = true
    this.#handshaken = false
    const { provider } = this
    if (typeof this.#token === 'function' && this.#isWanted) {
      // The provider would come back with the token that it has. This is its own backoff, with a fresh one.
      provider.shouldConnect = false
      const delay = Math.min(2 ** (provider.wsUnsuccessfulReconnects + 1) * 100, provider.maxBackoffTime)
      // Not before the provider has said whether the server refuses: then there is nothing to come back for.
      queueMicrotask(() => { this.#connectLater(delay) })
    }
    // Told to the listeners when the provider has settled.
    queueMicrotask(() => { if (!this.#isDestroyed) this.#update() })
  }

  #sent(kind: 'difference' | 'update'): void {
    this.#batching = false
    this.#unanswered++
    if (kind === 'difference') {
      this.#handshaken = true
      // It holds whatever was refused before. If it is refused as well, its own answer says so.
      this.#wasRefused = false
    }
    this.#update()
  }

  #answered(isSaved: boolean): void {
    if (this.#unanswered > 0) this.#unanswered--
    this.#wasRefused ||= !isSaved
    this.#update()
  }

  #setDirty(isDirty: boolean): void {
    if (!this.#isDirty && !isDirty) return
    this.#isDirty = isDirty
    this.#persistence?.setUnsaved(isDirty)
  }

  #update(): void {
    const { provider } = this
    const isOpen = provider.wsconnected && this.#refusal.get() === null
    const isSettled = isOpen && provider.synced && this.#handshaken && !this.#hasGap && !this.#batching && this.#unanswered === 0
    if (isSettled && !this.#isLoading && !this.#wasRefused) this.#setDirty(false)
    if (provider.synced) this.#hasFailed = this.#wasTokenRefused = false
    // A session that may only read is told so before anything else.
    if (provider.synced) this.#access.set(this.#isReadOnly ? 'read-only' : 'read-write')

    if (this.#refusal.get() !== null) this.#status.set('refused')
    else if (provider.synced) this.#status.set('live')
    else this.#status.set(isOpen || !this.#hasFailed ? 'connecting' : 'offline')

    if (!this.#isDirty) this.#saveState.set('saved')
    else if (!isOpen || this.#hasGap) this.#saveState.set('offline-changes')
    else if (this.#wasRefused && this.#unanswered === 0) this.#saveState.set('refused')
    else this.#saveState.set('saving')
    this.#saveRefusal.set(this.#saveState.get() === 'refused' ? this.#denial : null)
  }
}
