import type { ReactNode } from 'react'
import { formatNumber, partsOf } from '../../shared/format.js'
import { type Cell, type Field, labelsOf, numbersOf, reduce } from '../data/frame.js'
import { useFilterValues } from '../hooks.js'
import { cssColor, paletteColor } from '../palette.js'
import { type Display, displayOf, labelOf, toneOf } from './display.js'
import type { WidgetProps } from './registry.js'
import { Shown } from './Shown.js'
import { Spark } from './Spark.js'

/** One number: how far it is to its goal, how it has changed, and whether it is a reason to look. */
export function Figure({ widget, isVisible }: WidgetProps): ReactNode {
  const { seconds } = useFilterValues()
  const { options } = widget
  return (
    <Shown widget={widget} isVisible={isVisible}>
      {({ frame, source, isLive }) => {
        const display = displayOf(widget, source)
        const labels = labelsOf(frame, options.x)
        const field = numbersOf(frame, options.columns, labels)[0]
        const value = field === undefined ? null : reduce(field.values, options.reduce)
        const tone = toneOf(value, display)
        const said = field === undefined ? frame.fields.find(({ kind }) => kind === 'text')?.values.at(-1) : undefined
        return (
          <div className='figure' data-tone={tone}>
            <Value value={value} said={said} display={display} />
            <Aside field={field} labels={labels} value={value} how={options.reduce} display={display} isLive={isLive} />
            {display.goal !== undefined && <Goal value={value} display={display} />}
            {field !== undefined && options.reduce !== 'count' && display.goal === undefined && (
              <Spark times={labels?.kind === 'time' ? labels.values : null} values={field.values} seconds={isLive ? seconds : null} color={cssColor(paletteColor(options.color))} />
            )}
          </div>
        )
      }}
    </Shown>
  )
}

function Value({ value, said, display }: { value: number | null, said: Cell | undefined, display: Display }): ReactNode {
  const { before, number, unit } = partsOf(value, display.unit, display.decimals)
  return (
    <p className='value'>
      {before !== '' && <span className='unit'>{before}</span>}{display.floor !== undefined && value !== null && value <= display.floor && '< '}{said ?? number}{unit !== '' && <span className='unit'>{/^[%°/]/.test(unit) ? '' : ' '}{unit}</span>}
    </p>
  )
}

/** How the latest differs from the one before it, or what the number is made of. */
function Aside({ field, labels, value, how, display, isLive }: { field: Field | undefined, labels: Field | undefined, value: number | null, how: unknown, display: Display, isLive: boolean }): ReactNode {
  if (field === undefined || field.values.length < 2) return null
  if (how !== undefined && how !== 'last') return <p className='aside'>{{ sum: 'Sum', mean: 'Average', max: 'Highest', min: 'Lowest', count: 'Count' }[String(how)] ?? ''} of {field.values.length}</p>
  if (isLive) return null
  const at = field.values.findLastIndex(value => typeof value === 'number')
  const before = field.values.slice(0, at).findLastIndex(value => typeof value === 'number')
  const earlier = field.values[before]
  if (typeof earlier !== 'number' || value === null || earlier === 0) return null
  const change = (value - earlier) / Math.abs(earlier) * 100
  const isLowGood = display.warn !== undefined && display.alert !== undefined && display.alert > display.warn
  return (
    <p className='aside'>
      <span className='change' data-tone={Math.abs(change) < 0.05 ? 'none' : change > 0 !== isLowGood ? 'good' : 'bad'}>{change > 0 ? '▲' : change < 0 ? '▼' : '='} {formatNumber(Math.abs(change), '%', Math.abs(change) < 10 ? 1 : 0)}</span>
      {labels !== undefined && ` from ${labelOf(labels, before)}`}
    </p>
  )
}

function Goal({ value, display }: { value: number | null, display: Display }): ReactNode {
  const goal = display.goal ?? 0
  const part = value === null || goal === 0 ? 0 : Math.min(Math.max(value / goal, 0), 1)
  const percent = value === null || goal === 0 ? 0 : Math.round(value / goal * 100)
  return (
    <div className='goal'>
      <div className='track' role='progressbar' aria-label='Goal' aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.min(Math.max(percent, 0), 100)}><span className='fill' data-done={percent >= 100} style={{ width: `${part * 100}%` }} /></div>
      <p className='aside'>{percent}% of {formatNumber(goal, display.unit, display.decimals)}</p>
    </div>
  )
}
