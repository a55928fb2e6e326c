import type { ReactNode } from 'react'
import type { Sample } from '../feed.js'

/** A metric as a line without axes: whether it rises or falls. */
export function Spark({ samples, id, color }: { samples: readonly Sample[], id: string, color: string }): ReactNode {
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
