import { COLORS, createClient, type Dashboard, type Other, type Self } from '@ydash/client'
import { apiPath, call, CallError, reasonOf } from '../shared/rest.js'
import { announce } from './announce.js'
import { invitation, token, tokenName, tokenUser } from '../shared/token.js'
import { type Address, addressOf, pastOf, pathOf } from '../shared/address.js'

const QUALITIES = ['Brisk', 'Calm', 'Deft', 'Keen', 'Merry', 'Nimble', 'Quiet', 'Sunny', 'Swift', 'Witty']
const ANIMALS = ['Badger', 'Crane', 'Falcon', 'Fox', 'Heron', 'Lynx', 'Marten', 'Otter', 'Owl', 'Robin', 'Seal', 'Wren']

const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T

/** Where the sample is that newcomers see. */
export const SAMPLE = 'default/welcome'

const search = new URLSearchParams(location.search)
const asked = addressOf(location)
/** Whoever comes to a fresh server for the first time is shown a board that lives; to any other, what there is. */
const isFirst = asked.kind === 'home' && !search.has('home') && recall('opened') === null && await isFresh() && await mayBeginSample()

/** What the address bar asks for. */
export const address: Address = isFirst ? { kind: 'dashboard', id: SAMPLE } : asked

/** What a dashboard that is new begins with: a template's id; `null` for one that is opened as it is. */
export const isNew = isFirst ? 'sample' : search.get('new')
/** What it is to be called. */
export const newTitle = search.get('title')

// The same in every tab and tomorrow: a person is one, however often they come.
const me = {
  name: tokenName ?? recall('name') ?? `${pick(QUALITIES)} ${pick(ANIMALS)}`,
  color: recall('color') ?? pick(COLORS)
}

/** Whether the address is that of an earlier version, which never changes. */
export const isPast = address.kind === 'dashboard' && pastOf(address.id) !== null

export const client = createClient({ url: location.origin, user: me, ...isPast && { persist: false }, ...token !== undefined && { token } })
remember(me)

/** Changes who this browser's user is. */
export function introduce(user: { name?: string, color?: string }): void {
  if (user.color !== undefined) keep('color-is-chosen', 'yes')
  become(user)
}

/** When this tab came: of two who have the same colour, the one who came later gives way. */
const came = new Map<number, number>()

/** Takes a colour that nobody else has, unless this one was chosen. Who was here first keeps theirs. */
export function differFrom(others: readonly Other[], self: Self): void {
  const isFirst = came.size === 0
  for (const { clientId } of others) if (!came.has(clientId)) came.set(clientId, isFirst ? 0 : 1)
  const isTaken = others.some(({ clientId, user }) => user.color === self.user.color && user.name !== self.user.name && came.get(clientId) === 0)
  if (!isTaken || recall('color-is-chosen') !== null) return
  const free = COLORS.filter(color => others.every(({ user }) => user.color !== color))
  if (free.length > 0) become({ color: pick(free) })
}

function become(user: { name?: string, color?: string }): void {
  Object.assign(me, user)
  remember(me)
  client.setUser(user)
}

declare global {
  interface Window {
    /** For whoever opens the console: try `ydash.dashboard.widgets.all.get()`. */
    ydash: { readonly dashboard: Dashboard }
  }
}

window.ydash = {
  get dashboard() {
    return client.dashboard(address.kind === 'dashboard' ? address.id : 'demo', { connect: false })
  }
}

function remember({ name, color }: { name: string, color: string }): void {
  keep('name', name)
  keep('color', color)
}

/** What this browser remembers. One that lets pages keep nothing throws at the first look. */
export function recall(key: string): string | null {
  try {
    return localStorage.getItem(`ydash:${key}`)
  } catch {
    return null
  }
}

export function keep(key: string, value: string): void {
  try {
    localStorage.setItem(`ydash:${key}`, value)
  } catch {
    // Then it is so until the tab is loaded again.
  }
}

/** Whether there is nothing on this server that this browser's user could open. */
async function isFresh(): Promise<boolean> {
  try {
    const { json: { items, next } } = await call<{ readonly items: readonly { readonly name: string }[], readonly next: string | null }>('GET', '/api/dashboards?limit=2')
    return next === null && items.every(({ name }) => name === SAMPLE)
  } catch {
    return false
  }
}

/** Whether the sample can be shown here, or begun. A server that asks for tokens may let this browser into nothing, or only to read. */
export async function mayBeginSample(): Promise<boolean> {
  try {
    await call('GET', apiPath(SAMPLE))
    return true
  } catch (error) {
    if (!(error instanceof CallError && error.code === 'no_dashboard')) return false
  }
  try {
    await call('PUT', `${apiPath(SAMPLE)}?dry-run=true`, {})
    return true
  } catch {
    return false
  }
}

if (address.kind === 'dashboard' && invitation !== null) {
  // Before anything is opened: whoever is invited may have no access yet.
  try {
    if (tokenUser === null) throw new Error('An invitation is for people who can sign in: open the link that signs you in first, and the invitation once more.')
    await call('POST', `${apiPath(address.id)}/invitations/accept`, { invitation })
    announce('You have accepted the invitation', true)
  } catch (error) {
    announce(error instanceof CallError && error.status === 403 ? 'This invitation has been used, has ended, or is for somebody else.' : reasonOf(error), true)
  }
}

if (address.kind === 'dashboard') {
  // What is new is so once: a link that is copied from here opens what is there.
  const kept = new URLSearchParams(location.search)
  for (const key of ['new', 'title', 'copied']) kept.delete(key)
  const query = kept.toString().replaceAll(/=(?=&|$)/g, '')
  history.replaceState(null, '', pathOf(address.id) + (query === '' ? '' : `?${query}`))
}
addEventListener('hashchange', () => { location.reload() })
