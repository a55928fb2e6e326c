import type { ReactNode } from 'react'
import { formatValue } from '../../shared/format.js'
import { feed, metricOf, SOURCES } from '../feed.js'
import { useFilterValues, useSamples } from '../hooks.js'
import { cssColor, paletteColor } from '../palette.js'
import type { WidgetProps } from './registry.js'

/** How a whole is made up. */
export function Bars({ widget, isVisible }: WidgetProps): ReactNode {
  const { sources } = useFilterValues()
  const latest = useSamples(isVisible).at(-1)
  const metric = metricOf(widget.options.metric ?? 'requests')
  const isBySource = metric.id === 'updates'
  const bars = isBySource
    ? SOURCES.filter(({ id }) => sources.includes(id)).map(({ id, name }) => ({ name, value: latest?.values[`updates.${id}`] ?? 0 }))
    : feed.routes.slice(0, 8)
  const most = Math.max(...bars.map(({ value }) => value), 1e-9)
  return (
    <ul className='bars' style={{ color: cssColor(paletteColor(widget.options.color)) }}>
      {bars.map(({ name, value }) => (
        <li key={name}>
          <span className='name'>{name}</span>
          <span className='track'><span className='bar' style={{ transform: `scaleX(${value / most})` }} /></span>
          <span className='count'>{formatValue(value, isBySource ? '/s' : '')}</span>
        </li>
      ))}
    </ul>
  )
}
