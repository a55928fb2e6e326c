import * as Y from 'yjs'

/** What JSON can say. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/** Whether two JSON values say the same. */
export function isEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const left = Object.keys(a)
  if (left.length !== Object.keys(b).length) return false
  return left.every(key => Object.hasOwn(b, key) &&
    isEqual((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]))
}

/** `next`, or `previous` where both say the same: identity is what tells React to skip. */
export function keepIdentity<T>(previous: T, next: T): T {
  return isEqual(previous, next) ? previous : next
}

/** `next` with every value taken from `previous` that says the same; `previous` itself if all do. */
export function keepValues<T>(previous: Readonly<Record<string, T>>, next: Record<string, T>): Readonly<Record<string, T>> {
  const keys = Object.keys(next)
  let same = keys.length === Object.keys(previous).length
  for (const key of keys) {
    if (Object.hasOwn(previous, key)) next[key] = keepIdentity(previous[key] as T, next[key] as T)
    same &&= Object.is(previous[key], next[key])
  }
  return same ? previous : next
}

/**
 * Values by names that others choose. Without a prototype, so that no name finds what is not there: neither `constructor` nor
 * `__proto__` is anything until somebody writes it, and then it is a key like any other.
 */
export function record<T>(entries: Readonly<Record<string, T>> = {}): Record<string, T> {
  return Object.assign(Object.create(null) as Record<string, T>, entries)
}

/** What a document holds under a key as JSON, all the way down. Shared texts and XML are left out: they have editors of their own. */
export function toJson(value: unknown): Json | undefined {
  if (value instanceof Y.Map) return plain(value.entries())
  if (value instanceof Y.Array) return toJson(value.toArray())
  if (value instanceof Y.AbstractType || value instanceof Y.Doc || value instanceof Uint8Array) return undefined
  if (typeof value === 'bigint') return Number(value)
  if (Array.isArray(value)) return value.map(inner => toJson(inner) ?? null)
  return isObject(value) ? plain(Object.entries(value)) : value as Json | undefined
}

function plain(entries: Iterable<readonly [string, unknown]>): Record<string, Json> {
  const found: [string, Json][] = []
  for (const [key, inner] of entries) {
    const json = toJson(inner)
    if (json !== undefined) found.push([key, json])
  }
  return Object.fromEntries(found) // which makes a key of `__proto__`, where an assignment sets the prototype
}

/** Whether JSON is an object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Sets the keys of `patch` whose values differ; `undefined` removes a key. */
export function patchMap(map: Y.Map<unknown>, patch: Readonly<Record<string, Json | undefined>>): void {
  for (const [key, value] of Object.entries(patch)) {
    if (value === undefined) map.delete(key)
    else if (!isEqual(toJson(map.get(key)), value)) map.set(key, value)
  }
}
