import { Awareness } from 'y-protocols/awareness'
import * as Y from 'yjs'
import type { WebsocketProvider } from 'y-websocket'
import { type Access, Connection, type Refusal, type SaveState, type Status, type Token } from './connection.js'
import { Follow } from './follow.js'
import type { Json } from './json.js'
import { Locks } from './locks.js'
import { ReadOnlyError } from './model/edit.js'
import { LayoutModel } from './model/layout.js'
import { type PrivateStorage, ScopedModel } from './model/scoped.js'
import { TablesModel } from './model/tables.js'
import { WidgetsModel } from './model/widgets.js'
import { Persistence } from './persistence.js'
import { Presence, type User } from './presence.js'
import { type Readable, Signal } from './readable.js'
import { Undo } from './undo.js'

/** What narrows down the data that a dashboard shows. */
export interface Filters {
  readonly dateRange: { readonly from: string, readonly to: string } | string
  readonly projects: readonly string[]
  readonly agents: readonly string[]
  readonly [key: string]: Json
}

/** How a dashboard is shown. */
export interface Preferences {
  /** Seconds. */
  readonly refreshInterval: number
  readonly compactMode: boolean
  readonly theme: 'light' | 'dark' | 'system'
  readonly [key: string]: Json
}

/** What is said about the dashboard as a whole. */
export interface Meta {
  readonly title: string
  readonly [key: string]: Json
}

/** @internal */
export interface DashboardOptions {
  readonly id: string
  readonly base: string
  readonly path: string
  readonly token: Token | undefined
  readonly user: Partial<User>
  readonly persist: boolean
  readonly storage: PrivateStorage | null
  readonly batchInterval: number
  readonly WebSocket: () => typeof WebSocket
  readonly onDestroy: () => void
}

/** What an open dashboard has beyond its document. */
interface Live {
  readonly connection: Connection
  readonly awareness: Awareness
  readonly stop: () => void
}

/**
 * One dashboard: its document, the model over it, and everybody who looks at it.
 *
 * It opens nothing before [Dashboard.connect], so it can be made while a page is rendered, on a server too.
 */
export class Dashboard {
  /** `workspace/name` */
  readonly id: string
  /** The Yjs document. Whatever else an application keeps in it merges and is saved as well. */
  readonly doc: Y.Doc
  readonly widgets: WidgetsModel
  readonly layout: LayoutModel
  /** Data that is kept in the document, for widgets to show. */
  readonly tables: TablesModel
  readonly filters: ScopedModel<Filters>
  readonly preferences: ScopedModel<Preferences>
  readonly meta: ScopedModel<Meta>
  readonly presence: Presence
  readonly locks: Locks
  readonly follow: Follow
  readonly undo: Undo
  readonly status: Readable<Status>
  readonly saveState: Readable<SaveState>
  readonly access: Readable<Access>
  /** Why the server ended the session for good, when it did. */
  readonly refusal: Readable<Refusal | null>
  /** Why `saveState` is `refused`, in the server's words, which name the limit; `null` where it is not, or where the server did not say. */
  readonly saveRefusal: Readable<string | null>
  /** Whether this browser keeps what is not saved yet; else it is lost with the tab. */
  readonly isKept: Readable<boolean>

  /** Resolves when the document is there: from the server, or from this browser. */
  readonly ready: Promise<void>

  readonly #options: DashboardOptions
  /** The origin of this client's own edits. */
  readonly #origin = { client: 'ydash' }
  readonly #status = new Signal<Status>('connecting')
  readonly #saveState = new Signal<SaveState>('saved')
  readonly #access = new Signal<Access>('unknown')
  readonly #refusal = new Signal<Refusal | null>(null)
  readonly #saveRefusal = new Signal<string | null>(null)
  readonly #isKept = new Signal(false)
  readonly #awareness = new Signal<Awareness | null>(null)
  #live: Live | null = null
  #becomeReady: () => void = () => {}
  #isDestroyed = false

