import type { Box, Dashboard } from '@ydash/client'
import { plural, shorten } from '../../shared/format.js'
import { act } from '../acts.js'
import { announce } from '../announce.js'
import { ask } from '../Question.js'
import { parseTable } from '../data/csv.js'
import { freeTitle } from '../data/source.js'
import { arrange, type Boxes, COLUMNS, freePlace, place, readingOrder, shownIds } from '../grid.js'
import { showPanel, shownPanel } from '../panel/shown.js'
import { kindOf, type WidgetKind } from '../widgets/registry.js'
import { type Copy, copiesOf, putCopies, readCopies, writeCopies } from './copies.js'
import { select, selectAll, selection } from './selection.js'

export function arrangedOf({ layout, widgets }: Dashboard): Boxes {
  return arrange(layout.all.get(), shownIds(widgets.all.get()), {})
}

export function titleOf(dashboard: Dashboard, id: string): string {
  const widget = dashboard.widgets.get(id)
  return shorten(widget?.title || (widget && kindOf(widget)?.name) || 'Widget', 80)
}

function show(id: string): void {
  requestAnimationFrame(() => { document.querySelector(`[data-widget="${CSS.escape(id)}"]`)?.scrollIntoView({ block: 'nearest', behavior: 'smooth' }) })
}

/** A title that no other widget has: two that are called the same cannot be told apart. */
function freeWidgetTitle(dashboard: Dashboard, wanted: string): string {
  const taken = new Set(Object.values(dashboard.widgets.all.get()).map(({ title }) => title))
  let title = wanted
  for (let n = 2; taken.has(title); n++) title = `${wanted} ${n}`
  return title
}

/** Adds a widget and opens what can be set of it; a note is ready to be written. */
export function add(dashboard: Dashboard, kind: WidgetKind): string {
  dashboard.undo.cut()
  const box = freePlace(arrangedOf(dashboard), kind.size)
  const id = dashboard.edit(() => {
    const id = dashboard.widgets.add({ type: kind.type, title: freeWidgetTitle(dashboard, kind.name), options: kind.options }, box)
    if (kind.type === 'note') dashboard.widgets.richText(id)
    return id
  })
  select(id)
  dashboard.presence.setSelection(id)
  announce(`${kind.name} added`)
  show(id)
  if (kind.type === 'note') focusNote(id)
  else showPanel({ kind: 'widget', id })
  return id
}

/** The editor comes when its code does. */
function focusNote(id: string, left = 40): void {
  const editor = document.querySelector<HTMLElement>(`[data-widget="${CSS.escape(id)}"] .ProseMirror`)
  if (editor !== null) editor.focus()
  else if (left > 0) setTimeout(() => { focusNote(id, left - 1) }, 100)
}

/** Who is at work in a widget beside this client. */
function othersIn({ locks, presence }: Dashboard, id: string): string[] {
  const holder = locks.holder(id)
  const writing = presence.others.get().filter(({ selection }) => selection === id)
  return [...new Set([...holder !== null && !holder.isSelf ? [holder.user.name] : [], ...writing.map(({ user }) => user.name)])]
}

/** Removes widgets, with a way back; asks first where somebody is at work in one. */
export async function remove(dashboard: Dashboard, ids: readonly string[]): Promise<void> {
  const there = ids.filter(id => dashboard.widgets.get(id) !== undefined)
  const [first] = there
  if (first === undefined) return
  const what = there.length === 1 ? `“${titleOf(dashboard, first)}”` : plural(there.length, 'widget')
  const busy = [...new Set(there.flatMap(id => othersIn(dashboard, id)))]
  if (busy.length > 0 && !await ask({ question: `Remove ${what}?`, explanation: `${names(busy)} ${busy.length === 1 ? 'is' : 'are'} working in ${there.length === 1 ? 'it' : 'them'} right now.`, yes: 'Remove' })) return
  const copies = copiesOf(dashboard, there)
  const panel = shownPanel()
  if (panel?.kind === 'widget' && there.includes(panel.id)) showPanel(null)
  dashboard.undo.cut()
  dashboard.edit(() => {
    dashboard.widgets.remove(...there)
    // A table that nothing shows any more goes as well; it comes back with its widget.
    const shown = new Set(Object.values(dashboard.widgets.all.get()).filter(({ id }) => !there.includes(id)).map(({ options }) => options.table))
    const isNamed = Object.values(dashboard.widgets.all.get()).some(({ options }) => typeof options.formula === 'string')
    if (!isNamed) dashboard.tables.remove(...copies.flatMap(({ table }) => table !== undefined && !shown.has(table.id) ? [table.id] : []))
  })
  dashboard.undo.cut()
  const step = dashboard.undo.manager.undoStack.at(-1)
  act('removed', there)
  select(null)
  announce(`${what} removed`, true, {
    name: 'Undo',
    run: () => {
      if (dashboard.undo.manager.undoStack.at(-1) === step) dashboard.undo.undo()
      else putCopies(dashboard, copies.filter(({ id }) => dashboard.widgets.get(id) === undefined), ({ box }) => box, true)
    }
  })
}

