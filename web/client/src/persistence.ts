import * as idb from 'lib0/indexeddb'
import { IndexeddbPersistence } from 'y-indexeddb'
import type * as Y from 'yjs'

const UNSAVED = 'unsaved:'

/**
 * One document in the browser's IndexedDB, and with it whether all of it was saved.
 *
 * Every tab that has edits which the server has not called durable leaves a mark under its own key. So whoever opens the
 * dashboard later, without a network even, knows whether the browser holds something that the server does not.
 */
export class Persistence {
  /** Resolves when what the browser had is in the document; also when the browser keeps nothing. */
  readonly loaded: Promise<void>

  readonly #opened: Promise<IndexeddbPersistence | null>
  readonly #mark: string
  #provider: IndexeddbPersistence | null = null
  #foreignMarks: string[] = []
  #writes: Promise<unknown> = Promise.resolve()
  #isDestroyed = false

  constructor(name: string, doc: Y.Doc) {
    this.#mark = `${UNSAVED}${doc.clientID}`
    this.#opened = isAvailable(name).then(isThere => {
      if (!isThere || this.#isDestroyed) return null
      this.#provider = new IndexeddbPersistence(name, doc)
      return this.#provider
    })
    this.loaded = this.#opened.then(provider => provider?.whenSynced).then(() => {})
  }

  /** Whether a document's update came from here. */
  isOrigin(origin: unknown): boolean {
    return this.#provider !== null && origin === this.#provider
  }

  /** Whether some tab left edits here that nobody has seen saved. */
  async hasUnsaved(): Promise<boolean> {
    await this.loaded
    const db = await this.#provider?._db
    const store = db && idb.transact(db, ['custom'], 'readonly')[0]
    if (store === undefined) return false
    const keys = await idb.getAllKeys(store)
    this.#foreignMarks = keys.filter((key): key is string => typeof key === 'string' && key.startsWith(UNSAVED) && key !== this.#mark)
    return this.#foreignMarks.length > 0
  }

  /** Leaves this tab's mark, or takes away all that were there when it was opened: what they stood for went out as well. */
  setUnsaved(isUnsaved: boolean): void {
    const gone = isUnsaved ? [] : [this.#mark, ...this.#foreignMarks.splice(0)]
    this.#writes = this.#writes.then(async () => {
      const provider = await this.#opened
      if (isUnsaved) await provider?.set(this.#mark, Date.now())
      for (const mark of gone) await provider?.del(mark)
    }).catch(() => {}) // The database is full or gone: what is in it is sent again with the next handshake, as ever.
  }

  async destroy(): Promise<void> {
    await this.#writes
    this.#isDestroyed = true
    await (await this.#opened)?.destroy()
  }
}

/** Whether the database can be opened. Private windows refuse, and y-indexeddb does not expect them to. */
async function isAvailable(name: string): Promise<boolean> {
  try {
    const db = await idb.openDB(name, db => { idb.createStores(db, [['updates', { autoIncrement: true }], ['custom']]) })
    db.close()
    return true
  } catch {
    return false
  }
}
