import type { ReactNode } from 'react'
import { formatNumber } from '../../shared/format.js'
import { labelsOf, numbersOf } from '../data/frame.js'
import { cssColor, paletteColor } from '../palette.js'
import { displayOf, labelOf } from './display.js'
import type { WidgetProps } from './registry.js'
import { Shown } from './Shown.js'

const BARS_MAX = 100

/** How amounts compare. */
export function Bars({ widget, isVisible }: WidgetProps): ReactNode {
  const { options } = widget
  return (
    <Shown widget={widget} isVisible={isVisible}>
      {({ frame, source }) => {
        const { unit, decimals, max } = displayOf(widget, source)
        const labels = labelsOf(frame, options.x)
        const field = numbersOf(frame, options.columns, labels)[0]
        if (field === undefined) return <p className='empty'>There are no numbers to draw in this data.</p>
        const bars = field.values.map((value, n) => ({ name: labelOf(labels, n), value: typeof value === 'number' ? value : 0 })).slice(0, BARS_MAX)
        if (options.sort === 'value') bars.sort((a, b) => b.value - a.value)
        const most = Math.max(max ?? Math.max(...bars.map(({ value }) => Math.abs(value))), 1e-9)
        return (
          <ul className='bars' style={{ color: cssColor(paletteColor(options.color)) }}>
            {bars.map(({ name, value }, n) => (
              <li key={n}>
                <span className='name' title={name}>{name}</span>
                <span className='track'><span className='fill' style={{ width: `${Math.min(Math.abs(value) / most, 1) * 100}%` }} /></span>
                <span className='count'>{formatNumber(value, unit, decimals)}</span>
              </li>
            ))}
          </ul>
        )
      }}
    </Shown>
  )
}
