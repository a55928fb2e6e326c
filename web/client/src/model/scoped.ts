import type * as Y from 'yjs'
import { type Json, isEqual, isObject, keepIdentity, keepValues, patchMap, record, toJson } from '../json.js'
import { type Readable, Signal } from '../readable.js'
import type { Edit } from './edit.js'

/** Where private values are kept: this browser's storage, or whatever an application has. */
export interface PrivateStorage {
  getItem(key: string): string | null
  setItem(key: string, value: string): void
  removeItem(key: string): void
}

/** Values by key. */
export type Values = Readonly<Record<string, Json>>

/** What to set by key; `undefined` removes a key. */
export type ValuesPatch<T> = { readonly [K in keyof T]?: T[K] | undefined }

/**
 * Values that everybody shares, over which everybody may lay their own: filters, preferences.
 *
 * Shared ones are a map in the document. Private ones stay in this browser, are the same in all of its tabs, and can be
 * promoted to shared ones.
 */
export class ScopedModel<T extends object = Values> {
  /** What everybody has. */
  readonly shared: Readable<Readonly<Partial<T>>>
  /** What is laid over it here. */
  readonly private: Readable<Readonly<Partial<T>>>
  /** Both together: what is to be shown. */
  readonly effective: Readable<Readonly<Partial<T>>>

  readonly #shared = new Signal<Values>({})
  readonly #private = new Signal<Values>({})
  readonly #effective = new Signal<Values>({})
  readonly #map: Y.Map<unknown>
  readonly #edit: Edit
  readonly #storage: PrivateStorage | null
  readonly #storageKey: string

  constructor(doc: Y.Doc, name: string, edit: Edit, storage: PrivateStorage | null, storageKey: string) {
    this.shared = this.#shared as never
    this.private = this.#private as never
    this.effective = this.#effective as never
    this.#map = doc.getMap(name)
    this.#edit = edit
    this.#storage = storage
    this.#storageKey = storageKey
    this.#map.observeDeep(this.#readShared)
    this.#readShared()
  }

  /** @internal Reads what is private here: not before the page is shown, which a server may have rendered without it. */
  open(): void {
    this.#readPrivate()
    globalThis.addEventListener?.('storage', this.#stored)
  }

  /** Sets shared values. */
  set(patch: ValuesPatch<T>): void {
    this.#edit(() => { patchMap(this.#map, patch as never) })
  }

  /** Sets private values; `undefined` shows the shared one again. */
  setPrivate(patch: ValuesPatch<T>): void {
    const next = record(this.#private.get())
    for (const [key, value] of Object.entries(patch as Record<string, Json | undefined>)) {
      if (value === undefined) delete next[key]
      else next[key] = value
    }
    this.#setPrivate(next)
  }

  /** Makes private values everybody's: all of them, or those under `keys`. */
  promote(...keys: (keyof T & string)[]): void {
    const promoted = Object.entries(this.#private.get()).filter(([key]) => keys.length === 0 || keys.includes(key as never))
    this.#edit(() => { patchMap(this.#map, Object.fromEntries(promoted)) })
    this.reset(...keys)
  }

  /** Forgets private values: all of them, or those under `keys`. */
  reset(...keys: (keyof T & string)[]): void {
    const kept = Object.entries(this.#private.get()).filter(([key]) => keys.length > 0 && !keys.includes(key as never))
    this.#setPrivate(Object.fromEntries(kept))
  }

  /** @internal */
  destroy(): void {
    this.#map.unobserveDeep(this.#readShared)
    globalThis.removeEventListener?.('storage', this.#stored)
  }

  #setPrivate(next: Values): void {
    if (isEqual(next, this.#private.get())) return
    try {
      if (Object.keys(next).length === 0) this.#storage?.removeItem(this.#storageKey)
      else this.#storage?.setItem(this.#storageKey, JSON.stringify(next))
    } catch {
      // Storage is full or forbidden: the values live as long as the tab.
    }
    this.#private.set(keepValues(this.#private.get(), { ...next }))
    this.#merge()
  }

  readonly #readShared = (): void => {
    this.#shared.set(keepValues(this.#shared.get(), toJson(this.#map) as Record<string, Json>))
    this.#merge()
  }

  readonly #stored = (event: Event): void => {
    if ((event as StorageEvent).key === this.#storageKey) this.#readPrivate()
  }

  #readPrivate(): void {
    let stored: unknown = null
    try {
      stored = JSON.parse(this.#storage?.getItem(this.#storageKey) ?? 'null')
    } catch {
      // Not ours, or not to be read.
    }
    this.#private.set(keepValues(this.#private.get(), isObject(stored) ? stored as Record<string, Json> : {}))
    this.#merge()
  }

  #merge(): void {
    this.#effective.set(keepIdentity(this.#effective.get(), { ...this.#shared.get(), ...this.#private.get() }))
  }
}
