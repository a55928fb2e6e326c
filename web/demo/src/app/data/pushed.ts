import { type Readable, type Dashboard } from '@ydash/client'
import { apiPath } from '../../shared/rest.js'
import { token, withToken } from '../../shared/token.js'
import { EMPTY, type Frame } from './frame.js'

/** What was pushed at one moment. */
export interface Point {
  /** Milliseconds since 1970. */
  readonly at: number
  readonly values: Readonly<Record<string, number | string>>
}

/** As many as the server keeps of one widget. */
const POINTS_MAX = 3_600
/** How long to wait before a stream that was refused is asked for again. */
const AGAIN = 5_000

/** The line that pushes a value: it works as it stands, where tokens are asked for with one in `YDASH_TOKEN`. */
export function curlOf(origin: string, dashboard: string, widget: string, body = '42'): string {
  return `curl ${AUTHORIZATION}--data '${body.replaceAll("'", "'\\''")}' ${readablePath(origin, dashboard)}/widgets/${encodeURIComponent(widget)}/data`
}

/** What a command shows where the server asks who calls. Not this browser's own token: commands end up in shells' histories. */
export const AUTHORIZATION = token === undefined ? '' : '-H "Authorization: Bearer $YDASH_TOKEN" '

/** A dashboard's address over REST, for people to read: with its slash as it is, unless the name could be taken for a route. */
export function readablePath(origin: string, dashboard: string): string {
  const [workspace = '', ...rest] = dashboard.split('/')
  const isPlain = rest.length === 1 && !ROUTES.has(rest[0] ?? '')
  return origin + (isPlain ? `/api/dashboards/${workspace}/${encodeURIComponent(rest[0] ?? '')}` : apiPath(dashboard))
}

/** What stands behind a dashboard in the paths of routes. */
const ROUTES: ReadonlySet<string> = new Set(['access', 'at', 'blame', 'collaborators', 'copy', 'data', 'events', 'links', 'move', 'presence', 'problems', 'pushed', 'replay', 'restore-deleted', 'state', 'stateless', 'updates', 'versions'])

/** The values that programs push for the widgets of one dashboard, heard on one stream while anybody looks. */
class Pushed {
  readonly #url: string
  readonly #listeners = new Set<() => void>()
  readonly #frames = new WeakMap<readonly Point[], Frame>()
  #points: Readonly<Record<string, readonly Point[]>> = Object.create(null) as Record<string, readonly Point[]>
  #stream: EventSource | null = null
  #timer: ReturnType<typeof setTimeout> | undefined
  #isLive = false

  constructor(dashboard: string) {
    this.#url = `${apiPath(dashboard)}/pushed`
    document.addEventListener('visibilitychange', this.#look)
  }

  /** Whether what is shown is up to date. */
  get isLive(): boolean {
    return this.#isLive
  }

  points(widget: string): readonly Point[] {
    return this.#points[widget] ?? NONE
  }

  frame(widget: string): Frame {
    const points = this.points(widget)
    let frame = this.#frames.get(points)
    if (frame === undefined) {
      frame = frameOfPoints(points)
      this.#frames.set(points, frame)
    }
    return frame
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    const entry = (): void => { listener() }
    this.#listeners.add(entry)
    this.#look()
    return () => {
      this.#listeners.delete(entry)
      // Widgets come and go as the board is scrolled.
      setTimeout(this.#look, 1_000)
    }
  }

  /** A connection is open while somebody looks: a browser has six for a server, in all of its tabs. */
  readonly #look = (): void => {
    const isWanted = this.#listeners.size > 0 && !document.hidden
    if (isWanted && this.#stream === null && this.#timer === undefined) this.#open()
    if (!isWanted) {
      clearTimeout(this.#timer)
      this.#timer = undefined
      this.#stream?.close()
      this.#stream = null
    }
  }

  #open(): void {
    this.#timer = undefined
    const stream = new EventSource(withToken(this.#url))
    this.#stream = stream
    stream.addEventListener('all', event => { this.#take(event.data, true) })
    stream.addEventListener('news', event => { this.#take(event.data, false) })
    stream.addEventListener('error', () => {
      this.#isLive = false
      this.#tell()
      if (stream.readyState !== EventSource.CLOSED) return
      this.#stream = null
      this.#timer = setTimeout(() => {
        this.#timer = undefined
        this.#look()
      }, AGAIN)
    })
  }

  #take(data: string, isAll: boolean): void {
    const points = Object.assign(Object.create(null) as Record<string, readonly Point[]>, isAll ? {} : this.#points)
    const { widgets } = JSON.parse(data) as { widgets: Record<string, Point[]> }
    for (const [id, added] of Object.entries(widgets)) {
      const all = [...points[id] ?? [], ...added]
      const isInOrder = added.every((point, n) => n === 0 || point.at >= (added[n - 1] as Point).at) && (points[id]?.at(-1)?.at ?? 0) <= (added[0]?.at ?? 0)
      points[id] = (isInOrder ? all : all.sort((a, b) => a.at - b.at)).slice(-POINTS_MAX)
    }
    this.#points = points
    this.#isLive = true
    this.#tell()
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener()
  }
}

const NONE: readonly Point[] = []

function frameOfPoints(points: readonly Point[]): Frame {
  if (points.length === 0) return EMPTY
  const names = [...new Set(points.flatMap(({ values }) => Object.keys(values)))]
  return {
    length: points.length,
    fields: [
      { id: 'at', name: 'Time', kind: 'time', values: points.map(({ at }) => at / 1000) },
      ...names.map(name => {
        const values = points.map(({ values }) => values[name] ?? null)
        return { id: name, name: name === 'value' ? 'Value' : name, kind: values.some(value => typeof value === 'string') ? 'text' as const : 'number' as const, values }
      })
    ]
  }
}

const known = new WeakMap<Dashboard, Pushed>()

export function pushedOf(dashboard: Dashboard): Pushed {
  let pushed = known.get(dashboard)
  if (pushed === undefined) {
    pushed = new Pushed(dashboard.id)
    known.set(dashboard, pushed)
  }
  return pushed
}

export type { Readable }
