import type { Box, Dashboard, Json, Row } from '@ydash/client'
import * as Y from 'yjs'
import { METRICS } from './feed.js'
import { COLUMNS } from './grid.js'

/** What a new dashboard may begin with. */
export interface Template {
  readonly id: string
  readonly name: string
  readonly hint: string
}

export const TEMPLATES: readonly Template[] = [
  { id: 'blank', name: 'Blank', hint: 'An empty board' },
  { id: 'sample', name: 'Sales and team', hint: 'A small business and what it works on' },
  { id: 'status', name: 'Status page', hint: 'Services, pushed by your programs' },
  { id: 'operations', name: 'Live operations', hint: 'This server’s own metrics' }
]

/** Whether somebody has been here: then nothing is put in. */
function isUntouched({ doc, widgets, meta }: Dashboard): boolean {
  return doc.share.size === 0 || Object.keys(widgets.all.get()).length === 0 && meta.shared.get().seeded !== true && typeof meta.shared.get().title !== 'string'
}

/**
 * Fills a dashboard that nobody has touched, by a template's id; `title` is what it is to be called. Two who do so at once write the
 * same under the same names.
 */
export function begin(dashboard: Dashboard, template: string, title: string | null = null): void {
  if (!isUntouched(dashboard)) return
  // Not this user's edit: undo stops here.
  dashboard.doc.transact(() => {
    if (template === 'sample') sample(dashboard)
    else if (template === 'status') status(dashboard)
    else if (template === 'operations') operations(dashboard)
    else dashboard.meta.set({ title: dashboard.id.split('/').at(-1) ?? 'Untitled', seeded: true })
    if (title !== null) dashboard.meta.set({ title })
  }, 'seed')
}

type Options = Readonly<Record<string, Json>>

function sample(dashboard: Dashboard): void {
  const { meta, tables } = dashboard
  const add = adder(dashboard)
  meta.set({ title: 'Fernwood Coffee', seeded: true, sample: true })
  tables.add({ id: 'sales', title: 'Sales', columns: ['Month', 'Revenue', 'Costs', 'Orders'], rows: rowsOf(['Month', 'Revenue', 'Costs', 'Orders'], [
    ['2026-01', 31200, 24800, 1240], ['2026-02', 29850, 23900, 1195], ['2026-03', 34700, 25600, 1388], ['2026-04', 37900, 26900, 1502],
    ['2026-05', 41300, 28100, 1611], ['2026-06', 43950, 29400, 1720], ['2026-07', 42100, 28900, 1668], ['2026-08', 45800, 30200, 1795],
    ['2026-09', 48250, 31100, 1902]
  ]) })
  tables.add({ id: 'products', title: 'Products', columns: ['Product', 'Sold', 'In stock'], rows: rowsOf(['Product', 'Sold', 'In stock'], [
    ['House blend', 612, 140], ['Ethiopia Guji', 431, 22], ['Cold brew kit', 288, 61], ['Decaf', 214, 95], ['Gift box', 187, 9], ['Hand grinder', 96, 33]
  ]) })
  tables.add({ id: 'tasks', title: 'Tasks', columns: ['Task', 'Who', 'State'], rows: rowsOf(['Task', 'Who', 'State'], [
    ['Autumn window display', 'Mia', 'Doing'], ['Order Guji from importer', 'Tom', 'Late'], ['New card terminal', 'Mia', 'Done'], ['Newsletter: cold brew', 'Tom', 'Review'], ['Plan the holiday rota', 'Mia', 'Open']
  ]) })
  tables.add({ id: 'shops', title: 'Shops', columns: ['Shop', 'State'], rows: rowsOf(['Shop', 'State'], [
    ['Harbour Street', 'Open'], ['Old Mill', 'Open'], ['Web shop', 'Running'], ['Roastery', 'Delayed delivery']
  ].map(([shop, state]) => [shop ?? '', state === 'Open' ? 'Running' : state ?? ''])) })
  add('revenue', 'number', 'Revenue in September', { source: 'table', table: 'sales', columns: ['Revenue'], unit: '€', goal: 50000, color: 'indigo' }, 0, 0, 3, 3)
  add('orders', 'number', 'Orders', { source: 'table', table: 'sales', columns: ['Orders'], color: 'emerald' }, 3, 0, 3, 3)
  add('profit', 'number', 'Profit this year', { source: 'formula', formula: 'Sales.Revenue - Sales.Costs', reduce: 'sum', unit: '€', color: 'sky' }, 6, 0, 3, 3)
  add('basket', 'number', 'Average order', { source: 'formula', formula: 'Sales.Revenue / Sales.Orders', unit: '€', decimals: 2, color: 'amber' }, 9, 0, 3, 3)
  add('months', 'chart', 'Revenue and costs', { source: 'table', table: 'sales', columns: ['Revenue', 'Costs'], unit: '€', style: 'bars', color: 'indigo' }, 0, 3, 6, 7)
  add('best', 'bar', 'Best sellers', { source: 'table', table: 'products', columns: ['Sold'], sort: 'value', color: 'sky' }, 6, 3, 3, 7)
  add('stock', 'gauge', 'Lowest stock', { source: 'formula', formula: 'min(Products.[In stock])', max: 50, warn: 20, alert: 5, color: 'emerald' }, 9, 3, 3, 3)
  add('states', 'status', 'Shops', { source: 'table', table: 'shops' }, 9, 6, 3, 4)
  add('work', 'table', 'Tasks', { source: 'table', table: 'tasks' }, 0, 10, 5, 5)
  add('products', 'table', 'Products', { source: 'table', table: 'products' }, 5, 10, 3, 5)
  add('note', 'note', 'Read me', {}, 8, 10, 4, 5)
  dashboard.widgets.richText('note')?.insert(0, [
    heading('This board is shared'),
    paragraph('Whoever opens its address edits it with you: widgets, cells and this note, at the same time.'),
    list('Type into a table: its charts follow', 'Paste rows of a spreadsheet anywhere with Ctrl V', 'Scan the code above to join with your phone')
  ])
}

