/** A value that changes: read it at any time, hear of each change. */
export interface Readable<T> {
  /** The value. The same object as before unless something in it changed. */
  get(): T
  /** Calls `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void
}

/** A set of listeners. One that throws does not keep the others from hearing. */
export class Listeners {
  readonly #listeners = new Set<() => void>()

  readonly subscribe = (listener: () => void): (() => void) => {
    // Wrapped, so that one function subscribed twice is two subscriptions.
    const entry = () => { listener() }
    this.#listeners.add(entry)
    return () => { this.#listeners.delete(entry) }
  }

  notify(): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener()
      } catch (error) {
        reportError(error)
      }
    }
  }
}

/** A [Readable] that its owner sets. */
export class Signal<T> implements Readable<T> {
  readonly #listeners = new Listeners()
  #value: T

  constructor(value: T) {
    this.#value = value
  }

  readonly get = (): T => this.#value

  readonly subscribe = (listener: () => void): (() => void) => this.#listeners.subscribe(listener)

  set(value: T): void {
    if (Object.is(value, this.#value)) return
    this.#value = value
    this.#listeners.notify()
  }
}

function reportError(error: unknown): void {
  // Where there is no event loop to throw into, the console is.
  if (typeof globalThis.reportError === 'function') globalThis.reportError(error)
  else console.error(error)
}
