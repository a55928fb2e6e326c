import type { Awareness } from 'y-protocols/awareness'
import { type Json, isEqual, isObject, keepIdentity, keepValues, toJson } from './json.js'
import { type Readable, Signal } from './readable.js'

/** Who somebody is, as they say. Only the server's word, where it is known, is verified. */
export interface User {
  readonly name: string
  /** `#rrggbb` */
  readonly color: string
  /** The application's id of this user, if it gave one. */
  readonly id?: string
}

/** A pointer in coordinates of the application's choice: fractions of the canvas survive different window sizes. */
export interface Cursor {
  readonly x: number
  readonly y: number
  /** What `x` and `y` are relative to, such as a widget's id. */
  readonly area?: string
}

/** Somebody else on the dashboard. */
export interface Other {
  /** One browser tab, or one device. */
  readonly clientId: number
  readonly user: User
  /** The widget that is selected there. */
  readonly selection: string | null
  /** Widgets that are locked there, with the strength of each claim. */
  readonly locks: Readonly<Record<string, number>>
  /** Whom they follow. */
  readonly following: number | null
  /** What they look at, in the application's words. */
  readonly view: Json
  /** Whatever else the application announces. */
  readonly extra: Readonly<Record<string, Json>>
}

/** A cursor and whose it is. */
export interface OtherCursor extends Cursor {
  readonly clientId: number
  readonly user: User
}

/** What this client announces of itself. */
export interface Self {
  readonly clientId: number
  readonly user: User
  readonly selection: string | null
  readonly locks: Readonly<Record<string, number>>
  readonly following: number | null
  readonly view: Json
  readonly extra: Readonly<Record<string, Json>>
}

/** Colours with enough contrast under white text. */
export const COLORS = ['#b91c1c', '#c2410c', '#a16207', '#4d7c0f', '#047857', '#0e7490', '#1d4ed8', '#6d28d9', '#a21caf', '#be123c'] as const

const NAME_MAX = 64
// `cursor` is the caret that editor bindings announce (y-prosemirror, Tiptap, y-codemirror): theirs, and it moves often.
const KNOWN = new Set(['user', 'pointer', 'cursor', 'selection', 'locks', 'following', 'view'])

/**
 * Everybody who looks at the dashboard.
 *
 * What changes with every move of a pointer ([Presence.cursors]) is apart from what does not ([Presence.others]), so that a list
 * of avatars is not drawn sixty times a second.
 */
export class Presence {
  readonly self: Readable<Self>
  readonly others: Readable<readonly Other[]>
  readonly cursors: Readable<readonly OtherCursor[]>

  readonly #self: Signal<Self>
  readonly #others = new Signal<readonly Other[]>([])
  readonly #cursors = new Signal<readonly OtherCursor[]>([])
  readonly #clientId: number
  #awareness: Awareness | null = null
  #cursor: Cursor | null = null
  #pending = new Map<string, unknown>()
  #frame: { cancel: () => void } | null = null