function status(dashboard: Dashboard): void {
  const add = adder(dashboard)
  dashboard.meta.set({ title: 'Status', seeded: true })
  add('services', 'status', 'Services', { source: 'push' }, 0, 0, 4, 6)
  add('latency', 'chart', 'Response time', { source: 'push', unit: 'ms', color: 'sky' }, 4, 0, 8, 6)
  add('errors', 'number', 'Errors per minute', { source: 'push', warn: 5, alert: 20, color: 'rose' }, 0, 6, 3, 3)
  add('note', 'note', 'On call', {}, 3, 6, 9, 4)
  dashboard.widgets.richText('note')?.insert(0, [paragraph('Open the settings of a widget: they show the command that pushes its values.')])
}

function operations(dashboard: Dashboard): void {
  const add = adder(dashboard)
  dashboard.meta.set({ title: 'Live operations', seeded: true })
  dashboard.filters.set({ dateRange: '1m' })
  const server = { source: 'server' } as const
  add('edits-now', 'number', 'Edits', { ...server, metric: 'updates', color: 'indigo' }, 0, 0, 3, 3)
  add('moves-now', 'number', 'Cursor moves', { ...server, metric: 'awareness', color: 'sky' }, 3, 0, 3, 3)
  add('disk-now', 'number', 'Time to disk', { ...server, metric: 'append', color: 'amber' }, 6, 0, 3, 3)
  add('sessions-now', 'number', 'Sessions on this server', { ...server, metric: 'sessions', color: 'emerald' }, 9, 0, 3, 3)
  add('moves', 'chart', 'Cursor moves: yours, too', { ...server, metric: 'awareness', color: 'sky' }, 0, 3, 8, 5)
  add('note', 'note', 'Notes', {}, 8, 3, 4, 8)
  add('edits', 'chart', 'Edits by source', { ...server, metric: 'updates', color: 'indigo', split: true }, 0, 8, 5, 5)
  add('requests', 'bar', 'Requests by route', { ...server, metric: 'requests', by: 'route', color: 'sky' }, 5, 8, 3, 5)
  add('numbers', 'table', 'Everything at once', { ...server }, 8, 11, 4, 7)
  add('disk', 'chart', 'Time to disk, over time', { ...server, metric: 'append', color: 'amber', split: true }, 0, 13, 8, 5)
  dashboard.widgets.richText('note')?.insert(0, [
    heading('Try it'),
    paragraph('Open this page in a second tab, side by side.'),
    list('Drag and resize the same widgets in both', 'Write here at the same time', 'Click a face above to follow it', 'Work offline, edit, and come back')
  ])
}

/** Adds so many charts, for whoever wants to see whether it stays fluid. */
export function fill(dashboard: Dashboard, count: number): void {
  const colors = ['indigo', 'sky', 'emerald', 'amber', 'rose', 'violet']
  const below = Math.max(0, ...Object.values(dashboard.layout.all.get()).map(({ y, h }) => y + h))
  dashboard.undo.cut()
  dashboard.edit(() => {
    for (let n = 0; n < count; n++) {
      const metric = METRICS[n % METRICS.length]
      const [w, h] = [3, 4]
      const box = { x: n * w % COLUMNS, y: below + Math.floor(n * w / COLUMNS) * h, w, h }
      const type = n % 4 === 3 ? 'number' : 'chart'
      dashboard.widgets.add({ type, title: metric?.name ?? '', options: { source: 'server', metric: metric?.id ?? '', color: colors[n % colors.length] ?? '' } }, box)
    }
  })
}

function adder({ widgets }: Dashboard): (id: string, type: string, title: string, options: Options, x: Box['x'], y: Box['y'], w: Box['w'], h: Box['h']) => void {
  return (id, type, title, options, x, y, w, h) => { widgets.add({ id, type, title, options }, { x, y, w, h }) }
}

function rowsOf(columns: readonly string[], rows: readonly (readonly (string | number)[])[]): Row[] {
  return rows.map(row => Object.fromEntries(columns.map((column, n) => [column, row[n] ?? null])))
}

function element(name: string, attributes: Record<string, string>, children: (Y.XmlElement | Y.XmlText)[]): Y.XmlElement {
  const made = new Y.XmlElement(name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  made.insert(0, children)
  return made
}

const paragraph = (text: string): Y.XmlElement => element('paragraph', {}, [new Y.XmlText(text)])

function heading(text: string): Y.XmlElement {
  const made = element('heading', {}, [new Y.XmlText(text)])
  made.setAttribute('level', 3 as never)
  return made
}

const list = (...items: string[]): Y.XmlElement =>
  element('bullet_list', {}, items.map(item => element('list_item', {}, [paragraph(item)])))
