import type { Widget } from '@ydash/client'
import type { Field } from '../data/frame.js'
import { metricOf } from '../feed.js'

/** How a widget writes its numbers, and when one is a reason to look. */
export interface Display {
  readonly unit: string
  readonly decimals: number | undefined
  readonly goal: number | undefined
  readonly warn: number | undefined
  readonly alert: number | undefined
  readonly min: number | undefined
  readonly max: number | undefined
  /** What is measured is not told apart below it. */
  readonly floor?: number | undefined
}

const numeric = (value: unknown): number | undefined => typeof value === 'number' && Number.isFinite(value) ? value : undefined

export function displayOf({ options }: Widget, source: string): Display {
  return {
    unit: typeof options.unit === 'string' ? options.unit.slice(0, 12) : source === 'server' && options.by !== 'route' ? metricOf(options.metric).unit : '',
    floor: source === 'server' ? metricOf(options.metric).floor : undefined,
    decimals: numeric(options.decimals),
    goal: numeric(options.goal),
    warn: numeric(options.warn),
    alert: numeric(options.alert),
    min: numeric(options.min),
    max: numeric(options.max)
  }
}

export type Tone = 'good' | 'busy' | 'bad' | 'none'

/** What a value means. Where the alert is below the warning, low is bad. */
export function toneOf(value: number | null, { warn, alert }: Display): Tone {
  if (value === null || warn === undefined && alert === undefined) return 'none'
  const isLowBad = warn !== undefined && alert !== undefined && alert < warn
  const beyond = (limit: number | undefined): boolean => limit !== undefined && (isLowBad ? value <= limit : value >= limit)
  return beyond(alert) ? 'bad' : beyond(warn) ? 'busy' : 'good'
}

const WORDS: readonly (readonly [Tone, RegExp])[] = [
  ['bad', /\b(down|error|fail(ed|ing|ure)?|blocked|critical|late|overdue|broken|red|offline|cancell?ed|out of stock|no|at risk)\b/i],
  ['busy', /\b(warn(ing)?|degraded|busy|doing|in progress|pending|waiting|slow|review|yellow|amber|low|delayed|paused|open)\b/i],
  ['good', /\b(ok|okay|up|done|healthy|passed|passing|success|succeeded|green|online|ready|on track|running|active|live|shipped|paid|yes|complete|completed)\b/i]
]

/** What a word says about a state. */
export function toneOfWord(word: string): Tone {
  return WORDS.find(([, pattern]) => pattern.test(word))?.[0] ?? 'none'
}

/** How a label is written. */
export function labelOf(field: Field | undefined, at: number): string {
  const value = field?.values[at] ?? null
  return value === null ? '–' : field?.kind !== 'time' ? String(value) : isMonths(field) ? monthOf(value as number) : dateOf(value as number)
}

const months = new WeakMap<Field, boolean>()

/** Whether all of them are the beginnings of months: then nobody means the first. */
function isMonths(field: Field): boolean {
  let is = months.get(field)
  if (is === undefined) {
    is = field.values.length > 1 && field.values.every(value => typeof value !== 'number' || value % 86_400 === 0 && new Date(value * 1000).getUTCDate() === 1)
    months.set(field, is)
  }
  return is
}

const monthOf = (seconds: number): string => new Date(seconds * 1000).toLocaleDateString('en-GB', { month: 'short', year: 'numeric', timeZone: 'UTC' })

/** A date as short as it is unmistakable: with the time only where it has one. */
export function dateOf(seconds: number): string {
  const date = new Date(seconds * 1000)
  const isDay = seconds % 86_400 === 0
  return isDay
    ? date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' })
    : date.toLocaleString('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' })
}
