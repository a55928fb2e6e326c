import type { ReactNode } from 'react'
import { formatValue } from '../../shared/format.js'
import { metricOf } from '../feed.js'
import { useFilterValues, useSamples } from '../hooks.js'
import { paletteColor, partColors, cssColor } from '../palette.js'
import { Chart, type Line } from './Chart.js'
import type { WidgetProps } from './registry.js'

/** A metric over time, whole or by its parts. */
export function Series({ widget, title, isVisible }: WidgetProps): ReactNode {
  const { seconds, sources } = useFilterValues()
  const samples = useSamples(isVisible)
  const metric = metricOf(widget.options.metric)
  const color = paletteColor(widget.options.color)
  const isSplit = widget.options.split === true && metric.parts !== undefined
  const parts = isSplit ? metric.parts.filter(({ id }) => metric.id !== 'updates' || sources.includes(id.slice('updates.'.length))) : [metric]
  const colors = partColors(color, parts.length)
  const lines: Line[] = parts.map(({ id, name }, n) => ({ id, name, color: colors[n] ?? color }))
  const latest = samples.at(-1)
  return (
    <div className='series'>
      {isSplit && (
        <ul className='legend'>
          {lines.map(({ id, name, color }) => (
            <li key={id}><span className='dot' style={{ background: cssColor(color) }} />{name} <b>{formatValue(latest?.values[id] ?? null, metric.unit)}</b></li>
          ))}
        </ul>
      )}
      {isVisible && <Chart label={title} unit={metric.unit} lines={lines} samples={samples} seconds={seconds} />}
    </div>
  )
}
