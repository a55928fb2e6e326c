import type { Column, Row } from '@ydash/client'

/** A value of a widget's data. */
export type Cell = number | string | null

/** One column of what a widget shows. */
export interface Field {
  readonly id: string
  readonly name: string
  /** Seconds since 1970, numbers, or texts. */
  readonly kind: 'time' | 'number' | 'text'
  readonly values: readonly Cell[]
}

/** What a widget shows, wherever it comes from: columns of equal length. */
export interface Frame {
  readonly fields: readonly Field[]
  readonly length: number
}

export const EMPTY: Frame = { fields: [], length: 0 }

/** Rows that a widget looks at; the last ones, where there are more. */
export const ROWS_MAX = 5_000
const FIELDS_MAX = 50

/** Dates as people and programs write them so that every browser reads the same. */
const DATE = /^\d{4}-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?)?$/

/** A date in seconds since 1970, or `null` for what is none. */
export function timeOf(value: unknown): number | null {
  if (typeof value !== 'string' || !DATE.test(value)) return null
  const at = Date.parse(value.length === 7 ? `${value}-01` : value)
  return Number.isNaN(at) ? null : at / 1000
}

/** A number as a spreadsheet writes it: `1,234.50`, `1.234,50`, `€ 12`, `15 %`; `null` for what is none. */
export function numberOf(value: unknown): number | null {
  if (typeof value === 'number') return Number.isFinite(value) ? value : null
  if (typeof value !== 'string' || value.length > 40) return null
  let text = value.trim().replace(/^[€$£¥]\s*|\s*([€$£¥%]|EUR|USD|GBP|CHF)$/g, '').replaceAll(/[\s\u00a0\u202f'’](?=\d{3})/g, '')
  if (!/^[+-]?[\d.,]*\d([eE][+-]?\d+)?$/.test(text)) return null
  const [dot, comma] = [text.lastIndexOf('.'), text.lastIndexOf(',')]
  if (dot >= 0 && comma >= 0) {
    text = dot > comma ? text.replaceAll(',', '') : text.replaceAll('.', '').replace(',', '.')
  } else if (comma >= 0) {
    text = /^[+-]?\d{1,3}(,\d{3})+$/.test(text) ? text.replaceAll(',', '') : text.replace(',', '.')
  }
  const number = Number(text)
  return text !== '' && Number.isFinite(number) ? number : null
}

/** What somebody typed or pasted into a cell. */
export function cellOf(text: string): Cell {
  const trimmed = text.trim()
  if (trimmed === '') return null
  // What has zeros in front is a code, and a date is a date.
  if (/^[+-]?0\d/.test(trimmed) || timeOf(trimmed) !== null) return trimmed
  return numberOf(trimmed) ?? trimmed
}

function fieldOf({ id, name }: Column, raw: readonly unknown[]): Field {
  const given = raw.filter(value => value !== null && value !== undefined && value !== '')
  const as = (kind: Field['kind'], read: (value: unknown) => Cell): Field => ({ id, name, kind, values: raw.map(read) })
  if (given.length > 0 && given.every(value => timeOf(value) !== null)) return as('time', timeOf)
  if (given.length > 0 && given.every(value => numberOf(value) !== null)) return as('number', numberOf)
  return as('text', value => value === null || value === undefined ? null : typeof value === 'object' ? JSON.stringify(value).slice(0, 200) : String(value).slice(0, 2_000))
}

/** A frame of rows. */
export function frameOf(columns: readonly Column[], rows: readonly Row[]): Frame {
  const shown = rows.slice(-ROWS_MAX)
  return { fields: columns.slice(0, FIELDS_MAX).map(column => fieldOf(column, shown.map(row => Object.hasOwn(row, column.id) ? row[column.id] : null))), length: shown.length }
}

/** A frame of whatever JSON holds: rows, numbers, an object of columns, one object, one value. */
export function frameOfJson(json: unknown): Frame {
  if (Array.isArray(json)) {
    const list = json.slice(-ROWS_MAX)
    if (list.length === 0) return EMPTY
    if (list.every(one => typeof one === 'object' && one !== null && !Array.isArray(one))) {
      const names = [...new Set(list.flatMap(one => Object.keys(one as object)))].slice(0, FIELDS_MAX)
      return frameOf(names.map(name => ({ id: name, name })), list as Row[])
    }
    if (list.every(one => Array.isArray(one))) {
      const width = Math.min(Math.max(...list.map(one => (one as unknown[]).length)), FIELDS_MAX)
      return frameOf(Array.from({ length: width }, (_, n) => ({ id: String(n), name: `Column ${n + 1}` })), list.map(one => Object.fromEntries((one as unknown[]).entries())) as Row[])
    }
    return frameOf([{ id: 'value', name: 'Value' }], list.map(value => ({ value })) as Row[])
  }
  if (typeof json === 'object' && json !== null) {
    const entries = Object.entries(json)
    if (entries.length > 0 && entries.every(([, value]) => Array.isArray(value))) {
      const length = Math.min(Math.max(...entries.map(([, value]) => (value as unknown[]).length)), ROWS_MAX)
      return { fields: entries.slice(0, FIELDS_MAX).map(([name, value]) => fieldOf({ id: name, name }, Array.from({ length }, (_, n) => (value as unknown[])[n]))), length }
    }
    return frameOf(entries.map(([name]) => ({ id: name, name })), [json as Row])
  }
  return json === null || json === undefined ? EMPTY : frameOf([{ id: 'value', name: 'Value' }], [{ value: json as Cell }])
}

/** What stands along the bottom: the field that is chosen, else the first of times or texts. */
export function labelsOf(frame: Frame, chosen: unknown): Field | undefined {
  return frame.fields.find(({ id }) => id === chosen) ?? frame.fields.find(({ kind }) => kind === 'time') ?? frame.fields.find(({ kind }) => kind === 'text')
}

/** What is measured: the fields that are chosen, else all numbers but the labels. */
export function numbersOf(frame: Frame, chosen: unknown, labels?: Field): readonly Field[] {
  const picked = Array.isArray(chosen) ? chosen : typeof chosen === 'string' ? [chosen] : []
  const numbers = frame.fields.filter(field => field.kind === 'number' && field !== labels)
  const found = numbers.filter(({ id }) => picked.includes(id))
  return found.length > 0 ? found : numbers
}

export const REDUCERS = [
  { id: 'last', name: 'Latest' }, { id: 'sum', name: 'Sum' }, { id: 'mean', name: 'Average' }, { id: 'max', name: 'Highest' }, { id: 'min', name: 'Lowest' }, { id: 'count', name: 'Count' }
] as const

/** One number of many. */
export function reduce(values: readonly Cell[], how: unknown): number | null {
  const numbers = values.filter(value => typeof value === 'number')
  if (how === 'count') return values.filter(value => value !== null).length
  if (numbers.length === 0) return null
  switch (how) {
    case 'sum': return numbers.reduce((sum, value) => sum + value, 0)
    case 'mean': return numbers.reduce((sum, value) => sum + value, 0) / numbers.length
    case 'max': return numbers.reduce((a, b) => Math.max(a, b))
    case 'min': return numbers.reduce((a, b) => Math.min(a, b))
    default: return numbers.at(-1) ?? null
  }
}
