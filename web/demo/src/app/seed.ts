import type { Dashboard } from '@ydash/client'
import * as Y from 'yjs'
import { METRICS } from './feed.js'
import { COLUMNS } from './grid.js'

/** Fills a dashboard that nobody has touched. Two who do so at once write the same under the same names. */
export function seed(dashboard: Dashboard): void {
  const { doc, widgets, meta, filters } = dashboard
  if (doc.share.size > 0 && (Object.keys(widgets.all.get()).length > 0 || meta.shared.get().seeded === true)) return
  // Not this user's edit: undo stops here.
  doc.transact(() => {
    meta.set({ title: 'Live operations', seeded: true })
    filters.set({ dateRange: '1m' })
    widgets.add({ id: 'edits-now', type: 'number', title: 'Edits', options: { metric: 'updates', color: 'indigo' } }, { x: 0, y: 0, w: 3, h: 3 })
    widgets.add({ id: 'moves-now', type: 'number', title: 'Cursor moves', options: { metric: 'awareness', color: 'rose' } }, { x: 3, y: 0, w: 3, h: 3 })
    widgets.add({ id: 'disk-now', type: 'number', title: 'Time to disk', options: { metric: 'append', color: 'amber' } }, { x: 6, y: 0, w: 3, h: 3 })
    widgets.add({ id: 'sessions-now', type: 'number', title: 'People and screens', options: { metric: 'sessions', color: 'emerald' } }, { x: 9, y: 0, w: 3, h: 3 })
    widgets.add({ id: 'moves', type: 'series', title: 'Cursor moves: yours, too', options: { metric: 'awareness', color: 'rose' } }, { x: 0, y: 3, w: 8, h: 5 })
    widgets.add({ id: 'note', type: 'note', title: 'Notes' }, { x: 8, y: 3, w: 4, h: 8 })
    widgets.add({ id: 'edits', type: 'series', title: 'Edits by source', options: { metric: 'updates', color: 'indigo', split: true } }, { x: 0, y: 8, w: 5, h: 5 })
    widgets.add({ id: 'requests', type: 'bar', title: 'Requests by route', options: { color: 'sky' } }, { x: 5, y: 8, w: 3, h: 5 })
    widgets.add({ id: 'numbers', type: 'table', title: 'Everything at once', options: {} }, { x: 8, y: 11, w: 4, h: 7 })
    widgets.add({ id: 'disk', type: 'series', title: 'Time to disk', options: { metric: 'append', color: 'amber', split: true } }, { x: 0, y: 13, w: 8, h: 5 })
    widgets.richText('note')?.insert(0, [
      heading('Try it'),
      paragraph('Open this page in a second tab, side by side.'),
      list('Drag and resize the same widgets in both', 'Write here at the same time', 'Click a face above to follow it', 'Pull the plug, edit, and come back')
    ])
  }, 'seed')
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
      const type = n % 4 === 3 ? 'number' : 'series'
      dashboard.widgets.add({ type, title: metric?.name ?? '', options: { metric: metric?.id ?? '', color: colors[n % colors.length] ?? '' } }, box)
    }
  })
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