function names(all: readonly string[]): string {
  return all.length > 3 ? `${all.slice(0, 2).join(', ')} and ${all.length - 2} more` : all.length > 1 ? `${all.slice(0, -1).join(', ')} and ${all.at(-1)}` : all[0] ?? ''
}

/** Puts copies where there is room, below what they are copies of. */
function put(dashboard: Dashboard, copies: readonly Copy[]): void {
  dashboard.undo.cut()
  const taken: Record<string, Box> = { ...arrangedOf(dashboard) }
  const ids = putCopies(dashboard, copies.map(copy => ({ ...copy, title: freeWidgetTitle(dashboard, copy.title) })), ({ box, type, options, id, title }, n) => {
    const { w, h } = box ?? kindOf({ id, type, title, options })?.size ?? { w: 4, h: 4 }
    const free = freePlace(taken, { w: Math.min(w, COLUMNS), h })
    taken[`new ${n}`] = free
    return free
  }, false)
  selectAll(ids)
  if (ids[0] !== undefined) show(ids[0])
  announce(`${plural(ids.length, 'widget')} added`)
}

export function duplicate(dashboard: Dashboard, ids: readonly string[]): void {
  const copies = copiesOf(dashboard, ids)
  if (copies.length > 0) put(dashboard, copies)
}

export function copyTextOf(dashboard: Dashboard, ids: readonly string[]): string | null {
  const copies = copiesOf(dashboard, ids)
  return copies.length === 0 ? null : writeCopies(copies)
}

/** Takes what is pasted onto the board: widgets, rows of a sheet, the address of an image or a page. Says whether it was something. */
export function paste(dashboard: Dashboard, text: string): boolean {
  const copies = readCopies(text)
  if (copies !== null && copies.length > 0) {
    put(dashboard, copies)
    return true
  }
  const url = text.trim()
  if (/^https?:\/\/\S+$/.test(url) && url.length < 2_000) {
    put(dashboard, [{ id: '', type: /\.(png|jpe?g|gif|webp|svg|avif)([?#]|$)/i.test(url) ? 'image' : 'embed', title: new URL(url).host, options: { url } }])
    return true
  }
  const parsed = /[\t\n]/.test(text.trim()) ? parseTable(text) : null
  if (parsed === null || parsed.rows.length === 0) return false
  addTable(dashboard, 'Pasted data', parsed)
  return true
}

/** Rows on the board: as a table, and as a chart of it where there are numbers. */
export function addTable(dashboard: Dashboard, title: string, content: NonNullable<ReturnType<typeof parseTable>>): void {
  const name = freeTitle(dashboard.tables, title)
  const table = dashboard.edit(() => dashboard.tables.add({ title: name, ...content }))
  const hasNumbers = content.rows.some(row => Object.values(row).some(cell => typeof cell === 'number'))
  put(dashboard, [
    ...hasNumbers ? [{ id: '', type: content.rows.length > 12 ? 'chart' : 'bar', title: name, options: { source: 'table', table }, box: { x: 0, y: 0, w: 6, h: 6 } }] : [],
    { id: '', type: 'table', title: hasNumbers ? `${name}: rows` : name, options: { source: 'table', table }, box: { x: 0, y: 0, w: 6, h: 6 } }
  ])
  announce(`${plural(content.rows.length, 'row')} on the board`, true)
}

/** Closes gaps: in reading order, each widget to the first place that has room for it. */
export function tidy(dashboard: Dashboard): void {
  const arranged = arrangedOf(dashboard)
  const tidied: Record<string, Box> = {}
  for (const id of readingOrder(arranged)) {
    const { w, h } = arranged[id] as Box
    tidied[id] = freePlace(tidied, { w, h })
  }
  dashboard.undo.cut()
  dashboard.layout.setAll(tidied)
  dashboard.undo.cut()
  announce('Gaps closed', true, { name: 'Undo', run: () => { dashboard.undo.undo() } })
}

/** Sizes that a widget is often wanted in. */
export function resize(dashboard: Dashboard, id: string, w: number, h: number): void {
  const arranged = arrangedOf(dashboard)
  const box = arranged[id]
  if (box === undefined) return
  dashboard.undo.cut()
  const next = place(arranged, id, { ...box, x: Math.min(box.x, COLUMNS - w), w, h })
  dashboard.layout.setAll(next)
}

export function selected(): string[] {
  return [...selection.get()]
}
