import { get, inPath, type LogEntry } from './api.js'

/** Entries that are kept. */
const ENTRIES_MAX = 200
/** Entries of one answer, `src/inspect.rs`. */
const ANSWER = 100
/** So many full answers in a row are read; a room that writes faster than that is looked at from its end. */
const ANSWERS_MAX = 5
const PERIOD = 1_000
/** How often it is asked for while somebody waits for an entry: it is told of when it is durable. */
const PERIOD_AWAITED = 100

/** The end of a dashboard's log, as it grows. */
export class LogTail {
  /** Oldest first. */
  entries: readonly LogEntry[] = []
  /** Positions of entries before which some were left out. */
  readonly gaps = new Set<string>()
  readonly #path: string
  readonly #onEntries: (added: readonly LogEntry[], isFirst: boolean) => void
  readonly #isAwaited: () => boolean
  #timer: ReturnType<typeof setTimeout> | undefined
  #isOver = false

  /** Calls `onEntries` with what was added; while something `isAwaited` it asks more often. */
  constructor(dashboard: string, onEntries: (added: readonly LogEntry[], isFirst: boolean) => void, isAwaited: () => boolean) {
    this.#path = `inspector/log/${inPath(dashboard)}`
    this.#onEntries = onEntries
    this.#isAwaited = isAwaited
    void this.#ask()
  }

  /** Asks soon: an entry is due. */
  hurry(): void {
    if (this.#timer !== undefined) this.#schedule()
  }

  destroy(): void {
    this.#isOver = true
    clearTimeout(this.#timer)
  }

  async #ask(): Promise<void> {
    this.#timer = undefined
    for (let answer = 0, isFull = true; isFull && !document.hidden && !this.#isOver; answer++) {
      const last = this.entries.at(-1)?.position
      const isTail = last === undefined || answer === ANSWERS_MAX
      const found = await get<LogEntry[]>(isTail ? this.#path : `${this.#path}?after=${last}`).catch(() => null)
      if (this.#isOver || found === null) break
      this.#take(found, last, isTail)
      isFull = !isTail && found.length >= ANSWER
    }
    if (!this.#isOver) this.#schedule()
  }

  #take(found: readonly LogEntry[], last: string | undefined, isTail: boolean): void {
    const added = last === undefined ? found : found.filter(({ position }) => BigInt(position) > BigInt(last))
    const first = added[0]
    if (first === undefined) return
    // The end, and nothing in it is known: there was more in between.
    if (isTail && last !== undefined && added.length === found.length) this.gaps.add(first.position)
    this.entries = [...this.entries, ...added].slice(-ENTRIES_MAX)
    for (const position of this.gaps) if (!this.entries.some(entry => entry.position === position)) this.gaps.delete(position)
    this.#onEntries(added, last === undefined)
  }

  #schedule(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => { void this.#ask() }, this.#isAwaited() ? PERIOD_AWAITED : PERIOD)
  }
}
