import type { Json, Widget } from '@ydash/client'
import { Activity, ChartNoAxesColumn, ChartSpline, type LucideIcon, StickyNote, Table2 } from 'lucide-react'
import type { ReactNode } from 'react'
import { Bars } from './Bars.js'
import { Figure } from './Figure.js'
import { Note } from './Note.js'
import { Series } from './Series.js'
import { Table } from './Table.js'

export interface WidgetProps {
  readonly widget: Widget
  /** What it is called here: its title, or its kind. */
  readonly title: string
  /** Whether it is on the screen: what is not draws nothing. */
  readonly isVisible: boolean
}

export interface WidgetKind {
  readonly type: string
  readonly name: string
  readonly icon: LucideIcon
  readonly size: { readonly w: number, readonly h: number }
  readonly title: string
  readonly options: Readonly<Record<string, Json>>
  /** Metrics that may be chosen, where there is a choice. */
  readonly metrics: 'all' | readonly string[]
  readonly hasColor: boolean
  readonly Component: (props: WidgetProps) => ReactNode
}

export const KINDS: readonly WidgetKind[] = [
  { type: 'series', name: 'Time series', icon: ChartSpline, size: { w: 5, h: 5 }, title: 'Edits', options: { metric: 'updates', color: 'indigo' }, metrics: 'all', hasColor: true, Component: Series },
  { type: 'number', name: 'Number', icon: Activity, size: { w: 3, h: 3 }, title: 'Deliveries', options: { metric: 'deliveries', color: 'emerald' }, metrics: 'all', hasColor: true, Component: Figure },
  { type: 'bar', name: 'Bars', icon: ChartNoAxesColumn, size: { w: 3, h: 5 }, title: 'Requests by route', options: { metric: 'requests', color: 'sky' }, metrics: ['requests', 'updates'], hasColor: true, Component: Bars },
  { type: 'table', name: 'Table', icon: Table2, size: { w: 4, h: 6 }, title: 'All numbers', options: {}, metrics: [], hasColor: false, Component: Table },
  { type: 'note', name: 'Note', icon: StickyNote, size: { w: 4, h: 5 }, title: 'Note', options: {}, metrics: [], hasColor: false, Component: Note }
]

export function kindOf(type: string): WidgetKind | undefined {
  return KINDS.find(kind => kind.type === type)
}
