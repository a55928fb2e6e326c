import type { ReactNode } from 'react'
import { formatNumber } from '../../shared/format.js'
import { labelsOf } from '../data/frame.js'
import { displayOf, labelOf, toneOf, toneOfWord } from './display.js'
import type { WidgetProps } from './registry.js'
import { Shown } from './Shown.js'

const ROWS_MAX = 200

/** Things, and how each one is. */
export function Status({ widget, isVisible }: WidgetProps): ReactNode {
  const { options } = widget
  return (
    <Shown widget={widget} isVisible={isVisible}>
      {({ frame, source }) => {
        const display = displayOf(widget, source)
        const { fields, length } = frame
        // A program that pushes says all of them at once: each of its values is one thing.
        if (source === 'push') {
          const things = fields.filter(({ kind }) => kind !== 'time')
          return <List items={things.map(({ name, values }) => ({ name, state: values.findLast(value => value !== null) ?? null }))} display={display} />
        }
        const labels = fields.find(({ id }) => id === options.x) ?? fields.find(({ kind }) => kind === 'text') ?? labelsOf(frame, options.x)
        const picked = Array.isArray(options.columns) ? options.columns : []
        const state = fields.find(field => picked.includes(field.id) && field !== labels) ?? fields.find(field => field !== labels && field.kind !== 'time')
        return <List items={Array.from({ length: Math.min(length, ROWS_MAX) }, (_, n) => ({ name: labelOf(labels, n), state: state?.values[n] ?? null }))} display={display} />
      }}
    </Shown>
  )
}

function List({ items, display }: { items: readonly { name: string, state: number | string | null }[], display: ReturnType<typeof displayOf> }): ReactNode {
  return (
    <ul className='statuses'>
      {items.map(({ name, state }, n) => (
        <li key={n} data-tone={typeof state === 'number' ? toneOf(state, display) : toneOfWord(state ?? '')}>
          <span className='name' title={name}>{name}</span>
          <span className='state'>{typeof state === 'number' ? formatNumber(state, display.unit, display.decimals) : state ?? '–'}</span>
        </li>
      ))}
    </ul>
  )
}
