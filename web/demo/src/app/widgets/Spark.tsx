import type { ReactNode } from 'react'
import type { Cell } from '../data/frame.js'

interface SparkProps {
  /** Seconds since 1970; `null` where values follow each other at equal distance. */
  readonly times: readonly Cell[] | null
  readonly values: readonly Cell[]
  /** The span that the whole width stands for; `null` for what there is. */
  readonly seconds: number | null
  readonly color: string
}

/** Points beyond this are left out evenly: a small line shows no more. */
const POINTS_MAX = 120

/** Numbers as a line without axes: whether they rise or fall. */
export function Spark({ times, values, seconds, color }: SparkProps): ReactNode {
  const all = values.flatMap((value, n) => typeof value === 'number' ? [{ at: typeof times?.[n] === 'number' ? times[n] : n, value }] : [])
  const step = Math.ceil(all.length / POINTS_MAX)
  const points = step > 1 ? all.filter((_, n) => (all.length - 1 - n) % step === 0) : all
  const last = points.at(-1)
  if (last === undefined || points.length < 3) return null
  const from = seconds !== null ? last.at - seconds : points[0]?.at ?? 0
  const [least, high] = [Math.min(...points.map(({ value }) => value)), Math.max(...points.map(({ value }) => value))]
  // What does not move would look like a border.
  if (high - least < 1e-9) return null
  const low = least >= 0 ? Math.max(least - (high - least) / 3, 0) : least - (high - least) / 3
  const path = points.filter(({ at }) => at >= from).map(({ at, value }, n) =>
    `${n === 0 ? 'M' : 'L'}${((at - from) / Math.max(last.at - from, 1e-9) * 100).toFixed(2)} ${(30 - (value - low) / (high - low) * 27).toFixed(2)}`).join('')
  const first = Math.max(points.find(({ at }) => at >= from)?.at ?? 0, from)
  return (
    <svg className='spark' viewBox='0 0 100 31' preserveAspectRatio='none' aria-hidden='true' style={{ color }}>
      <path d={`${path}V31H${((first - from) / Math.max(last.at - from, 1e-9) * 100).toFixed(2)}Z`} fill='currentColor' opacity='.13' />
      <path d={path} fill='none' stroke='currentColor' strokeWidth='1.75' vectorEffect='non-scaling-stroke' strokeLinejoin='round' />
    </svg>
  )
}
