import type { Token } from './connection.js'
import { Dashboard } from './dashboard.js'
import type { PrivateStorage } from './model/scoped.js'
import type { User } from './presence.js'

/** How to reach a server, and who is there. */
export interface ClientOptions {
  /** The server: `wss://host`, `https://host`, or with a path in front of ydash's own. Not `/ws/acme`: that is [ClientOptions.workspace]. */
  readonly url: string
  /** A token, or a function that gets one; asked before every connection. */
  readonly token?: Token
  /** The workspace of dashboards that are named without one. Default `default`. */
  readonly workspace?: string
  /** Who this is, for everybody else. */
  readonly user?: Partial<User>
  /** Whether documents are kept in IndexedDB. Default: where there is one. */
  readonly persist?: boolean
  /** Where private filters and preferences are kept. Default: `localStorage` where there is one; `null` for nowhere. */
  readonly storage?: PrivateStorage | null
  /** Local edits within so many milliseconds go out as one message. Default 16, a frame. */
  readonly batchInterval?: number
  /** A WebSocket class, where the platform has none. */
  readonly WebSocket?: unknown
}

/** How to get a dashboard. */
export interface OpenOptions {
  /** Whether to connect at once, and not with [Dashboard.connect]. Default `true`. */
  readonly connect?: boolean
}

/** A server with its dashboards. */
export interface Client {
  /**
   * The dashboard `name` or `workspace/name`; the same object for the same dashboard until [Dashboard.destroy], which is the caller's.
   * What stands before the first slash is a workspace if it is one (letters, digits, `.`, `_`, `-`), else all of it is the name.
   *
   * @throws RangeError for a name that no URL can say: empty, or with `.` or `..` between slashes
   */
  dashboard(id: string, options?: OpenOptions): Dashboard
  /** Says who this is, on all dashboards. */
  setUser(user: Partial<User>): void
  /** Closes all dashboards. */
  destroy(): void
  /** @internal The dashboard, for a component that is being rendered: unless it is held it goes away by itself. */
  prepare(id: string): Dashboard
  /** @internal Connects, until the returned function is called by the last who holds it. */
  hold(dashboard: Dashboard): () => void
}

/** How long a dashboard that a component asked for, or has let go of, waits for the next one. StrictMode needs none, a route's change little. */
const LINGER = 1_000

/**
 * Makes a client. It opens nothing by itself, so it can be made anywhere, on a server too.
 *
 * @throws RangeError for a `url` that names no server, or a dashboard or workspace in it
 */
export function createClient(options: ClientOptions): Client {
  const dashboards = new Map<string, Dashboard>()
  const holders = new Map<Dashboard, number>()
  const leaving = new Map<Dashboard, ReturnType<typeof setTimeout>>()
  const server = options.url.replace(/^http/, 'ws').replace(/\/+$/, '')
  // A dashboard would be looked for below another one's URL, and found nowhere else.
  if (!/^wss?:\/\/(?![^/]*\/ws(\/|$))./.test(server)) throw new RangeError(`url names the server, as wss://host, and workspace the workspace: ${options.url}`)
  let user: Partial<User> = options.user ?? {}

  const open = (id: string): Dashboard => {
    const [workspace, name] = split(id, options.workspace ?? 'default')
    const key = `${workspace}/${name}`
    const known = dashboards.get(key)
    if (known !== undefined) return known
    const dashboard: Dashboard = new Dashboard({
      id: key,
      base: `${server}/ws/${encodeURIComponent(workspace)}`,
      path: name.split('/').map(encodeURIComponent).join('/'),
      token: options.token,
      user,
      persist: options.persist ?? typeof indexedDB !== 'undefined',
      storage: options.storage === undefined ? localStorageIfAny() : options.storage,
      batchInterval: options.batchInterval ?? 16,
      WebSocket: () => {
        const found = options.WebSocket ?? globalThis.WebSocket
        if (found === undefined) throw new Error('there is no WebSocket here: pass one to createClient')
        return found as typeof WebSocket
      },
      onDestroy: () => {
        if (dashboards.get(key) === dashboard) dashboards.delete(key)
        holders.delete(dashboard)
        stay(dashboard)
      }
    })
    dashboards.set(key, dashboard)
    return dashboard
  }

  const stay = (dashboard: Dashboard): void => {
    clearTimeout(leaving.get(dashboard))
    leaving.delete(dashboard)
  }

  const leave = (dashboard: Dashboard): void => {
    stay(dashboard)
    const timer = setTimeout(() => { dashboard.destroy() }, LINGER)
    // On a server a rendered page must not keep the process.
    if (typeof timer === 'object') (timer as { unref?: () => void }).unref?.()
    leaving.set(dashboard, timer)
  }

  return {
    dashboard(id, { connect = true } = {}) {
      const dashboard = open(id)
      // Whoever opens it by hand closes it by hand. A look at what components opened leaves it theirs.
      if (connect || !holders.has(dashboard)) {
        stay(dashboard)
        holders.set(dashboard, Infinity)
      }
      if (connect) dashboard.connect()
      return dashboard
    },
    prepare(id) {
      const dashboard = open(id)
      if (!holders.has(dashboard)) {
        holders.set(dashboard, 0)
        leave(dashboard)
      }
      return dashboard
    },
    setUser(changes) {
      user = { ...user, ...changes }
      for (const dashboard of dashboards.values()) dashboard.presence.setUser(changes)
    },
    destroy() {
      for (const dashboard of [...dashboards.values()]) dashboard.destroy()
    },
    hold(dashboard) {
      dashboard.connect()
      stay(dashboard)
      holders.set(dashboard, (holders.get(dashboard) ?? 0) + 1)
      let isHeld = true
      return () => {
        if (!isHeld) return
        isHeld = false
        const left = (holders.get(dashboard) ?? 1) - 1
        holders.set(dashboard, left)
        if (left === 0) leave(dashboard)
      }
    }
  }
}

/** As the server has it, docs/PROTOCOL.md, "Names". */
function split(id: string, workspace: string): [workspace: string, name: string] {
  // A URL with such a part means another one.
  if (id === '' || /(^|\/)\.\.?(\/|$)/.test(id)) throw new RangeError(`no dashboard is called ${id}`)
  const [, space, name] = /^([\w-][\w.-]{0,63})\/(.+)$/s.exec(id) ?? []
  if (space === undefined || name === undefined) return [workspace, id]
  return space === 'default' ? split(name, space) : [space, name]
}

function localStorageIfAny(): PrivateStorage | null {
  try {
    return typeof window === 'undefined' ? null : window.localStorage
  } catch {
    return null // forbidden here
  }
}
