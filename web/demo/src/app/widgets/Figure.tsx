import type { ReactNode } from 'react'
import { formatValue } from '../../shared/format.js'
import { metricOf, type Sample } from '../feed.js'
import { useFilterValues, useSamples } from '../hooks.js'
import { cssColor, paletteColor } from '../palette.js'
import type { WidgetProps } from './registry.js'

/** A metric's value now, how it compares with the time shown, and a line of it. */
export function Figure({ widget, isVisible }: WidgetProps): ReactNode {
  const { seconds } = useFilterValues()
  const samples = useSamples(isVisible)
  const metric = metricOf(widget.options.metric)
  const latest = samples.at(-1)
  const shown = samples.filter(({ at }) => at >= (latest?.at ?? 0) - seconds)
  const known = shown.map(({ values }) => values[metric.id]).filter(value => value != null)
  const peak = known.length > 0 ? Math.max(...known) : null
  return (
    <div className='figure'>
      <p className='value'>{formatValue(latest?.values[metric.id] ?? (known.at(-1) ?? null), metric.unit)}</p>
      <p className='aside'>peak {formatValue(peak, metric.unit)}</p>
      <Spark samples={shown} id={metric.id} color={cssColor(paletteColor(widget.options.color))} />
    </div>
  )
}

function Spark({ samples, id, color }: { samples: readonly Sample[], id: string, color: string }): ReactNode {
  const points = samples.flatMap(({ at, values }) => values[id] == null ? [] : [{ at, value: values[id] }])
  const [first, last] = [points[0], points.at(-1)]
  if (first === undefined || last === undefined || points.length < 3) return null
  const top = Math.max(...points.map(({ value }) => value), 1e-9)
  const path = points.map(({ at, value }, n) =>
    `${n === 0 ? 'M' : 'L'}${((at - first.at) / (last.at - first.at) * 100).toFixed(2)} ${(30 - value / top * 28).toFixed(2)}`).join('')
  return (
    <svg className='spark' viewBox='0 0 100 31' preserveAspectRatio='none' aria-hidden='true' style={{ color }}>
      <path d={`${path}V31H0Z`} fill='currentColor' opacity='.13' />
      <path d={path} fill='none' stroke='currentColor' strokeWidth='2' vectorEffect='non-scaling-stroke' strokeLinejoin='round' />
    </svg>
  )
}
