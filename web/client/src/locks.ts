import { isEqual } from './json.js'
import type { Other, Presence, User } from './presence.js'
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

  readonly #holders = new Signal<Readonly<Record<string, LockHolder>>>({})
  readonly #presence: Presence

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

  /** Claims a widget; says whether it is this client's. When two claim at the same time, the one that loses hears of it. */
  acquire(widget: string): boolean {
    const holder = this.holder(widget)
    if (holder === null) this.#claim(widget)
    return this.holder(widget)?.isSelf === true
  }

  /** Claims a widget that somebody else holds. */
  takeOver(widget: string): void {
    if (this.holder(widget)?.isSelf !== true) this.#claim(widget)
  }

  /** Lets a widget go. */
  release(widget: string): void {
    const { [widget]: claim, ...rest } = this.#presence.self.get().locks
    if (claim !== undefined) this.#presence.setLocks(rest)
  }

  /** Lets everything go. */
  releaseAll(): void {
    this.#presence.setLocks({})
  }

  #claim(widget: string): void {
    const claims = [...this.#presence.others.get(), this.#presence.self.get()].map(({ locks }) => locks[widget] ?? 0)
    this.#presence.setLocks({ ...this.#presence.self.get().locks, [widget]: Math.max(...claims) + 1 })
  }

  #update(): void {
    const self = this.#presence.self.get()
    const winners = new Map<string, { claim: number, by: Pick<Other, 'clientId' | 'user'> }>()
    for (const one of [self, ...this.#presence.others.get()]) {
      for (const [widget, claim] of Object.entries(one.locks)) {
        const best = winners.get(widget)
        if (best === undefined || claim > best.claim || claim === best.claim && one.clientId < best.by.clientId) {
          winners.set(widget, { claim, by: one })
        }
      }
    }
    const before = this.#holders.get()
    const after: Record<string, LockHolder> = {}
    for (const [widget, { by }] of winners) {
      const holder = { clientId: by.clientId, user: by.user, isSelf: by.clientId === self.clientId }
      after[widget] = isEqual(before[widget], holder) ? before[widget] as LockHolder : holder
    }
    const isSame = Object.keys(before).length === winners.size && Object.entries(after).every(([widget, holder]) => before[widget] === holder)
    if (!isSame) this.#holders.set(after)
    // A claim that lost is given up, else it would win again when the winner leaves.
    const lost = Object.keys(self.locks).filter(widget => after[widget]?.isSelf === false)
    if (lost.length > 0) {
      this.#presence.setLocks(Object.fromEntries(Object.entries(self.locks).filter(([widget]) => !lost.includes(widget))))
    }
  }
}
