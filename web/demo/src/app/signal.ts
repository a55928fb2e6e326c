import type { Readable } from '@ydash/client'

/** A value of this page that changes. */
export class Signal<T> implements Readable<T> {
  readonly #listeners = new Set<() => void>()
  #value: T

  constructor(value: T) {
    this.#value = value
  }

  readonly get = (): T => this.#value

  readonly subscribe = (listener: () => void): (() => void) => {
    const entry = (): void => { listener() }
    this.#listeners.add(entry)
    return () => { this.#listeners.delete(entry) }
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return
    this.#value = value
    for (const listener of [...this.#listeners]) listener()
  }
}
