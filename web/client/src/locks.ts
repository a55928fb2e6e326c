import { keepValues, record } from './json.js'
import type { Presence, User } from './presence.js'
import { type Readable, Signal } from './readable.js'

/** Who holds a widget. */
export interface LockHolder {
  readonly clientId: number
  readonly user: User
  /** Whether that is this client. */
  readonly isSelf: boolean
}

/**
 * Soft locks: everybody sees who is busy with a widget, and who must may take over.
 *
 * A lock is a claim in presence, so it ends with its holder's connection. It forbids nothing: edits merge with or without. The
 * claim with the highest number wins, of equal ones that of the lowest client id; so all clients agree without a clock, and
 * taking over is claiming with a higher number.
 */
export class Locks {
  /** All locks by widget. */
  readonly holders: Readable<Readonly<Record<string, LockHolder>>>

  readonly #holders = new Signal<Readonly<Record<string, LockHolder>>>(record())
  readonly #presence: Presence
  /** How many parts of this client hold a widget: a dialog and a drag may do so at once. */
  readonly #holds = new Map<string, number>()

  constructor(presence: Presence) {
    this.#presence = presence
    this.holders = this.#holders
    presence.others.subscribe(() => { this.#update() })
    presence.self.subscribe(() => { this.#update() })
  }

  /** Who holds a widget, if anybody does. */
  holder(widget: string): LockHolder | null {
    return this.#holders.get()[widget] ?? null
  }

  /**
   * Claims a widget; says whether it is this client's. Each success needs its [Locks.release]. When two claim at the same time,
   * the one that loses hears of it.
   */
  acquire(widget: string): boolean {
    if (this.holder(widget) === null) this.#claim(widget)
    return this.#hold(widget)
  }

  /** Claims a widget whoever holds it; to be released as well. */
  takeOver(widget: string): void {
    if (this.holder(widget)?.isSelf !== true) this.#claim(widget)
    this.#hold(widget)
  }

  /** Lets a widget go, unless another part of this client holds it as well. */
  release(widget: string): void {
    const holds = this.#holds.get(widget) ?? 0
    if (holds > 1) this.#holds.set(widget, holds - 1)
    else this.#drop(widget)
  }

  /** Lets everything go. */
  releaseAll(): void {
    this.#holds.clear()
    this.#presence.setLocks({})
  }

  #hold(widget: string): boolean {
    const isSelf = this.holder(widget)?.isSelf === true
    if (isSelf) this.#holds.set(widget, (this.#holds.get(widget) ?? 0) + 1)
    return isSelf
  }

  #drop(...widgets: string[]): void {
    for (const widget of widgets) this.#holds.delete(widget)
    const claims = Object.entries(this.#presence.self.get().locks)
    this.#presence.setLocks(Object.fromEntries(claims.filter(([widget]) => !widgets.includes(widget))))
  }

  #claim(widget: string): void {
    const self = this.#presence.self.get()
    const claims = [...this.#presence.others.get(), self].map(({ locks }) => Object.hasOwn(locks, widget) ? locks[widget] as number : 0)
    // Beyond it is no claim to the others.
    this.#presence.setLocks({ ...self.locks, [widget]: Math.min(Math.max(...claims) + 1, Number.MAX_SAFE_INTEGER) })
  }

  #update(): void {
    const self = this.#presence.self.get()
    const highest = new Map<string, number>()
    const after = record<LockHolder>()
    for (const { clientId, user, locks } of [self, ...this.#presence.others.get()]) {
      for (const [widget, claim] of Object.entries(locks)) {
        const lead = claim - (highest.get(widget) ?? -Infinity)
        if (lead < 0 || lead === 0 && clientId > (after[widget] as LockHolder).clientId) continue
        highest.set(widget, claim)
        after[widget] = { clientId, user, isSelf: clientId === self.clientId }
      }
    }
    this.#holders.set(keepValues(this.#holders.get(), after))
    // A claim that lost is given up, else it would win again when the winner leaves.
    this.#drop(...Object.keys(self.locks).filter(widget => after[widget]?.isSelf === false))
  }
}
