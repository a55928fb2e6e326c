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

const CURRENCY = /^[€$£¥]$/
/** Units that numbers have on their own: their size decides what stands behind them. */
const SCALED = new Set(['s', 'B', 'B/s'])

/** A number in the parts that are drawn in different sizes: what stands before it, itself, and its unit. */
export function partsOf(value: number | null, unit: string, decimals?: number): { readonly before: string, readonly number: string, readonly unit: string } {
  if (value === null || !Number.isFinite(value)) return { before: '', number: '–', unit: '' }
  if (SCALED.has(unit)) {
    const [number = '', ...rest] = formatValue(value, unit).split(' ')
    return { before: '', number, unit: rest.join(' ') }
  }
  const isLarge = decimals === undefined && Math.abs(value) >= 1e6
  const digits = Math.min(Math.max(decimals ?? (Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 10 ? 1 : 2), 0), 8)
  const number = isLarge ? compact.format(value) : value.toLocaleString('en', { minimumFractionDigits: decimals === undefined ? 0 : digits, maximumFractionDigits: digits })
  return CURRENCY.test(unit) ? { before: unit, number, unit: '' } : { before: '', number, unit }
}

/** A number with its unit in one line. */
export function formatNumber(value: number | null, unit: string, decimals?: number): string {
  const { before, number, unit: after } = partsOf(value, unit, decimals)
  return `${before}${number}${after === '' ? '' : /^[%°/]/.test(after) ? after : ` ${after}`}`
}

/** How long ago something was, in one word or two. */
export function formatAgo(at: number, now = Date.now()): string {
  const seconds = Math.max(Math.round((now - at) / 1000), 0)
  if (seconds < 5) return 'just now'
  if (seconds < 60) return `${seconds} s ago`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ago`
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ago`
  return new Date(at).toLocaleDateString('en', { day: 'numeric', month: 'short', year: 'numeric' })
}

/** Until when something counts, in words. */
export function formatUntil(at: number, now = Date.now()): string {
  const left = (at - now) / 1000
  if (!Number.isFinite(left)) return ''
  if (left <= 0) return 'has ended'
  if (left < 5_400) return `ends in ${Math.max(Math.round(left / 60), 1)} min`
  if (left < 129_600) return `ends in ${Math.round(left / 3_600)} h`
  return `ends ${new Date(at).toLocaleDateString('en', { day: 'numeric', month: 'short', year: 'numeric' })}`
}

export function formatBytes(value: number): string {
  let [at, scaled] = [0, value]
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  while (scaled >= 1000 && at < units.length - 1) {
    scaled /= 1000
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