  /** @internal Made by `client.dashboard(id)`. */
  constructor(options: DashboardOptions) {
    const { id, storage } = options
    this.#options = options
    this.id = id
    this.doc = new Y.Doc()
    const edit = <T>(change: () => T): T => this.edit(change)
    this.layout = new LayoutModel(this.doc, edit)
    this.widgets = new WidgetsModel(this.doc, this.layout, edit)
    this.tables = new TablesModel(this.doc, edit)
    this.filters = new ScopedModel<Filters>(this.doc, 'filters', edit, storage, `ydash:filters:${options.base}:${id}`)
    this.preferences = new ScopedModel<Preferences>(this.doc, 'preferences', edit, storage, `ydash:preferences:${options.base}:${id}`)
    this.meta = new ScopedModel<Meta>(this.doc, 'meta', edit, null, '')
    this.presence = new Presence(this.doc.clientID, options.user)
    this.locks = new Locks(this.presence)
    this.follow = new Follow(this.presence)
    this.undo = new Undo(this.doc, this.#origin)
    this.status = this.#status
    this.saveState = this.#saveState
    this.access = this.#access
    this.refusal = this.#refusal
    this.saveRefusal = this.#saveRefusal
    this.isKept = this.#isKept
    this.ready = new Promise(resolve => { this.#becomeReady = resolve })
  }

  /** Opens the connection, and keeps it open from then on. Does nothing when it is open. */
  connect(): void {
    if (this.#isDestroyed) throw new Error(`dashboard ${this.id} is destroyed`)
    if (this.#live === null) {
      this.#live = this.#open()
      this.#awareness.set(this.#live.awareness)
    }
    this.#live.connection.connect()
  }

  /** Goes offline until [Dashboard.connect]; edits go on, and wait. */
  disconnect(): void {
    this.#live?.connection.disconnect()
  }

  /** y-websocket's provider, for what this package does not cover; `null` before [Dashboard.connect]. */
  get provider(): WebsocketProvider | null {
    return this.#live?.connection.provider ?? null
  }

  /** The awareness, for editor bindings; `null` before [Dashboard.connect]. In React there is `useAwareness`. */
  get awareness(): Awareness | null {
    return this.#awareness.get()
  }

  /** @internal */
  get awarenessOverTime(): Readable<Awareness | null> {
    return this.#awareness
  }

  /**
   * Edits in one transaction: one update, one step of undo.
   *
   * @throws ReadOnlyError when the server has said that this session may only read
   */
  edit<T>(change: () => T): T {
    if (this.#access.get() === 'read-only') throw new ReadOnlyError()
    return this.doc.transact(change, this.#origin)
  }

  /** Whether it is closed for good. The next `client.dashboard(id)` is another one. */
  get isDestroyed(): boolean {
    return this.#isDestroyed
  }

  /** Closes everything. What the browser keeps of the document stays. */
  destroy(): void {
    if (this.#isDestroyed) return
    this.#isDestroyed = true
    this.#live?.stop()
    this.#live = null
    this.#awareness.set(null)
    this.undo.destroy()
    for (const model of [this.widgets, this.layout, this.tables, this.filters, this.preferences, this.meta]) model.destroy()
    this.doc.destroy()
    this.#options.onDestroy()
  }

  #open(): Live {
    const { base, path, token, persist, batchInterval, WebSocket } = this.#options
    const awareness = new Awareness(this.doc)
    const persistence = persist ? new Persistence(`ydash:${base}/${path}`, this.doc) : null
    const connection = new Connection(this.doc, awareness, { base, path, token, batchInterval, persistence, WebSocket: WebSocket() })
    const { status, saveState, access, refusal, saveRefusal } = connection
    const mirror = <T>(from: Readable<T>, to: Signal<T>): void => {
      to.set(from.get())
      from.subscribe(() => { to.set(from.get()) })
    }
    mirror(status, this.#status)
    mirror(saveState, this.#saveState)
    mirror(access, this.#access)
    mirror(refusal, this.#refusal)
    mirror(saveRefusal, this.#saveRefusal)
    if (persistence !== null) mirror(persistence.isKept, this.#isKept)
    status.subscribe(() => { if (status.get() === 'live') this.#becomeReady() })
    void persistence?.loaded.then(() => { if (this.doc.store.clients.size > 0) this.#becomeReady() })
    this.presence.attach(awareness)
    this.filters.open()
    this.preferences.open()
    const hurry = (): void => { connection.hurry() }
    globalThis.addEventListener?.('online', hurry)
    return {
      connection,
      awareness,
      stop: () => {
        globalThis.removeEventListener?.('online', hurry)
        this.presence.detach()
        connection.destroy()
        awareness.destroy()
        void persistence?.destroy()
      }
    }
  }
}
