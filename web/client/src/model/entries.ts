import type * as Y from 'yjs'
import { type Json, isObject, keepIdentity, record, toJson } from '../json.js'
import { type Readable, Signal } from '../readable.js'

/** What stands for each entry of a shared map, by its key: the same object as before where nothing changed. */
export class Entries<T> {
  readonly all: Readable<Readonly<Record<string, T>>>

  readonly #all = new Signal<Readonly<Record<string, T>>>(record())
  readonly #map: Y.Map<unknown>
  readonly #describe: (json: Record<string, Json>, key: string) => T
  readonly #isIgnored: (path: readonly (string | number)[]) => boolean

  /** Entries that are no objects are left out, whoever wrote them; so are changes whose path in the map `isIgnored`. */
  constructor(map: Y.Map<unknown>, describe: (json: Record<string, Json>, key: string) => T, isIgnored: (path: readonly (string | number)[]) => boolean = () => false) {
    this.all = this.#all
    this.#map = map
    this.#describe = describe
    this.#isIgnored = isIgnored
    map.observeDeep(this.#observe)
  }

  get(key: string): T | undefined {
    return this.#all.get()[key]
  }

  destroy(): void {
    this.#map.unobserveDeep(this.#observe)
  }

  readonly #observe = (events: Y.YEvent<Y.AbstractType<unknown>>[]): void => {
    const keys = touchedKeys(events.filter(({ path }) => !this.#isIgnored(path)))
    if (keys.size === 0) return
    const before = this.#all.get()
    const after = record(before)
    let isSame = true
    for (const key of keys) {
      const json = toJson(this.#map.get(key))
      if (isObject(json)) after[key] = keepIdentity(before[key], this.#describe(json as Record<string, Json>, key)) as T
      else delete after[key]
      isSame &&= after[key] === before[key]
    }
    if (!isSame) this.#all.set(after)
  }
}

/** The keys of a map, or of maps below it, that a transaction touched. */
function touchedKeys(events: readonly Y.YEvent<Y.AbstractType<unknown>>[]): Set<string> {
  const keys = new Set<string>()
  for (const event of events) {
    if (event.path.length > 0) keys.add(String(event.path[0]))
    else for (const key of event.keys.keys()) keys.add(key)
  }
  return keys
}
