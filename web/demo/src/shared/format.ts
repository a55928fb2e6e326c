const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })
const small = new Intl.NumberFormat('en', { maximumFractionDigits: 2 })

/** A number with its unit, as short as it can be read at a glance. */
export function formatValue(value: number | null, unit: string): string {
  if (value === null || !Number.isFinite(value)) return '–'
  if (unit === 's') {
    if (value === 0) return '0 ms'
    return value < 0.001 ? `${small.format(value * 1e6)} µs` : value < 1 ? `${trim(value * 1000)} ms` : `${trim(value)} s`
  }
  if (unit === 'B' || unit === 'B/s') return `${formatBytes(value)}${unit === 'B/s' ? '/s' : ''}`
  return `${value >= 1000 ? compact.format(value) : trim(value)}${unit}`
}

export function formatBytes(value: number): string {
  let [at, scaled] = [0, value]
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  while (scaled >= 1000 && at < units.length - 1) {
    scaled /= 1024
    at++
  }
  return `${trim(scaled)} ${units[at]}`
}

export function formatTime(at: number): string {
  return new Date(at).toLocaleTimeString('en-GB')
}

/** So much of a title is shown; whatever else the document holds. */
export const TITLE_MAX = 120

/** The beginning of what may be of any length. */
export function shorten(text: string, max: number): string {
  return text.length > max ? `${text.slice(0, max)}…` : text
}

export function plural(n: number, one: string): string {
  return `${n.toLocaleString('en')} ${one}${n === 1 ? '' : 's'}`
}

function trim(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : value >= 10 ? String(Math.round(value * 10) / 10) : small.format(value)
}
