// Dashboards from Grafana, as its "Export" and its REST interface give them (the classic JSON model).

type Json = Readonly<Record<string, unknown>>

const record = (value: unknown): Json => typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Json : {}
const list = (value: unknown): readonly unknown[] => Array.isArray(value) ? value : []
const text = (value: unknown): string => typeof value === 'string' ? value : ''
const number = (value: unknown, fallback: number): number => typeof value === 'number' && Number.isFinite(value) ? value : fallback

/** Grafana's grid has 24 columns, and rows of 30 px to ydash's 12 and some 50 px. */
const [COLUMNS_PER, ROWS_PER] = [2, 1.6]
const PANELS_MAX = 300

/** Kinds of panels, and the widgets that show the same. */
const KINDS: Readonly<Record<string, string>> = {
  timeseries: 'chart', graph: 'chart', trend: 'chart',
  barchart: 'bar', bargauge: 'bar', piechart: 'bar', histogram: 'bar',
  stat: 'number', singlestat: 'number', gauge: 'gauge',
  table: 'table', 'table-old': 'table', text: 'text', 'state-timeline': 'status', 'status-history': 'status'
}

/** Units that both know. */
const UNITS: Readonly<Record<string, string>> = {
  percent: '%', percentunit: '%', bytes: 'B', decbytes: 'B', Bps: 'B/s', binBps: 'B/s', s: 's', ms: 'ms',
  currencyUSD: '$', currencyEUR: '€', currencyGBP: '£', reqps: '/s', ops: '/s', short: '', none: ''
}

/** Whether JSON is a dashboard of Grafana, with or without the wrapping that its REST interface gives. */
export function isGrafana(json: Json | null): json is Json {
  const dashboard = json === null ? {} : unwrapped(json)
  return Array.isArray(dashboard.panels) && (dashboard.schemaVersion !== undefined || list(dashboard.panels).some(panel => record(panel).gridPos !== undefined))
}

const unwrapped = (json: Json): Json => Array.isArray(json.panels) ? json : record(json.dashboard)

/** A dashboard of Grafana as one of ydash; `prometheus` is where its queries are sent. */
export function fromGrafana(json: Json, prometheus: string): Record<string, unknown> {
  const dashboard = unwrapped(json)
  const widgets: Record<string, unknown> = {}
  const layout: Record<string, unknown> = {}
  // A row that is folded has its panels inside.
  const panels = list(dashboard.panels).map(record).flatMap(panel => panel.type === 'row' ? [panel, ...list(panel.panels).map(record)] : [panel]).slice(0, PANELS_MAX)
  const variables = Object.fromEntries(list(record(dashboard.templating).list).map(record).map(({ name, current }) => [text(name), currentOf(record(current).value)]))
  for (const [n, panel] of panels.entries()) {
    const id = `panel-${number(panel.id, n)}-${n}`
    const { x, y, w, h } = record(panel.gridPos)
    const box = {
      x: Math.min(Math.floor(number(x, 0) / COLUMNS_PER), 11),
      y: Math.round(number(y, n * 8) / ROWS_PER),
      w: Math.max(Math.round(number(w, 12) / COLUMNS_PER), 2),
      h: Math.max(Math.round(number(h, 8) / ROWS_PER), panel.type === 'row' ? 1 : 2)
    }
    layout[id] = { ...box, w: Math.min(box.w, 12 - box.x) }
    widgets[id] = widgetOf(panel, prometheus, variables)
  }
  return { meta: { title: text(dashboard.title) || 'From Grafana', seeded: true }, widgets, layout, filters: { dateRange: '1h' } }
}

function widgetOf(panel: Json, prometheus: string, variables: Readonly<Record<string, string>>): Record<string, unknown> {
  const title = text(panel.title)
  const kind = KINDS[text(panel.type)]
  if (panel.type === 'row') return { type: 'text', title, options: { text: '' } }
  if (kind === 'text' || kind === undefined && text(record(panel.options).content) !== '') return { type: 'text', title, options: { text: (text(record(panel.options).content) || text(panel.content)).slice(0, 20_000) } }
  const { defaults } = record(panel.fieldConfig)
  const { unit, decimals, min, max, thresholds } = record(defaults)
  const steps = list(record(thresholds).steps).map(record).map(({ value }) => value).filter((value): value is number => typeof value === 'number')
  const target = list(panel.targets).map(record).find(({ expr, hide }) => text(expr) !== '' && hide !== true)
  const query = target === undefined ? null : text(target.expr).replace(/\$\{?(\w+)(?::\w+)?\}?/g, (whole, name: string) => variables[name] ?? BUILT_IN[name] ?? whole)
  return {
    type: kind ?? 'chart',
    title,
    options: {
      ...query === null ? {} : { source: 'prometheus', url: prometheus, query },
      ...UNITS[text(unit)] !== undefined && UNITS[text(unit)] !== '' && { unit: UNITS[text(unit)] },
      ...typeof decimals === 'number' && { decimals },
      ...typeof min === 'number' && { min },
      ...typeof max === 'number' && { max },
      ...steps[0] !== undefined && { warn: steps[0] },
      ...steps[1] !== undefined && { alert: steps[1] },
      ...kind === 'chart' && record(panel.fieldConfig) !== undefined && record(record(defaults).custom).drawStyle === 'bars' && { style: 'bars' }
    }
  }
}

/** What Grafana puts in for itself. */
const BUILT_IN: Readonly<Record<string, string>> = { __rate_interval: '5m', __interval: '1m', __range: '1h' }

/** The value that a variable has: one, all of several as a pattern, or anything. */
function currentOf(value: unknown): string {
  if (Array.isArray(value)) return value.includes('$__all') ? '.*' : value.filter(one => typeof one === 'string').join('|')
  return value === '$__all' ? '.*' : text(value)
}
