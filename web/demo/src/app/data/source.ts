import type { Dashboard, Json, Readable, Table, Widget } from '@ydash/client'
import { useDashboard, useReadable } from '@ydash/client/react'
import { useMemo, useRef } from 'react'
import { shorten } from '../../shared/format.js'
import { feed, metricOf, type Sample, SOURCES } from '../feed.js'
import { useFilterValues } from '../hooks.js'
import { evaluate, type Result } from './formula.js'
import { EMPTY, type Field, type Frame, frameOf, frameOfJson, reduce } from './frame.js'
import { pushedOf } from './pushed.js'
import { remoteOf, type RemoteSpec } from './remote.js'

/** Where a widget's data comes from. */
export type SourceKind = 'table' | 'push' | 'url' | 'prometheus' | 'formula' | 'server' | 'inline'

export const SOURCE_NAMES: readonly { readonly id: SourceKind, readonly name: string }[] = [
  { id: 'table', name: 'Table on this dashboard' },
  { id: 'push', name: 'Values pushed by a program' },
  { id: 'url', name: 'JSON or CSV from a URL' },
  { id: 'prometheus', name: 'Prometheus query' },
  { id: 'formula', name: 'Formula' },
  { id: 'server', name: 'This server’s own metrics' }
]

/** What a widget has to show. */
export interface Data {
  readonly frame: Frame
  readonly source: SourceKind
  /** What is wrong, in a sentence. */
  readonly problem: string | null
  /** The origin that this browser's user has to allow first. */
  readonly asks: string | null
  /** Since when it is not up to date, in milliseconds since 1970. */
  readonly staleSince: number | null
  /** Whether it moves with the clock, so that the time range applies. */
  readonly isLive: boolean
}

const NO_DATA = { problem: null, asks: null, staleSince: null, isLive: false } as const

/** What a widget says about its data, or what can be told from its options. */
export function sourceOf({ options }: Widget): SourceKind {
  const { source, metric, table, formula } = options
  if (SOURCE_NAMES.some(({ id }) => id === source)) return source as SourceKind
  return typeof metric === 'string' ? 'server' : typeof table === 'string' ? 'table' : typeof formula === 'string' ? 'formula' : 'inline'
}

const text = (value: Json | undefined): string => typeof value === 'string' ? value.slice(0, 4_000) : ''
const number = (value: Json | undefined, fallback: number): number => typeof value === 'number' && Number.isFinite(value) ? value : fallback

/** A widget's data, as long as it is on the screen. */
export function useData(widget: Widget, isVisible: boolean): Data {
  const dashboard = useDashboard()
  const { seconds, sources } = useFilterValues()
  const kind = sourceOf(widget)
  const { options, id } = widget
  // What the source is made of: not of colours and titles.
  const key = JSON.stringify(kind === 'inline' ? [kind] : [kind, options.table, options.url, options.path, options.every, options.query, options.formula, options.metric, options.split, ...kind === 'server' || kind === 'prometheus' ? [seconds] : [], ...kind === 'server' ? sources : []])
  const readable = useMemo((): Readable<Data> => {
    switch (kind) {
      case 'table': return tableData(dashboard, text(options.table))
      case 'push': return pushData(dashboard, id)
      case 'url':
      case 'prometheus': return remoteData({ kind, url: text(options.url), path: text(options.path), query: text(options.query), every: Math.min(Math.max(number(options.every, 60), 5), 3_600), seconds: Math.max(seconds, 300) })
      case 'formula': return formulaData(dashboard, id, text(options.formula))
      case 'server': return serverData(options, seconds, sources)
      case 'inline': return { get: () => NOTHING, subscribe: () => () => {} }
    }
    // The key says what the source is made of.
  }, [dashboard, id, key])
  const seen = useRef<Data>(NOTHING)
  const gated = useMemo((): Readable<Data> => isVisible ? readable : { get: () => seen.current, subscribe: () => () => {} }, [readable, isVisible])
  const data = useReadable(gated)
  const inline = useMemo((): Data => ({ ...NO_DATA, source: 'inline', frame: inlineFrame(options) }), [options])
  if (kind === 'inline') return inline
  if (isVisible) seen.current = data
  return data
}

const NOTHING: Data = { ...NO_DATA, frame: EMPTY, source: 'inline' }

