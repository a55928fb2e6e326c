import * as Y from 'yjs'
import { keepIdentity } from './json.js'
import { type Readable, Signal } from './readable.js'

/** Which way one can go. */
export interface UndoState {
  readonly canUndo: boolean
  readonly canRedo: boolean
}

/** Edits that follow each other within this many milliseconds are one step. */
const CAPTURE_TIMEOUT = 500

/** Undo and redo of what this client did. What others did in between stays. */
export class Undo {
  /** Whether there is something to undo and to redo. */
  readonly state: Readable<UndoState>
  /** Yjs' own manager, for editors that want it (`yUndoPlugin({ undoManager })`). */
  readonly manager: Y.UndoManager

  readonly #state = new Signal<UndoState>({ canUndo: false, canRedo: false })

  constructor(doc: Y.Doc, origin: object) {
    this.state = this.#state
    this.manager = new Y.UndoManager(doc, {
      trackedOrigins: new Set([origin]),
      captureTimeout: CAPTURE_TIMEOUT,
      // An editor's transactions are often empty. Such a step would undo nothing, and end what can be done again.
      captureTransaction: transaction => transaction.changed.size > 0
    })
    for (const event of ['stack-item-added', 'stack-item-popped', 'stack-cleared'] as const) {
      this.manager.on(event, this.#update)
    }
  }

  /** Takes back this client's last step. */
  undo(): void {
    this.manager.undo()
  }

  /** Does again what was taken back. */
  redo(): void {
    this.manager.redo()
  }

  /** The next edit begins a step of its own. */
  cut(): void {
    this.manager.stopCapturing()
  }

  /**
   * Begins one step that lasts, however long, until the returned function is called: a drag, a dialog. Called with `true` it takes
   * back what was done within, and nothing else: a drag that came to nothing leaves the step before it alone.
   */
  begin(): (isCancelled?: boolean) => void {
    const { manager } = this
    manager.stopCapturing()
    manager.captureTimeout = Infinity
    const before = new Set(manager.undoStack)
    return isCancelled => {
      manager.captureTimeout = CAPTURE_TIMEOUT
      manager.stopCapturing()
      if (isCancelled !== true) return
      // Apart from the others: Yjs goes on to the next step when one has nothing left to take back, as when a widget is gone.
      const kept = manager.undoStack.filter(step => before.has(step))
      manager.undoStack = manager.undoStack.filter(step => !before.has(step))
      while (manager.undoStack.length > 0) manager.undo()
      manager.undoStack = kept
      this.#update()
    }
  }

  /** Also undoes edits with this transaction origin, such as an editor's. */
  track(origin: unknown): void {
    this.manager.addTrackedOrigin(origin)
  }

  destroy(): void {
    this.manager.destroy()
  }

  readonly #update = (): void => {
    this.#state.set(keepIdentity(this.#state.get(), { canUndo: this.manager.canUndo(), canRedo: this.manager.canRedo() }))
  }
}
