import { type ReactNode, useEffect, useRef } from 'react'
import uPlot from 'uplot'
import { formatNumber } from '../../shared/format.js'
import type { Field } from '../data/frame.js'
import { useSize, useTheme } from '../hooks.js'
import { type PaletteColor, resolved } from '../palette.js'
import { dateOf, type Display, labelOf } from './display.js'

export interface Line {
  readonly id: string
  readonly name: string
  readonly color: PaletteColor
}

interface ChartProps {
  readonly label: string
  readonly display: Display
  readonly lines: readonly Line[]
  /** What stands along the bottom; without it, one number after the other. */
  readonly labels: Field | undefined
  readonly fields: readonly Field[]
  /** How far back from the latest it goes; `null` for all there is. */
  readonly seconds: number | null
  readonly style: 'line' | 'area' | 'bars'
}

/** Lines or columns over time, or over names. */
export default function Chart({ label, display, lines, labels, fields, seconds, style }: ChartProps): ReactNode {
  const [ref, { width, height }] = useSize<HTMLDivElement>()
  const theme = useTheme()
  const chart = useRef<uPlot | null>(null)
  const isTime = labels?.kind === 'time'
  const latest = useRef({ seconds, labels })
  latest.current = { seconds, labels }
  const shape = JSON.stringify([lines, display, theme, isTime, style, seconds !== null])

  useEffect(() => {
    const element = ref.current
    if (element === null || element.clientWidth === 0 || element.clientHeight === 0) return
    const made = new uPlot(options(lines, display, isTime, style, latest, element), [[]], element)
    chart.current = made
    return () => {
      made.destroy()
      chart.current = null
    }
    // `shape` stands for everything that the chart is made of.
  }, [shape, width > 0 && height > 0, ref])

  useEffect(() => {
    if (width > 0 && height > 0) chart.current?.setSize({ width, height })
  }, [width, height])

  useEffect(() => {
    const count = fields[0]?.values.length ?? 0
    const at = isTime ? labels.values : Array.from({ length: count }, (_, n) => n)
    // A chart wants them in order; tables need not have them so.
    let order = Array.from({ length: count }, (_, n) => n).filter(n => typeof at[n] === 'number')
    if (isTime && order.some((n, i) => i > 0 && (at[n] as number) < (at[order[i - 1] as number] as number))) order = order.sort((a, b) => (at[a] as number) - (at[b] as number))
    if (seconds !== null) order = order.filter(n => (at[n] as number) >= (at[order.at(-1) ?? 0] as number) - seconds)
    chart.current?.setData([order.map(n => at[n] as number), ...fields.map(({ values }) => order.map(n => values[n] as number | null ?? null))])
  }, [fields, labels, seconds, shape, width > 0 && height > 0])

  const now = fields.map(({ name, values }) => `${name} ${formatNumber(values.findLast(value => typeof value === 'number') as number | undefined ?? null, display.unit, display.decimals)}`).join(', ')
  return <div ref={ref} className='chart' role='img' aria-label={`${label}${seconds === null ? '' : `, last ${seconds / 60} minutes`}. Latest: ${now}`} />
}