/** What a widget of somebody's own code has in its plain options: `value`, `data`, `rows`, `labels` with `values` or `series`. */
export function inlineFrame(options: Widget['options']): Frame {
  const { value, data, rows, values, labels, series, columns } = options
  const list = (one: Json | undefined): readonly Json[] | null => Array.isArray(one) ? one : null
  if (list(series) !== null || list(labels) !== null) {
    const lines = (list(series) ?? [{ name: 'Value', data: list(values) ?? list(data) ?? [] }]).slice(0, 20)
    const all: Record<string, readonly Json[]> = {}
    if (list(labels) !== null) all.Label = list(labels) as readonly Json[]
    for (const [n, line] of lines.entries()) {
      const { name, label, data, values } = (typeof line === 'object' && line !== null && !Array.isArray(line) ? line : { data: line }) as Record<string, Json>
      all[text(name ?? label) || `Series ${n + 1}`] = list(data) ?? list(values) ?? []
    }
    return frameOfJson(all)
  }
  if (list(columns) !== null && list(rows) !== null && list(rows)?.every(row => Array.isArray(row))) {
    return frameOf((columns as readonly Json[]).map((column, n) => ({ id: String(n), name: text(column) || `Column ${n + 1}` })), (rows as readonly Json[][]).map(row => Object.fromEntries(row.entries())))
  }
  return frameOfJson(rows ?? data ?? values ?? value)
}

/** A readable that makes its value anew only when what it is made of has changed. */
function made<T>(subscribe: Readable<T>['subscribe'], inputs: () => readonly unknown[], make: () => T): Readable<T> {
  let last: { inputs: readonly unknown[], value: T } | null = null
  return {
    subscribe,
    get: () => {
      const now = inputs()
      if (last === null || now.length !== last.inputs.length || now.some((one, n) => !Object.is(one, last?.inputs[n]))) last = { inputs: now, value: make() }
      return last.value
    }
  }
}

const frames = new WeakMap<Table, Frame>()

export function frameOfTable(table: Table): Frame {
  let frame = frames.get(table)
  if (frame === undefined) {
    frame = frameOf(table.columns, table.rows)
    frames.set(table, frame)
  }
  return frame
}

function tableData({ tables }: Dashboard, id: string): Readable<Data> {
  return made(tables.all.subscribe, () => [tables.get(id)], () => {
    const table = tables.get(id)
    return { ...NO_DATA, source: 'table', frame: table === undefined ? EMPTY : frameOfTable(table), problem: table === undefined && id !== '' ? 'The table that this shows has been removed.' : null }
  })
}

function pushData(dashboard: Dashboard, id: string): Readable<Data> {
  const pushed = pushedOf(dashboard)
  return made(pushed.subscribe, () => [pushed.points(id), pushed.isLive], () => {
    const at = pushed.points(id).at(-1)?.at ?? null
    return { ...NO_DATA, source: 'push', isLive: true, frame: pushed.frame(id), staleSince: pushed.isLive || at === null ? null : at }
  })
}

function remoteData(spec: RemoteSpec): Readable<Data> {
  const remote = remoteOf(spec)
  return made(remote.subscribe, () => [remote.get()], () => {
    const { frame, problem, asks, at } = remote.get()
    return { ...NO_DATA, source: spec.kind, frame, asks, problem, isLive: spec.kind === 'prometheus', staleSince: problem !== null && at > 0 ? at : null }
  })
}

function formulaData(dashboard: Dashboard, id: string, formula: string): Readable<Data> {
  const { tables, widgets } = dashboard
  const pushed = pushedOf(dashboard)
  const isPushed = Object.values(widgets.all.get()).some(widget => sourceOf(widget) === 'push')
  const subscribe = (listener: () => void): (() => void) => {
    const stops = [tables.all.subscribe(listener), widgets.all.subscribe(listener), ...isPushed ? [pushed.subscribe(listener)] : []]
    return () => { for (const stop of stops) stop() }
  }
  return made(subscribe, () => [tables.all.get(), widgets.all.get(), ...isPushed ? Object.keys(widgets.all.get()).map(one => pushed.points(one)) : []], () => {
    try {
      return { ...NO_DATA, source: 'formula', frame: frameOfResult(work(dashboard, formula, [id])) }
    } catch (error) {
      return { ...NO_DATA, source: 'formula', frame: EMPTY, problem: error instanceof SyntaxError ? error.message : 'This formula cannot be worked out.' }
    }
  })
}

const isNamed = (name: string, by: string): boolean => name.trim().toLowerCase() === by.trim().toLowerCase()

