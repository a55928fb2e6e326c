import type { ReactNode } from 'react'
import { formatNumber, partsOf } from '../../shared/format.js'
import { labelsOf, numbersOf, reduce } from '../data/frame.js'
import { cssColor, paletteColor } from '../palette.js'
import { displayOf, toneOf } from './display.js'
import type { WidgetProps } from './registry.js'
import { Shown } from './Shown.js'

const TONES = { none: null, good: 'var(--good)', busy: 'var(--busy)', bad: 'var(--bad)' } as const

/** How far a number is between its least and its most: as an arc, or as a bar. */
export function Gauge({ widget, isVisible }: WidgetProps): ReactNode {
  const { options } = widget
  return (
    <Shown widget={widget} isVisible={isVisible}>
      {({ frame, source }) => {
        const display = displayOf(widget, source)
        const field = numbersOf(frame, options.columns, labelsOf(frame, options.x))[0]
        const value = field === undefined ? null : reduce(field.values, options.reduce)
        const [min, max] = [display.min ?? 0, display.max ?? display.goal ?? 100]
        const part = value === null || max <= min ? 0 : Math.min(Math.max((value - min) / (max - min), 0), 1)
        const color = TONES[toneOf(value, display)] ?? cssColor(paletteColor(options.color))
        const { before, number, unit } = partsOf(value, display.unit, display.decimals)
        const written = <p className='gauge-value'>{before}{number}{unit !== '' && <span className='unit'>{/^[%°/]/.test(unit) ? '' : ' '}{unit}</span>}</p>
        const ends = <p className='gauge-ends'><span>{formatNumber(min, display.unit, display.decimals)}</span><span>{formatNumber(max, display.unit, display.decimals)}</span></p>
        const meter = { role: 'meter', 'aria-valuemin': min, 'aria-valuemax': max, 'aria-valuenow': value ?? min, 'aria-label': widget.title || 'Gauge' }
        return options.style === 'bar'
          ? (
            <div className='gauge' data-style='bar'>
              {written}
              <div className='track' {...meter} style={{ color }}><span className='fill' style={{ width: `${part * 100}%` }} /></div>
              {ends}
            </div>
            )
          : (
            <div className='gauge'>
              <div className='arc' {...meter}>
                <svg viewBox='0 0 100 56' aria-hidden='true' style={{ color }}>
                  <path d='M8 50A42 42 0 0 1 92 50' fill='none' stroke='var(--line)' strokeWidth='9' strokeLinecap='round' />
                  {part > 0 && <path d='M8 50A42 42 0 0 1 92 50' fill='none' stroke='currentColor' strokeWidth='9' strokeLinecap='round' pathLength='100' strokeDasharray={`${part * 100} 200`} />}
                </svg>
                {written}
              </div>
              {ends}
            </div>
            )
      }}
    </Shown>
  )
}