function options(lines: readonly Line[], display: Display, isTime: boolean, style: ChartProps['style'], latest: { readonly current: { readonly seconds: number | null, readonly labels: Field | undefined } }, element: HTMLElement): uPlot.Options {
  const [grid, text] = [resolved('--line'), resolved('--soft')]
  const axis = { stroke: text, font: '11px "Inter Variable", sans-serif', ticks: { show: false } }
  const { unit, decimals, min, max } = display
  const least = unit === 's' ? 0.001 : unit === 'B' || unit === 'B/s' ? 1000 : 1e-6
  const isColumns = style === 'bars'
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    padding: [10, 14, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 7, width: 2, show: !isColumns }, drag: { x: false, y: false } },
    plugins: [readout(lines, display, isTime, latest)],
    scales: {
      x: {
        time: isTime,
        range: (_, from, to) => {
          const { seconds } = latest.current
          if (seconds !== null) return [(to ?? Date.now() / 1000) - seconds, to ?? Date.now() / 1000]
          const pad = isColumns || !isTime ? (isTime ? ((to ?? 1) - (from ?? 0)) / 20 : 0.5) : 0
          return [(from ?? 0) - pad, (to ?? 1) + (from === to && pad === 0 ? 1 : pad)]
        }
      },
      y: { range: (_, from, to) => [min ?? Math.min(0, (from ?? 0) * 1.1), max ?? Math.max((to ?? 0) * 1.12, (to ?? 0) > 0 || (from ?? 0) < 0 ? least : 1)] }
    },
    axes: [
      isTime
        ? { ...axis, grid: { show: false }, space: 84, size: 26, values: (_, ticks, __, ___, step) => ticks.map(tick => clock(tick, step)) }
        : {
            ...axis,
            grid: { show: false },
            space: 56,
            size: 26,
            incrs: [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1_000],
            values: (_, ticks) => ticks.map(tick => Number.isInteger(tick) && latest.current.labels?.values[tick] !== undefined ? ellipsis(labelOf(latest.current.labels, tick), 12) : '')
          },
      { ...axis, grid: { stroke: grid, width: 1 }, size: 58, space: Math.max(34, element.clientHeight / 7), values: (_, ticks) => ticks.map(tick => formatNumber(tick, unit, Number.isInteger(tick) ? 0 : decimals)) }
    ],
    series: [{}, ...lines.map(({ name, color }, n): uPlot.Series => {
      const stroke = resolved(`--${color}`)
      const base: uPlot.Series = { label: name, stroke, width: 2, points: { show: false }, spanGaps: true, fill: style === 'area' || lines.length === 1 ? `${stroke}22` : `${stroke}0a` }
      if (!isColumns) return base
      const columns = uPlot.paths.bars?.({ size: [0.7 / lines.length, 46], align: (lines.length === 1 ? 0 : n < lines.length / 2 ? -1 : 1) })
      return { ...base, width: 0, fill: stroke, ...columns !== undefined && { paths: columns } }
    })]
  }
}

function ellipsis(text: string, max: number): string {
  return text.length > max ? `${text.slice(0, max - 1)}…` : text
}

function clock(at: number, step: number): string {
  if (step >= 86_400) return new Date(at * 1000).toLocaleDateString('en-GB', step >= 86_400 * 28 ? { month: 'short', year: '2-digit', timeZone: 'UTC' } : { day: 'numeric', month: 'short', timeZone: 'UTC' })
  return new Date(at * 1000).toLocaleTimeString('en-GB', step >= 60 ? { hour: '2-digit', minute: '2-digit' } : {})
}

/** What the lines say under the pointer. */
function readout(lines: readonly Line[], { unit, decimals }: Display, isTime: boolean, latest: { readonly current: { readonly labels: Field | undefined } }): uPlot.Plugin {
  const box = document.createElement('div')
  box.className = 'readout'
  box.hidden = true
  return {
    hooks: {
      init: chart => { chart.over.append(box) },
      setCursor: chart => {
        const { idx, left } = chart.cursor
        box.hidden = idx == null || left == null || left < 0 || lines.every((_, n) => chart.data[n + 1]?.[idx] == null)
        if (box.hidden) return
        const x = chart.data[0]?.[idx as number] ?? 0
        const head = document.createElement('b')
        head.textContent = isTime ? (chart.scales.x?.max ?? 0) - (chart.scales.x?.min ?? 0) < 86_400 ? clock(x, 1) : dateOf(x) : latest.current.labels === undefined ? '' : labelOf(latest.current.labels, x)
        box.replaceChildren(...head.textContent === '' ? [] : [head], ...lines.map(({ name, color }, n) => {
          const line = document.createElement('p')
          line.style.setProperty('--mark', `var(--${color})`)
          line.textContent = `${name} ${formatNumber(chart.data[n + 1]?.[idx as number] ?? null, unit, decimals)}`
          return line
        }))
        const isRight = (left as number) > chart.over.clientWidth / 2
        box.style.transform = `translate(${isRight ? (left as number) - box.offsetWidth - 10 : (left as number) + 10}px, 6px)`
      }
    }
  }
}
