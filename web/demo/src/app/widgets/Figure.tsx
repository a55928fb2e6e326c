import type { ReactNode } from 'react'
import { formatValue } from '../../shared/format.js'
import { metricOf } from '../feed.js'
import { useFilterValues, useSamples } from '../hooks.js'
import { cssColor, paletteColor } from '../palette.js'
import type { WidgetProps } from './registry.js'
import { Spark } from './Spark.js'

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
