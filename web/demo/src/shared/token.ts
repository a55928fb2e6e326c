// What this browser shows the server: a link brings it behind its `#`, which no server and no log ever sees.
//
// A token says who somebody is, and counts everywhere. The secret of a share link opens one dashboard, and counts for that one only: whoever
// is signed in and opens a link stays signed in.

import { addressOf } from './address.js'

const KEY = 'ydash:token'
const LINKS = 'ydash:links'
const LINKS_MAX = 200

const isLinkSecret = (text: string): boolean => text.startsWith('yd_')

/** The dashboard that the address bar names, if it names one. */
const here = (): string | null => {
  const address = addressOf({ pathname: location.pathname, hash: '' })
  return address.kind === 'dashboard' ? address.id : null
}

/** What the address bar had, once: whoever copies the address afterwards copies no secret. */
function take(key: string): string | null {
  const parameters = new URLSearchParams(location.hash.slice(1))
  const secret = parameters.get(key)
  if (secret !== null) history.replaceState(history.state, '', location.pathname + location.search)
  return secret
}

function read(key: string): string | null {
  try {
    return localStorage.getItem(key)
  } catch {
    return null
  }
}

function write(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key)
    else localStorage.setItem(key, value)
  } catch {
    // Without storage it is this page's alone.
  }
}

/** Share links by the dashboards that they open. */
function links(): Record<string, string> {
  try {
    const stored: unknown = JSON.parse(read(LINKS) ?? '{}')
    const entries = typeof stored === 'object' && stored !== null ? Object.entries(stored) : []
    return Object.fromEntries(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
  } catch {
    return {}
  }
}

function keepLink(id: string, secret: string | null): void {
  const { [id]: _, ...others } = links()
  write(LINKS, JSON.stringify(Object.fromEntries([...Object.entries(others).slice(1 - LINKS_MAX), ...secret === null ? [] : [[id, secret]]])))
}

/** A token that has not ended. */
function recall(): string | null {
  const token = read(KEY)
  const { exp } = token === null ? {} : claimsOf(token)
  if (typeof exp !== 'number' || exp * 1_000 > Date.now()) return token
  write(KEY, null)
  return null
}

/** What a token says; nothing for one that cannot be read. */
function claimsOf(token: string): { readonly exp?: unknown, readonly name?: unknown, readonly sub?: unknown } {
  try {
    const payload = atob((token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'))
    const claims: unknown = JSON.parse(new TextDecoder().decode(Uint8Array.from(payload, char => char.charCodeAt(0))))
    return typeof claims === 'object' && claims !== null ? claims : {}
  } catch {
    return {}
  }
}

const brought = take('token')
const dashboard = here()
if (brought !== null) {
  if (isLinkSecret(brought) && dashboard !== null) keepLink(dashboard, brought)
  else write(KEY, brought)
}

/** Who this browser's user is, if somebody signed a token for them that is still good. */
const identity: string | null = (brought !== null && !isLinkSecret(brought) ? brought : null) ?? recall()

/** The share link by which this dashboard was opened. */
const link: string | null = dashboard === null ? null : (brought !== null && isLinkSecret(brought) ? brought : null) ?? links()[dashboard] ?? null

/** What this page shows the server. */
export const token: string | undefined = link ?? identity ?? undefined

/** Whether this dashboard is open by a link, and not by who this is. */
export const isByLink = link !== null

/** An invitation that the address bar brought, to be accepted by whoever is signed in. */
export const invitation: string | null = take('invitation')

const { name, sub } = identity === null ? {} : claimsOf(identity)
const text = (value: unknown): string | null => typeof value === 'string' && value !== '' ? value : null

/** Whose the token is, in words: who opens a link made for Ada is Ada. */
export const tokenName: string | null = text(name) ?? text(sub)

/** Whose the token is, as grants name them. */
export const tokenUser: string | null = text(sub)

/** What opens a dashboard: the link that this browser has to it, or who this is. */
export function tokenOf(id: string): string | undefined {
  return id === dashboard ? token : links()[id] ?? identity ?? undefined
}

/** Forgets the link to this dashboard, which opens it no more; says whether whoever is signed in may be let in without it. */
export function forgetLink(): boolean {
  if (dashboard !== null) keepLink(dashboard, null)
  return identity !== null
}

/** Asks this server something, as whoever `as` is for. */
export function ask(path: string, init: RequestInit = {}, as: string | undefined = token): Promise<Response> {
  const headers = new Headers(init.headers)
  if (as !== undefined) headers.set('authorization', `Bearer ${as}`)
  return fetch(path, { ...init, headers })
}

/** An address of this server for what can show a token only there, as a stream of events does. */
export function withToken(path: string): string {
  return token === undefined ? path : `${path}${path.includes('?') ? '&' : '?'}token=${encodeURIComponent(token)}`
}
