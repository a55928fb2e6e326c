import * as idb from 'lib0/indexeddb'
import { IndexeddbPersistence } from 'y-indexeddb'
import type * as Y from 'yjs'
import { type Readable, Signal } from './readable.js'

const UNSAVED = 'unsaved:'

/**
 * One document in the browser's IndexedDB, and with it whether all of it was saved.
 *
 * Every tab that has edits which the server has not called durable leaves a mark under its own key, another one with every edit. So
 * whoever opens the dashboard later, without a network even, knows whether the browser holds something that the server does not; and
 * takes away only marks that stand for what it has read itself.
 */
export class Persistence {
  /** Resolves when what the browser had is in the document; also when the browser keeps nothing. */
  readonly loaded: Promise<void>
  /** Whether some tab had left edits here that nobody has seen saved; known before they are loaded. */
  readonly hasUnsaved: Promise<boolean>
  /** Whether the browser keeps what is edited, as far as it has said: it may take its time, refuse, or be full. */
  readonly isKept: Readable<boolean>

  readonly #isKept = new Signal(false)
  readonly #opened: Promise<IndexeddbPersistence | null>
  readonly #mark: string
  #provider: IndexeddbPersistence | null = null
  /** The marks of other tabs that stood for what was loaded. */
  #marks: [key: string, value: unknown][] = []
  #next: boolean | null = null
  #writes: Promise<void> | null = null
  #isDestroyed = false

  constructor(name: string, doc: Y.Doc) {
    this.isKept = this.#isKept
    this.#mark = `${UNSAVED}${doc.clientID}`
    this.#opened = readMarks(name).then(marks => {
      if (this.#isDestroyed) return null
      this.#marks = marks
      this.#isKept.set(true)
      const provider = this.#provider = new IndexeddbPersistence(name, doc)
      // A database that the user had cleared meanwhile throws, and would throw out of every edit.
      const store = provider._storeUpdate
      doc.off('update', store)
      doc.on('update', provider._storeUpdate = (update, origin) => {
        try {
          store(update, origin)
        } catch {
          this.#isKept.set(false)
        }
      })
      return provider
    }).catch(() => null)
    this.hasUnsaved = this.#opened.then(() => this.#marks.length > 0)
    this.loaded = this.#opened.then(provider => provider?.whenSynced).then(() => {})
  }

  /** Whether a document's update came from here. */
  isOrigin(origin: unknown): boolean {
    return this.#provider !== null && origin === this.#provider
  }

  /** Leaves another mark of this tab, or takes away its own and those that were there when it was opened: what they stood for went out as well. */
  setUnsaved(isUnsaved: boolean): void {
    this.#next = isUnsaved
    this.#writes ??= this.#write()
  }

  async destroy(): Promise<void> {
    await this.#writes
    this.#isDestroyed = true
    await (await this.#opened)?.destroy()
  }

  async #write(): Promise<void> {
    const db = await (await this.#opened)?._db
    while (this.#next !== null) {
      const isUnsaved = this.#next
      this.#next = null
      if (db === undefined) continue
      try {
        const [store] = idb.transact(db, ['custom']) as [IDBObjectStore]
        if (isUnsaved) {
          await idb.put(store, Math.random(), this.#mark)
        } else {
          await idb.del(store, this.#mark)
          for (const [key, value] of this.#marks.splice(0)) if (await idb.get(store, key) === value) await idb.del(store, key)
        }
        this.#isKept.set(true)
      } catch {
        // The database is full or gone: what is in it is sent again with the next handshake, as ever.
        this.#isKept.set(false)
      }
    }
    this.#writes = null
  }
}

/** The marks in a database. Throws where there can be none: private windows refuse, and y-indexeddb does not expect them to. */
async function readMarks(name: string): Promise<[string, unknown][]> {
  const db = await idb.openDB(name, db => { idb.createStores(db, [['updates', { autoIncrement: true }], ['custom']]) })
  const marks: [string, unknown][] = []
  try {
    // Both, as a database of another origin need not have them.
    const [store] = idb.transact(db, ['custom', 'updates'], 'readonly') as [IDBObjectStore]
    await idb.iterate(store, null, (value, key) => { if (String(key).startsWith(UNSAVED)) marks.push([String(key), value]) })
  } finally {
    db.close()
  }
  return marks
}
