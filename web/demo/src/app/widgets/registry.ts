import type { Json, Widget } from '@ydash/client'
import { Activity, AppWindow, ChartNoAxesColumn, ChartSpline, CircleGauge, Image, ListChecks, type LucideIcon, StickyNote, Table2, Type } from 'lucide-react'
import type { ReactNode } from 'react'
import { Bars } from './Bars.js'
import { Figure } from './Figure.js'
import { Gauge } from './Gauge.js'
import { Grid } from './Grid.js'
import { Embed, Picture } from './Media.js'
import { Note } from './Note.js'
import { Plot } from './Plot.js'
import { Status } from './Status.js'
import { Text } from './Text.js'

export interface WidgetProps {
  readonly widget: Widget
  /** What it is called here: its title, or its kind. */
  readonly title: string
  /** Whether it is on the screen: what is not draws nothing. */
  readonly isVisible: boolean
}

/** What of a widget can be set, beside its title. */
export type Setting = 'data' | 'columns' | 'labels' | 'reduce' | 'unit' | 'goal' | 'thresholds' | 'range' | 'color' | 'plot' | 'gauge' | 'sort' | 'text' | 'url' | 'fit'

export interface WidgetKind {
  readonly type: string
  /** What others call the same. */
  readonly aliases: readonly string[]
  readonly name: string
  readonly hint: string
  readonly icon: LucideIcon
  readonly size: { readonly w: number, readonly h: number }
  readonly options: Readonly<Record<string, Json>>
  readonly settings: readonly Setting[]
  readonly Component: (props: WidgetProps) => ReactNode
}

const DATA = { source: 'table' } as const

export const KINDS: readonly WidgetKind[] = [
  { type: 'number', aliases: ['stat', 'metric', 'kpi', 'counter'], name: 'Number', hint: 'With a goal and thresholds', icon: Activity, size: { w: 3, h: 3 }, options: { ...DATA, color: 'emerald' }, settings: ['data', 'columns', 'reduce', 'unit', 'goal', 'thresholds', 'color'], Component: Figure },
  { type: 'chart', aliases: ['series', 'line', 'area', 'timeseries', 'graph', 'linechart', 'line-chart'], name: 'Chart', hint: 'Lines, areas or columns', icon: ChartSpline, size: { w: 6, h: 5 }, options: { ...DATA, color: 'indigo' }, settings: ['data', 'labels', 'columns', 'plot', 'unit', 'range', 'color'], Component: Plot },
  { type: 'bar', aliases: ['bars', 'barchart', 'bar-chart'], name: 'Bars', hint: 'How amounts compare', icon: ChartNoAxesColumn, size: { w: 4, h: 5 }, options: { ...DATA, color: 'sky' }, settings: ['data', 'labels', 'columns', 'sort', 'unit', 'range', 'color'], Component: Bars },
  { type: 'table', aliases: ['grid', 'sheet'], name: 'Table', hint: 'Edited together, like a sheet', icon: Table2, size: { w: 6, h: 6 }, options: { ...DATA }, settings: ['data', 'unit'], Component: Grid },
  { type: 'gauge', aliases: ['progress', 'meter'], name: 'Gauge', hint: 'How far something is', icon: CircleGauge, size: { w: 3, h: 4 }, options: { ...DATA, color: 'violet' }, settings: ['data', 'columns', 'reduce', 'gauge', 'unit', 'range', 'thresholds', 'color'], Component: Gauge },
  { type: 'status', aliases: ['statuses', 'status-list', 'list'], name: 'Status list', hint: 'What is up, late or done', icon: ListChecks, size: { w: 3, h: 5 }, options: { ...DATA }, settings: ['data', 'labels', 'columns', 'unit', 'thresholds'], Component: Status },
  { type: 'note', aliases: ['richtext'], name: 'Note', hint: 'Rich text that all write at once', icon: StickyNote, size: { w: 4, h: 5 }, options: {}, settings: [], Component: Note },
  { type: 'text', aliases: ['markdown', 'label'], name: 'Text', hint: 'A few plain words', icon: Type, size: { w: 4, h: 3 }, options: { text: '' }, settings: ['text'], Component: Text },
  { type: 'image', aliases: ['picture', 'img'], name: 'Image', hint: 'By its address', icon: Image, size: { w: 4, h: 5 }, options: {}, settings: ['url', 'fit'], Component: Picture },
  { type: 'embed', aliases: ['iframe', 'page'], name: 'Embed', hint: 'Another page in a frame', icon: AppWindow, size: { w: 6, h: 6 }, options: {}, settings: ['url'], Component: Embed }
]

/** How a widget is drawn: by its type, or by what its options hold. */
export function kindOf({ type, options }: Widget): WidgetKind | undefined {
  const known = KINDS.find(kind => kind.type === type || kind.aliases.includes(type.toLowerCase()))
  if (known !== undefined || type !== '') return known
  const guess = Array.isArray(options.data ?? options.values ?? options.series) ? 'chart' : Array.isArray(options.rows) ? 'table' : typeof options.value === 'number' ? 'number' : typeof options.text === 'string' ? 'text' : null
  return KINDS.find(kind => kind.type === guess)
}