/** A formula's value. `within` are the widgets whose formulas are being worked out: none may need itself. */
function work(dashboard: Dashboard, formula: string, within: readonly string[]): Result {
  const { tables, widgets } = dashboard
  return evaluate(formula, (name, column) => {
    const table = Object.values(tables.all.get()).find(({ title }) => isNamed(title, name))
    if (table !== undefined) return resultOf(pick(frameOfTable(table), column))
    const widget = Object.values(widgets.all.get()).find(({ title, id }) => !within.includes(id) && (isNamed(title, name) || id === name))
    if (widget === undefined) {
      if (Object.values(widgets.all.get()).some(({ title, id }) => within.includes(id) && isNamed(title, name))) throw new SyntaxError(`“${name}” needs itself to be worked out.`)
      return null
    }
    switch (sourceOf(widget)) {
      case 'formula': return within.length > 8 ? null : work(dashboard, text(widget.options.formula), [...within, widget.id])
      case 'push': return value(pushedOf(dashboard).frame(widget.id), widget, column)
      case 'table': {
        const shown = tables.get(text(widget.options.table))
        return shown === undefined ? null : value(frameOfTable(shown), widget, column)
      }
      case 'inline': return value(inlineFrame(widget.options), widget, column)
      default: throw new SyntaxError(`“${name}” is loaded by each browser for itself; formulas work with tables and pushed values.`)
    }
  })
}

function pick({ fields }: Frame, column: string | null): Field | undefined {
  return column === null ? fields.find(({ kind }) => kind === 'number') : fields.find(({ name, id }) => isNamed(name, column) || isNamed(id, column))
}

/** What a widget of one number shows is that number; of others it is the column. */
function value(frame: Frame, widget: Widget, column: string | null): Result | null {
  const field = pick(frame, column ?? (Array.isArray(widget.options.columns) && typeof widget.options.columns[0] === 'string' ? widget.options.columns[0] : null))
  if (field === undefined) return null
  return column === null && (widget.type === 'number' || widget.type === 'gauge') ? reduce(field.values, widget.options.reduce) : resultOf(field)
}

function resultOf(field: Field | undefined): Result | null {
  return field === undefined ? null : field.values.map(value => typeof value === 'number' ? value : null)
}

function frameOfResult(result: Result): Frame {
  const values = (typeof result === 'number' ? [result] : result).map(value => value === null || !Number.isFinite(value) ? null : value)
  return { length: values.length, fields: [{ id: 'value', name: 'Value', kind: 'number', values }] }
}

const EMPTY_SAMPLES: readonly Sample[] = []

function serverData(options: Widget['options'], seconds: number, sources: readonly string[]): Readable<Data> {
  const metric = metricOf(options.metric)
  const isSplit = options.split === true && metric.parts !== undefined
  const parts = isSplit ? metric.parts.filter(({ id }) => metric.id !== 'updates' || sources.includes(id.slice('updates.'.length))) : [metric]
  return made(feed.subscribe, () => [feed.samples, feed.staleSince, feed.routes], () => {
    if (metric.id === 'requests' && options.by === 'route') {
      const routes = feed.routes.slice(0, 8)
      return { ...NO_DATA, source: 'server', staleSince: feed.staleSince, frame: { length: routes.length, fields: [{ id: 'route', name: 'Route', kind: 'text', values: routes.map(({ name }) => name) }, { id: 'requests', name: 'Requests', kind: 'number', values: routes.map(({ value }) => value) }] } }
    }
    if (metric.id === 'updates' && options.by === 'source') {
      const latest = feed.samples.at(-1)
      const shown = SOURCES.filter(({ id }) => sources.includes(id))
      return { ...NO_DATA, source: 'server', staleSince: feed.staleSince, frame: { length: shown.length, fields: [{ id: 'source', name: 'Source', kind: 'text', values: shown.map(({ name }) => name) }, { id: 'rate', name: 'Edits', kind: 'number', values: shown.map(({ id }) => latest?.values[`updates.${id}`] ?? 0) }] } }
    }
    const samples = feed.samples.length === 0 ? EMPTY_SAMPLES : feed.samples
    const from = (samples.at(-1)?.at ?? 0) - seconds
    const first = samples.findIndex(({ at }) => at >= from)
    const shown = first < 0 ? [] : samples.slice(first)
    return {
      ...NO_DATA,
      source: 'server',
      isLive: true,
      staleSince: feed.staleSince,
      frame: {
        length: shown.length,
        fields: [
          { id: 'at', name: 'Time', kind: 'time', values: shown.map(({ at }) => at) },
          ...parts.map(({ id, name }): Field => ({ id, name, kind: 'number', values: shown.map(({ values }) => values[id] ?? null) }))
        ]
      }
    }
  })
}

/** Formulas know tables by their titles, so no two have the same. */
export function freeTitle(tables: Dashboard['tables'], wanted: string): string {
  const taken = new Set(Object.values(tables.all.get()).map(({ title }) => title.toLowerCase()))
  let title = shorten(wanted, 60)
  for (let n = 2; taken.has(title.toLowerCase()); n++) title = `${shorten(wanted, 56)} ${n}`
  return title
}
