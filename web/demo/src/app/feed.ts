import { byLabel, parseMetrics, quantileOf, rateOf, rateOfAll, type Reading, valueOf } from '../shared/openmetrics.js'
import { ask } from '../shared/token.js'

/** One moment of everything that widgets can show. */
export interface Sample {
  /** Seconds since 1970. */
  readonly at: number
  readonly values: Readonly<Record<string, number | null>>
}

/** Something that a widget can show over time. */
export interface Metric {
  readonly id: string
  readonly name: string
  /** What stands behind the value: `/s`, `s`, `B`, `B/s`, or nothing. */
  readonly unit: string
  /** Below it the server's histogram tells nothing apart. */
  readonly floor?: number
  /** Its parts by name, where it has some. */
  readonly parts?: readonly { readonly id: string, readonly name: string }[]
}

/** Where updates come from: what the filter "Sources" picks. */
export const SOURCES = [
  { id: 'update', name: 'Live edits' },
  { id: 'sync_step2', name: 'Edits brought along' },
  { id: 'rest', name: 'REST' },
  { id: 'node', name: 'Other nodes' }
] as const

export const METRICS: readonly Metric[] = [
  { id: 'updates', name: 'Edits', unit: '/s', parts: SOURCES.map(({ id, name }) => ({ id: `updates.${id}`, name })) },
  { id: 'deliveries', name: 'Deliveries', unit: '/s' },
  { id: 'awareness', name: 'Cursor moves', unit: '/s' },
  { id: 'frames', name: 'Messages received', unit: '/s' },
  { id: 'received', name: 'Bytes received', unit: 'B/s' },
  { id: 'append', name: 'Time to disk', unit: 's', floor: 0.001, parts: [{ id: 'append.p50', name: 'Median' }, { id: 'append.p99', name: '99th percentile' }] },
  { id: 'flush', name: 'Time to peers', unit: 's', floor: 0.00025, parts: [{ id: 'flush.p50', name: 'Median' }, { id: 'flush.p99', name: '99th percentile' }] },
  { id: 'sessions', name: 'Open sessions', unit: '' },
  { id: 'rooms', name: 'Live dashboards', unit: '' },
  { id: 'roomBytes', name: 'Memory of dashboards', unit: 'B' },
  { id: 'outboxBytes', name: 'Waiting for slow readers', unit: 'B' },
  { id: 'requests', name: 'HTTP requests', unit: '/s' }
]

export function metricOf(id: unknown): Metric {
  return METRICS.find(metric => metric.id === id) ?? METRICS[0] as Metric
}

/** Samples that are kept: an hour at one per second. */
const SAMPLES_MAX = 3_600
/** The span over which rates are taken: a single second jumps too much to be read. */
const RATE_SPAN = 3_000

/** The server's own numbers, read once for all widgets, as long as any of them is looked at. */
class Feed {
  readonly #listeners = new Set<() => void>()
  #samples: readonly Sample[] = []
  #readings: Reading[] = []
  #routes: readonly { name: string, value: number }[] = []
  #interval = 1_000
  #staleSince: number | null = null
  #timer: ReturnType<typeof setTimeout> | null = null

  /** All samples, oldest first; a new array with each. */
  get samples(): readonly Sample[] {
    return this.#samples
  }

  /** Requests answered since the server began, by route. */
  get routes(): readonly { name: string, value: number }[] {
    return this.#routes
  }

  /** When the server answered last, in milliseconds since 1970, if it does not any more. */
  get staleSince(): number | null {
    return this.#staleSince
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    if (this.#timer === null) void this.#read()
    return () => { this.#listeners.delete(listener) }
  }

  /** How often it is read, whatever somebody wrote there. */
  setInterval(seconds: unknown): void {
    this.#interval = (typeof seconds === 'number' && seconds > 1 ? Math.min(seconds, 60) : 1) * 1_000
  }

  async #read(): Promise<void> {
    this.#timer = setTimeout(() => {
      this.#timer = null
      if (this.#listeners.size > 0) void this.#read()
    }, this.#interval)
    // Nobody looks: the server need not be asked.
    if (document.hidden) return
    try {
      const answer = await ask('/metrics')
      if (!answer.ok) throw new Error(`it answered ${answer.status}`)
      this.#take({ at: Date.now(), values: parseMetrics(await answer.text()) })
      this.#staleSince = null
    } catch {
      // Widgets show what was last known, and since when.
      this.#staleSince ??= this.#readings.at(-1)?.at ?? null
    }
    for (const listener of [...this.#listeners]) listener()
  }

  #take(after: Reading): void {
    // A clock that was set back begins anew.
    this.#readings = [...this.#readings.filter(({ at }) => at < after.at && at > after.at - Math.max(RATE_SPAN, this.#interval * 2)), after]
    const before = this.#readings[0] as Reading
    const rate = (series: string): number | null => before === after ? null : rateOf(before, after, series)
    const values: Record<string, number | null> = {
      updates: before === after ? null : rateOfAll(before, after, 'ydash_updates_total'),
      deliveries: rate('ydash_deliveries_total'),
      awareness: rate('ydash_awareness_total'),
      frames: rate('ydash_frames_received_total'),
      received: rate('ydash_bytes_received_total'),
      requests: before === after ? null : rateOfAll(before, after, 'ydash_http_requests_total'),
      sessions: valueOf(after, 'ydash_sessions'),
      rooms: valueOf(after, 'ydash_rooms'),
      roomBytes: valueOf(after, 'ydash_room_bytes'),
      outboxBytes: valueOf(after, 'ydash_outbox_bytes'),
      storeUp: valueOf(after, 'ydash_store_up'),
      appendsFailed: valueOf(after, 'ydash_appends_failed_total'),
      storeLosses: valueOf(after, 'ydash_store_losses_total')
    }
    for (const { id } of SOURCES) values[`updates.${id}`] = rate(`ydash_updates_total{source="${id}"}`)
    for (const [id, histogram] of [['append', 'ydash_append_seconds'], ['flush', 'ydash_flush_seconds']] as const) {
      values[`${id}.p50`] = quantileOf(before, after, histogram, 0.5)
      values[`${id}.p99`] = quantileOf(before, after, histogram, 0.99)
      values[id] = values[`${id}.p99`] ?? null
    }
    const at = after.at / 1000
    this.#samples = [...this.#samples.filter(sample => sample.at < at), { at, values }].slice(-SAMPLES_MAX)
    const routes = new Map<string, number>()
    for (const [series, route] of byLabel(after, 'ydash_http_requests_total', 'route')) {
      routes.set(route, (routes.get(route) ?? 0) + valueOf(after, series))
    }
    this.#routes = [...routes].map(([name, value]) => ({ name, value })).sort((a, b) => b.value - a.value)
  }
}

export const feed = new Feed()
