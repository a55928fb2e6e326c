import { parseTable } from './csv.js'
import { EMPTY, type Frame, frameOf, frameOfJson } from './frame.js'
import { isAllowed, originOf, subscribe as onConsent } from './consent.js'

/** What was fetched, or why nothing was. */
export interface Fetched {
  readonly frame: Frame
  readonly problem: string | null
  /** The origin that has to be allowed first. */
  readonly asks: string | null
  /** When it was fetched last, in milliseconds since 1970; 0 for never. */
  readonly at: number
}

export interface RemoteSpec {
  readonly kind: 'url' | 'prometheus'
  readonly url: string
  /** Where in the JSON the rows are: `data.items`. */
  readonly path: string
  readonly query: string
  /** Seconds. */
  readonly every: number
  /** How far back a Prometheus query goes, in seconds. */
  readonly seconds: number
}

const TIMEOUT = 15_000
const BYTES_MAX = 2 << 20
const NOTHING: Fetched = { frame: EMPTY, problem: null, asks: null, at: 0 }

/** One address, fetched by this browser for all widgets that show it, as long as one is looked at. */
class Remote {
  readonly #spec: RemoteSpec
  readonly #listeners = new Set<() => void>()
  #timer: ReturnType<typeof setTimeout> | undefined
  #isFetching = false
  #state: Fetched = NOTHING

  constructor(spec: RemoteSpec) {
    this.#spec = spec
    onConsent(() => { if (this.#listeners.size > 0) void this.#fetch() })
  }

  readonly get = (): Fetched => this.#state

  readonly subscribe = (listener: () => void): (() => void) => {
    const entry = (): void => { listener() }
    this.#listeners.add(entry)
    if (this.#timer === undefined && !this.#isFetching) {
      const rest = this.#state.at + this.#spec.every * 1_000 - Date.now()
      this.#timer = setTimeout(this.#due, Math.max(rest, 0))
    }
    return () => {
      this.#listeners.delete(entry)
      if (this.#listeners.size > 0) return
      clearTimeout(this.#timer)
      this.#timer = undefined
    }
  }

  readonly #due = (): void => { void this.#fetch() }

  async #fetch(): Promise<void> {
    if (this.#isFetching) return
    clearTimeout(this.#timer)
    const origin = originOf(this.#spec.url)
    if (origin === null) {
      this.#set({ ...NOTHING, problem: this.#spec.url === '' ? null : 'This is not an http or https address.' })
    } else if (!isAllowed(origin)) {
      this.#set({ ...NOTHING, asks: origin })
    } else if (!document.hidden) {
      this.#isFetching = true
      try {
        this.#set({ frame: await load(this.#spec), problem: null, asks: null, at: Date.now() })
      } catch (error) {
        this.#set({ ...this.#state, asks: null, problem: `${new URL(origin).host}: ${error instanceof Error ? error.message : 'no answer'}` })
      }
      this.#isFetching = false
    }
    this.#timer = this.#listeners.size > 0 ? setTimeout(this.#due, this.#spec.every * 1_000) : undefined
  }

  #set(state: Fetched): void {
    this.#state = state
    for (const listener of [...this.#listeners]) listener()
  }
}

async function load(spec: RemoteSpec): Promise<Frame> {
  const url = new URL(spec.url, location.origin)
  if (spec.kind === 'prometheus') {
    const end = Math.floor(Date.now() / 1000)
    url.pathname = `${url.pathname.replace(/\/(api\/v1(\/.*)?)?$/, '')}/api/v1/query_range`
    url.search = new URLSearchParams({ query: spec.query, start: String(end - spec.seconds), end: String(end), step: String(Math.max(Math.round(spec.seconds / 240), 1)) }).toString()
  }
  let answer: Response
  try {
    // Nothing of this browser's user goes along.
    answer = await fetch(url, { credentials: 'omit', referrerPolicy: 'no-referrer', signal: AbortSignal.timeout(TIMEOUT), cache: 'no-cache' })
  } catch {
    throw new Error('no answer, or it does not let other pages read it (CORS)')
  }
  if (!answer.ok) throw new Error(`it answered ${answer.status}`)
  const text = await readBounded(answer)
  if (spec.kind === 'prometheus') return frameOfPrometheus(JSON.parse(text))
  if (/json/.test(answer.headers.get('content-type') ?? '') || /^\s*[[{]/.test(text)) {
    let json: unknown
    try {
      json = JSON.parse(text)
    } catch {
      throw new Error('the answer is not JSON')
    }
    return frameOfJson(at(json, spec.path))
  }
  const table = parseTable(text)
  return table === null ? EMPTY : frameOf(table.columns as never, table.rows)
}

async function readBounded(answer: Response): Promise<string> {
  const reader = answer.body?.getReader()
  const decoder = new TextDecoder()
  let [text, bytes] = ['', 0]
  for (;;) {
    const chunk = await reader?.read()
    if (chunk === undefined || chunk.done) return text + decoder.decode()
    bytes += chunk.value.length
    if (bytes > BYTES_MAX) {
      void reader?.cancel()
      throw new Error('the answer is larger than 2 MB')
    }
    text += decoder.decode(chunk.value, { stream: true })
  }
}

/** What stands at `data.items.0` in JSON. */
function at(json: unknown, path: string): unknown {
  let found = json
  for (const key of path.split('.').filter(key => key !== '')) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) throw new Error(`there is no “${key}” in the answer`)
    found = (found as Record<string, unknown>)[key]
  }
  return found
}

interface Matrix {
  readonly metric: Readonly<Record<string, string>>
  readonly values: readonly (readonly [number, string])[]
}

function frameOfPrometheus(json: unknown): Frame {
  const result = (json as { data?: { result?: unknown } } | null)?.data?.result
  const all = (Array.isArray(result) ? result : []).slice(0, 20) as Matrix[]
  const times = [...new Set(all.flatMap(({ values }) => values.map(([at]) => at)))].sort((a, b) => a - b)
  return {
    length: times.length,
    fields: [
      { id: 'at', name: 'Time', kind: 'time', values: times },
      ...all.map(({ metric, values }, n) => {
        const byTime = new Map(values.map(([at, value]) => [at, Number(value)]))
        const { __name__: name, ...labels } = metric
        const text = Object.entries(labels).map(([key, value]) => `${key}=${value}`).join(' ')
        return { id: `${name ?? 'value'} ${text}`.trim() || String(n), name: text || name || 'Value', kind: 'number' as const, values: times.map(time => { const value = byTime.get(time); return value === undefined || Number.isNaN(value) ? null : value }) }
      })
    ]
  }
}

const remotes = new Map<string, Remote>()
/** Addresses that are remembered; what widgets show is what matters. */
const REMOTES_MAX = 200

export function remoteOf(spec: RemoteSpec): Remote {
  const key = JSON.stringify(spec)
  let remote = remotes.get(key)
  if (remote === undefined) {
    if (remotes.size >= REMOTES_MAX) remotes.delete(remotes.keys().next().value as string)
    remote = new Remote(spec)
    remotes.set(key, remote)
  }
  return remote
}
