/** A value that changes: read it at any time, hear of each change. */
export interface Readable<T> {
  /** The value. The same object as before unless something in it changed. */
  get(): T
  /** Calls `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void
}

/** A [Readable] that its owner sets. A listener that throws does not keep the others from hearing. */
export class Signal<T> implements Readable<T> {
  readonly #listeners = new Set<() => void>()
  #value: T

  constructor(value: T) {
    this.#value = value
  }

  readonly get = (): T => this.#value

  readonly subscribe = (listener: () => void): (() => void) => {
    // Wrapped, so that one function subscribed twice is two subscriptions.
    const entry = () => { listener() }
    this.#listeners.add(entry)
    return () => { this.#listeners.delete(entry) }
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return
    this.#value = value
    for (const listener of [...this.#listeners]) {
      try {
        listener()
      } catch (error) {
        reportError(error)
      }
    }
  }
}

function reportError(error: unknown): void {
  // Where there is no event loop to throw into, the console is.
  if (typeof globalThis.reportError === 'function') globalThis.reportError(error)
  else console.error(error)
}