  constructor(clientId: number, user: Partial<User>) {
    this.#clientId = clientId
    this.#self = new Signal<Self>({
      clientId,
      user: complete(user, clientId),
      selection: null,
      locks: {},
      following: null,
      view: null,
      extra: {}
    })
    this.self = this.#self
    this.others = this.#others
    this.cursors = this.#cursors
  }

  /** Says who this is. */
  setUser(user: Partial<User>): void {
    this.#set('user', complete({ ...this.#self.get().user, ...user }, this.#clientId))
  }

  /** Moves this client's pointer; `null` when it left. At most one message per frame goes out, the last position always. */
  setCursor(cursor: Cursor | null): void {
    if (isEqual(cursor, this.#cursor)) return
    this.#cursor = cursor
    this.#pending.set('pointer', cursor)
    this.#schedule()
  }

  /** Says which widget is selected here. */
  setSelection(widget: string | null): void {
    this.#set('selection', widget)
  }

  /** Says what is looked at here, for those who follow. At most one message per frame. */
  setView(view: Json): void {
    if (isEqual(view, this.#self.get().view)) return
    this.#self.set({ ...this.#self.get(), view })
    this.#pending.set('view', view)
    this.#schedule()
  }

  /** Announces something of the application's own under `key`; `undefined` takes it back. */
  setExtra(key: string, value: Json | undefined): void {
    if (KNOWN.has(key)) throw new TypeError(`${key} has a method of its own`)
    const extra: Record<string, Json> = { ...this.#self.get().extra }
    if (value === undefined) delete extra[key]
    else extra[key] = value
    if (isEqual(extra, this.#self.get().extra)) return
    this.#self.set({ ...this.#self.get(), extra })
    this.#send(key, value)
  }

  /** @internal */
  setLocks(locks: Readonly<Record<string, number>>): void {
    this.#set('locks', locks)
  }

  /** @internal */
  setFollowing(following: number | null): void {
    this.#set('following', following)
  }

  /** @internal */
  attach(awareness: Awareness): void {
    this.#awareness = awareness
    const { user, selection, locks, following, view, extra } = this.#self.get()
    // What somebody else has set already, such as an editor its caret, stays.
    awareness.setLocalState({ ...awareness.getLocalState(), ...extra, user, selection, locks, following, view, pointer: this.#cursor })
    awareness.on('change', this.#read)
    this.#read()
  }

  /** @internal */
  detach(): void {
    this.#frame?.cancel()
    this.#frame = null
    this.#awareness?.off('change', this.#read)
    this.#awareness = null
    this.#others.set([])
    this.#cursors.set([])
  }

  #set(key: 'user' | 'selection' | 'locks' | 'following', value: unknown): void {
    const self = this.#self.get()
    if (isEqual(self[key], value)) return
    this.#self.set({ ...self, [key]: value })
    this.#send(key, value)
  }

  #send(key: string, value: unknown): void {
    this.#pending.set(key, value)
    this.#flush()
  }

  #schedule(): void {
    this.#frame ??= nextFrame(() => {
      this.#frame = null
      this.#flush()
    })
  }

  #flush(): void {
    const pending = this.#pending
    this.#pending = new Map()
    const state = this.#awareness?.getLocalState()
    // What is `undefined` is not there for the others: it is sent as JSON.
    if (state) this.#awareness?.setLocalState({ ...state, ...Object.fromEntries(pending) })
  }

  readonly #read = (): void => {
    const awareness = this.#awareness
    if (awareness === null) return
    const known = new Map(this.#others.get().map(other => [other.clientId, other]))
    const cursorOf = new Map(this.#cursors.get().map(cursor => [cursor.clientId, cursor]))
    const others: Other[] = []
    const cursors: OtherCursor[] = []
    const states = [...awareness.getStates()].filter(([id]) => id !== awareness.clientID).sort(([a], [b]) => a - b)
    for (const [clientId, state] of states) {
      // Connected, but nobody who shows itself: a bot, or a client that is about to.
      if (!isObject(state.user)) continue
      const before = known.get(clientId)
      const user = keepIdentity(before?.user, complete(state.user, clientId)) as User
      const other: Other = {
        clientId,
        user,
        selection: typeof state.selection === 'string' ? state.selection : null,
        locks: claims(state.locks),
        following: typeof state.following === 'number' ? state.following : null,
        view: toJson(state.view) ?? null,
        extra: Object.fromEntries(Object.entries(state).filter(([key]) => !KNOWN.has(key))) as Record<string, Json>
      }
      others.push(before === undefined ? other : keepValues(before as never, other as never) as never)
      const cursor = point(state.pointer)
      if (cursor !== null) {
        const shown = { ...cursor, clientId, user }
        cursors.push(keepIdentity(cursorOf.get(clientId), shown) as OtherCursor)
      }
    }
    this.#others.set(sameList(this.#others.get(), others))
    this.#cursors.set(sameList(this.#cursors.get(), cursors))
  }
}

function sameList<T>(before: readonly T[], after: readonly T[]): readonly T[] {
  return before.length === after.length && after.every((value, at) => value === before[at]) ? before : after
}

/** A user that can be shown: what others announce is not to be trusted. */
function complete(user: { name?: unknown, color?: unknown, id?: unknown }, clientId: number): User {
  const name = typeof user.name === 'string' && user.name.trim() !== '' ? user.name.trim().slice(0, NAME_MAX) : 'Guest'
  const color = typeof user.color === 'string' && /^#[0-9a-f]{6}$/i.test(user.color) ? user.color : COLORS[clientId % COLORS.length] as string
  return typeof user.id === 'string' ? { name, color, id: user.id } : { name, color }
}

function point(value: unknown): Cursor | null {
  if (!isObject(value) || !Number.isFinite(value.x) || !Number.isFinite(value.y)) return null
  const { x, y, area } = value as { x: number, y: number, area?: unknown }
  return typeof area === 'string' ? { x, y, area } : { x, y }
}

function claims(value: unknown): Record<string, number> {
  if (!isObject(value)) return {}
  return Object.fromEntries(Object.entries(value).filter((entry): entry is [string, number] => Number.isSafeInteger(entry[1])))
}

/** A frame where there are frames, else their usual length; and soon, also when the tab is hidden before the frame comes. */
function nextFrame(run: () => void): { cancel: () => void } {
  // No frames come in a hidden tab, and what it announces counts all the same.
  const frame = typeof requestAnimationFrame === 'function' && !(typeof document === 'object' && document.hidden)
    ? requestAnimationFrame(() => { end(run) })
    : null
  const timer = setTimeout(() => { end(run) }, frame === null ? 16 : 100)
  const end = (then?: () => void): void => {
    clearTimeout(timer)
    if (frame !== null) cancelAnimationFrame(frame)
    then?.()
  }
  return { cancel: end }
}
