import 'uplot/dist/uPlot.min.css'
import { type ReactNode, useEffect, useRef } from 'react'
import uPlot from 'uplot'
import { formatValue } from '../../shared/format.js'
import type { Sample } from '../feed.js'
import { useSize, useTheme } from '../hooks.js'
import { type PaletteColor, resolved } from '../palette.js'

export interface Line {
  readonly id: string
  readonly name: string
  readonly color: PaletteColor
}

interface ChartProps {
  readonly label: string
  readonly unit: string
  readonly lines: readonly Line[]
  readonly samples: readonly Sample[]
  /** How far back it goes. */
  readonly seconds: number
}

/** Lines over time, ending now. */
export function Chart({ label, unit, lines, samples, seconds }: ChartProps): ReactNode {
  const [ref, { width, height }] = useSize<HTMLDivElement>()
  const theme = useTheme()
  const chart = useRef<uPlot | null>(null)
  const span = useRef(seconds)
  span.current = seconds
  const shape = JSON.stringify([lines, unit, theme])

  useEffect(() => {
    const element = ref.current
    if (element === null || element.clientWidth === 0 || element.clientHeight === 0) return
    const made = new uPlot(options(lines, unit, span, element), [[]], element)
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

  const latest = samples.at(-1)
  useEffect(() => {
    const from = (latest?.at ?? 0) - seconds
    const first = samples.findIndex(({ at }) => at >= from)
    const shown = first < 0 ? [] : samples.slice(first)
    chart.current?.setData([shown.map(({ at }) => at), ...lines.map(({ id }) => shown.map(({ values }) => values[id] ?? null))])
  }, [samples, latest, seconds, shape, width > 0 && height > 0])

  const now = lines.map(({ id, name }) => `${name} ${formatValue(latest?.values[id] ?? null, unit)}`).join(', ')
  return <div ref={ref} className='chart' role='img' aria-label={`${label}, last ${seconds / 60} minutes. Now: ${now}`} />
}

function options(lines: readonly Line[], unit: string, span: { readonly current: number }, element: HTMLElement): uPlot.Options {
  const [grid, text] = [resolved('--line'), resolved('--soft')]
  const axis = { stroke: text, font: '11px "Inter Variable", sans-serif', ticks: { show: false } }
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 7, width: 2 }, drag: { x: false, y: false } },
    plugins: [readout(lines, unit)],
    scales: {
      x: { time: true, range: (_, __, max) => { const end = max ?? Date.now() / 1000; return [end - span.current, end] } },
      y: { range: (_, __, max) => [0, Math.max((max ?? 0) * 1.15, unit === 's' ? 0.001 : unit === 'B' || unit === 'B/s' ? 1024 : 1)] }
    },
    axes: [
      { ...axis, grid: { show: false }, space: 74, size: 26, values: (_, ticks, __, ___, step) => ticks.map(tick => clock(tick, step)) },
      { ...axis, grid: { stroke: grid, width: 1 }, size: 56, space: 34, values: (_, ticks) => ticks.map(tick => formatValue(tick, unit)) }
    ],
    series: [{}, ...lines.map(({ name, color }): uPlot.Series => {
      const stroke = resolved(`--${color}`)
      return { label: name, stroke, width: 2, points: { show: false }, fill: lines.length === 1 ? `${stroke}22` : `${stroke}10`, spanGaps: false }
    })]
  }
}

function clock(at: number, step: number): string {
  return new Date(at * 1000).toLocaleTimeString('en-GB', step >= 60 ? { hour: '2-digit', minute: '2-digit' } : {})
}

/** What the lines say under the pointer. */
function readout(lines: readonly Line[], unit: string): uPlot.Plugin {
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
        box.replaceChildren(...lines.map(({ name, color }, n) => {
          const line = document.createElement('p')
          line.style.setProperty('--mark', `var(--${color})`)
          line.textContent = `${name} ${formatValue(chart.data[n + 1]?.[idx as number] ?? null, unit)}`
          return line
        }))
        const isRight = (left as number) > chart.over.clientWidth / 2
        box.style.transform = `translate(${isRight ? (left as number) - box.offsetWidth - 10 : (left as number) + 10}px, 6px)`
      }
    }
  }
}
