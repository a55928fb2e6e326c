import type { ReactNode } from 'react'
import { formatNumber } from '../../shared/format.js'
import { lazily } from '../../shared/lazily.js'
import { labelsOf, numbersOf } from '../data/frame.js'
import { useFilterValues } from '../hooks.js'
import { cssColor, paletteColor, partColors } from '../palette.js'
import type { Line } from './Chart.js'
import { displayOf } from './display.js'
import type { WidgetProps } from './registry.js'
import { Shown } from './Shown.js'

// Numbers and tables are there before it.
const Chart = lazily(() => import('./Chart.js'), { waiting: <div className='chart' /> })

const LINES_MAX = 12

/** Numbers over time, or over whatever the labels are. */
export function Plot({ widget, title, isVisible }: WidgetProps): ReactNode {
  const { seconds } = useFilterValues()
  const { options } = widget
  return (
    <Shown widget={widget} isVisible={isVisible}>
      {({ frame, source, isLive }) => {
        const labels = labelsOf(frame, options.x)
        const fields = numbersOf(frame, options.columns, labels).slice(0, LINES_MAX)
        const colors = partColors(paletteColor(options.color), fields.length)
        const lines: Line[] = fields.map(({ id, name }, n) => ({ id, name, color: colors[n] ?? 'indigo' }))
        const display = displayOf(widget, source)
        if (fields.length === 0) return <p className='empty'>There are no numbers to draw in this data.</p>
        return (
          <div className='series'>
            {fields.length > 1 && (
              <ul className='legend'>
                {fields.map(({ id, name, values }, n) => (
                  <li key={id}><span className='dot' style={{ background: cssColor(lines[n]?.color ?? 'indigo') }} />{name}{isLive && <b>{formatNumber(values.findLast(value => typeof value === 'number') as number | undefined ?? null, display.unit, display.decimals)}</b>}</li>
                ))}
              </ul>
            )}
            {isVisible && <Chart label={title} display={display} lines={lines} labels={labels} fields={fields} seconds={isLive ? seconds : null} style={options.style === 'bars' || options.style === 'area' ? options.style : 'line'} />}
          </div>
        )
      }}
    </Shown>
  )
}
