import { COLORS, createClient, type Dashboard, type Other, type Self } from '@ydash/client'

const DEFAULT_NAME = 'demo'
const QUALITIES = ['Brisk', 'Calm', 'Deft', 'Keen', 'Merry', 'Nimble', 'Quiet', 'Sunny', 'Swift', 'Witty']
const ANIMALS = ['Badger', 'Crane', 'Falcon', 'Fox', 'Heron', 'Lynx', 'Marten', 'Otter', 'Owl', 'Robin', 'Seal', 'Wren']

const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T

/** The dashboard that the address names: `#sales`, `#acme/sales`. */
export const dashboardName = nameOf(location.hash)

// Per tab, so that two tabs of one browser are two people.
const me = {
  name: recall('name') ?? `${pick(QUALITIES)} ${pick(ANIMALS)}`,
  color: recall('color') ?? pick(COLORS)
}

export const client = createClient({ url: location.origin, user: me })
remember(me)

/** Changes who this tab is. */
export function introduce(user: { name?: string, color?: string }): void {
  if (user.color !== undefined) keep('color-is-chosen', 'yes')
  become(user)
}

/** Takes a colour that nobody else has, unless this one was chosen: of two who have the same, the one with the higher id gives way. */
export function differFrom(others: readonly Other[], self: Self): void {
  const isTaken = others.some(({ clientId, user }) => user.color === self.user.color && clientId < self.clientId)
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
    return client.dashboard(dashboardName, { connect: false })
  }
}

function remember({ name, color }: { name: string, color: string }): void {
  keep('name', name)
  keep('color', color)
}

/** What this tab remembers. A browser that lets pages keep nothing throws at the first look. */
function recall(key: string): string | null {
  try {
    return sessionStorage.getItem(`ydash:${key}`)
  } catch {
    return null
  }
}

function keep(key: string, value: string): void {
  try {
    sessionStorage.setItem(`ydash:${key}`, value)
  } catch {
    // Then it is so until the tab is loaded again.
  }
}

function nameOf(hash: string): string {
  const raw = hash.slice(1)
  try {
    return decodeURIComponent(raw) || DEFAULT_NAME
  } catch {
    return raw // a lone percent sign is part of the name
  }
}

if (location.hash === '') history.replaceState(null, '', `#${DEFAULT_NAME}`)
addEventListener('hashchange', () => { location.reload() })
