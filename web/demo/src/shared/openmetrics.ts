/** One reading of the server's `/metrics`. */
export interface Reading {
  /** Milliseconds since 1970. */
  readonly at: number
  /** The value of every series, by its name with labels as the server writes it. */
  readonly values: ReadonlyMap<string, number>
}

/** Reads the OpenMetrics text format as far as ydash writes it. */
export function parseMetrics(text: string): Map<string, number> {
  const values = new Map<string, number>()
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const at = line.lastIndexOf(' ')
    const value = Number(line.slice(at + 1))
    if (Number.isFinite(value)) values.set(line.slice(0, at), value)
  }
  return values
}

/** A series, or 0 when there is none. */
export function valueOf(reading: Reading, series: string): number {
  return reading.values.get(series) ?? 0
}

/** How fast a counter grew between two readings, per second. A restart begins anew. */
export function rateOf(before: Reading, after: Reading, series: string): number {
  const seconds = (after.at - before.at) / 1000
  const grown = valueOf(after, series) - valueOf(before, series)
  return seconds > 0 ? Math.max(grown, 0) / seconds : 0
}

/** The sum of a family's counters over all labels, as a rate. */
export function rateOfAll(before: Reading, after: Reading, family: string): number {
  let sum = 0
  for (const series of after.values.keys()) {
    if (series === family || series.startsWith(`${family}{`)) sum += rateOf(before, after, series)
  }
  return sum
}

/** The values of a family by one label. */
export function byLabel(reading: Reading, family: string, label: string): Map<string, string> {
  const found = new Map<string, string>()
  for (const series of reading.values.keys()) {
    if (!series.startsWith(`${family}{`)) continue
    const value = new RegExp(`[{,]${label}="([^"]*)"`).exec(series)?.[1]
    if (value !== undefined) found.set(series, value)
  }
  return found
}

/**
 * A quantile of what a histogram saw between two readings, interpolated within its bucket; `null` when it saw nothing. In the lowest bucket
 * it is that bucket's bound: all that is known is that it was not more.
 */
export function quantileOf(before: Reading, after: Reading, histogram: string, q: number): number | null {
  const prefix = `${histogram}_bucket{le="`
  const buckets: { le: number, count: number }[] = []
  for (const [series, value] of after.values) {
    if (!series.startsWith(prefix)) continue
    const bound = series.slice(prefix.length, -2)
    buckets.push({ le: bound === '+Inf' ? Infinity : Number(bound), count: Math.max(value - valueOf(before, series), 0) })
  }
  buckets.sort((a, b) => a.le - b.le)
  const total = buckets.at(-1)?.count ?? 0
  if (total === 0) return null
  let [lower, below] = [0, 0]
  for (const { le, count } of buckets) {
    if (count >= q * total) return le === Infinity ? lower : below === 0 && lower === 0 ? le : lower + (le - lower) * ((q * total - below) / Math.max(count - below, 1e-9))
    lower = le
    below = count
  }
  return lower
}
