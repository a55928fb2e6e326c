import { call, reasonOf } from '../../shared/rest.js'
import { tokenOf } from '../../shared/token.js'
import { Signal } from '../signal.js'
import { type Opened, opened, workspacesSeen } from './dashboards.js'

/** A dashboard as home shows it. */
export interface Entry {
  readonly id: string
  readonly title: string
  /** When it was last changed, or else opened here; milliseconds since 1970, 0 if neither is known. */
  readonly at: number
  /** Who changed it last; `null` if that is not known. */
  readonly by: string | null
  /** How many have it open. */
  readonly members: number
  readonly mayEdit: boolean
  /** When it was last opened in this browser; 0 if it was not. */
  readonly openedAt: number
  /** Whether the server lists it. What was opened by a link is known to this browser alone. */
  readonly isListed: boolean
}

/** What the server tells of a dashboard, docs/API.md. */
interface Item {
  readonly name: string
  readonly title: string | null
  readonly updated_at: string | null
  readonly updated_by: string | null
  readonly members: number
  readonly may: readonly string[]
}

export interface Listing {
  readonly entries: readonly Entry[]
  /** Whether the server has answered, or failed to. */
  readonly isLoaded: boolean
  /** Whether there are more than are shown: a search asks the server. */
  readonly isPartial: boolean
  readonly problem: string | null
}

const PAGE = 200
/** More pages than these are for a search to find. */
const PAGES_MAX = 5
/** How often it is looked at again who is where, in milliseconds. */
const AGAIN = 15_000

async function pages(query: string): Promise<{ readonly items: readonly Item[], readonly isPartial: boolean }> {
  const items: Item[] = []
  let after: string | null = null
  for (let n = 0; n < PAGES_MAX; n++) {
    const parameters = new URLSearchParams({ limit: String(PAGE), ...query !== '' && { q: query }, ...after !== null && { after } })
    const { json }: { json: { readonly items: readonly Item[], readonly next: string | null } } = await call('GET', `/api/dashboards?${parameters.toString()}`)
    items.push(...json.items)
    after = json.next
    if (after === null) return { items, isPartial: false }
  }
  return { items, isPartial: true }
}

function entryOf({ name, title, updated_at, updated_by, members, may }: Item, known: Opened | undefined): Entry {
  const at = updated_at === null ? NaN : Date.parse(updated_at)
  return {
    id: name,
    title: typeof title === 'string' && title !== '' ? title : known?.title ?? '',
    at: Number.isFinite(at) ? at : known?.at ?? 0,
    by: updated_by,
    members,
    mayEdit: may.includes('write'),
    openedAt: known?.at ?? 0,
    isListed: true
  }
}

/** What was opened here: all that is known without the server. */
function fromHere(all: readonly Opened[]): Entry[] {
  return all.map(({ id, title, at }) => ({ id, title, at, by: null, members: 0, mayEdit: tokenOf(id) !== undefined, openedAt: at, isListed: false }))
}

/** The dashboards that this browser's user may open, followed while somebody looks. */
export class Dashboards extends Signal<Listing> {
  #query = ''
  #timer: ReturnType<typeof setTimeout> | undefined
  #round = 0

  constructor() {
    super({ entries: fromHere(opened()), isLoaded: false, isPartial: false, problem: null })
  }

  /** Looks until the returned function is called. */
  watch(): () => void {
    const look = (): void => { if (!document.hidden) void this.refresh() }
    look()
    document.addEventListener('visibilitychange', look)
    return () => {
      document.removeEventListener('visibilitychange', look)
      clearTimeout(this.#timer)
      this.#round++
    }
  }

  /** Has the server search where there is too much to have it all here. */
  search(query: string): void {
    const isNews = query !== this.#query
    this.#query = query
    if (isNews && (this.get().isPartial || query === '')) void this.refresh()
  }

  async refresh(): Promise<void> {
    const round = ++this.#round
    clearTimeout(this.#timer)
    const known = opened()
    try {
      const { items, isPartial } = await pages(this.get().isPartial ? this.#query : '')
      if (round !== this.#round) return
      workspacesSeen(items.map(({ name }) => name))
      const byId = new Map(known.map(one => [one.id, one]))
      const listed = new Set(items.map(({ name }) => name))
      const entries = [...items.map(item => entryOf(item, byId.get(item.name))), ...fromHere(known.filter(({ id }) => !listed.has(id)))]
      this.set({ entries, isLoaded: true, isPartial: isPartial || this.get().isPartial && this.#query !== '', problem: null })
    } catch (error) {
      if (round !== this.#round) return
      this.set({ ...this.get(), entries: this.get().isLoaded ? this.get().entries : fromHere(known), isLoaded: true, problem: reasonOf(error) })
    }
    this.#timer = setTimeout(() => { if (!document.hidden) void this.refresh() }, AGAIN)
  }
}
