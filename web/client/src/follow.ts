import type { Json } from './json.js'
import type { Other, Presence } from './presence.js'
import { type Readable, Signal } from './readable.js'

/** Seeing what somebody else sees: their view, as [Presence.setView] announces it, again and again. */
export class Follow {
  /** Who is followed. */
  readonly target: Readable<Other | null>
  /** What the one who is followed looks at. */
  readonly view: Readable<Json>
  /** Who follows this client. */
  readonly followers: Readable<readonly Other[]>

  readonly #target = new Signal<Other | null>(null)
  readonly #view = new Signal<Json>(null)
  readonly #followers = new Signal<readonly Other[]>([])
  readonly #presence: Presence

  constructor(presence: Presence) {
    this.#presence = presence
    this.target = this.#target
    this.view = this.#view
    this.followers = this.#followers
    presence.others.subscribe(() => { this.#update() })
    presence.self.subscribe(() => { this.#update() })
  }

  /** Follows somebody, until they leave or [Follow.stop]. Those who follow each other in a circle would never come to rest, so one lets go. */
  start(clientId: number): void {
    if (this.#presence.others.get().some(other => other.clientId === clientId)) this.#presence.setFollowing(clientId)
  }

  /** Goes one's own way again. */
  stop(): void {
    this.#presence.setFollowing(null)
  }

  #update(): void {
    const { clientId, following } = this.#presence.self.get()
    const others = this.#presence.others.get()
    const target = others.find(other => other.clientId === following) ?? null
    const followers = others.filter(other => other.following === clientId)
    const before = this.#followers.get()
    if (followers.length !== before.length || followers.some((one, at) => one.clientId !== before[at]?.clientId)) this.#followers.set(followers)
    // They left, or whom they follow comes back to this client: of all who follow each other round, the one with the highest id lets go.
    const round = [target]
    while (round.length <= others.length && round[0] && round[0].following !== clientId) {
      round.unshift(others.find(other => other.clientId === round[0]?.following) ?? null)
    }
    const isRound = round[0]?.following === clientId
    if (following !== null && (target === null || isRound && round.every(one => clientId > (one as Other).clientId))) return this.stop()
    this.#view.set(target?.view ?? null)
    if (target?.clientId !== this.#target.get()?.clientId || target?.user !== this.#target.get()?.user) this.#target.set(target)
  }
}
