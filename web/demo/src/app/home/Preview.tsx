import { LayoutGrid } from 'lucide-react'
import { type CSSProperties, type ReactNode, useEffect, useRef, useState } from 'react'
import { apiPath } from '../../shared/rest.js'
import { ask, tokenOf } from '../../shared/token.js'
import { arrange, COLUMNS } from '../grid.js'
import { useIsVisible } from '../hooks.js'
import { paletteColor } from '../palette.js'

interface Tile {
  readonly kind: string
  readonly title: string
  readonly color: string
  readonly x: number
  readonly y: number
  readonly w: number
  readonly h: number
}

/** Rows of a board that a preview shows. */
const ROWS = 13
/** What is larger is not fetched for a picture of it. */
const BYTES_MAX = 1 << 20

/** A dashboard in small: its widgets where they are, with what they are called. */
export function Preview({ id, version }: { id: string, version: number }): ReactNode {
  const root = useRef<HTMLDivElement>(null)
  const isVisible = useIsVisible(root)
  const [tiles, setTiles] = useState<readonly Tile[] | null>(null)
  const seen = useRef<number | null>(null)
  useEffect(() => {
    if (!isVisible || seen.current === version) return
    seen.current = version
    const load = async (): Promise<void> => {
      try {
        const answer = await ask(apiPath(id), {}, tokenOf(id))
        const text = answer.ok ? await answer.text() : '{}'
        setTiles(text.length > BYTES_MAX ? [] : tilesOf(JSON.parse(text) as Record<string, Record<string, unknown>>))
      } catch {
        setTiles(before => before ?? [])
      }
    }
    void load()
  }, [id, isVisible, version])
  return (
    <div ref={root} className='preview' data-empty={tiles?.length === 0} aria-hidden='true'>
      {tiles?.map(({ kind, title, color, x, y, w, h }, n) => (
        <span key={n} style={{ left: `${x / COLUMNS * 100}%`, top: `${y / ROWS * 100}%`, width: `calc(${w / COLUMNS * 100}% - 4px)`, height: `calc(${h / ROWS * 100}% - 4px)`, '--mark': `var(--${color})` } as CSSProperties}>
          <i data-title={title} />
          <Sketch kind={kind} />
        </span>
      ))}
      {tiles?.length === 0 && <LayoutGrid size={28} />}
    </div>
  )
}

/** What a kind of widget looks like from afar. */
const SKETCHES: Readonly<Record<string, readonly string[]>> = {
  chart: ['M2 38 L20 26 L38 31 L56 16 L74 21 L98 5'],
  bar: ['M2 8 H92', 'M2 22 H66', 'M2 36 H38'],
  number: ['M2 14 H46', 'M2 38 L26 32 L50 34 L74 26 L98 22'],
  gauge: ['M24 38 A26 30 0 0 1 76 38'],
  table: ['M2 8 H98', 'M2 20 H98', 'M2 32 H98'],
  status: ['M2 8 H54 M84 8 H98', 'M2 22 H40 M84 22 H98', 'M2 36 H60 M84 36 H98'],
  note: ['M2 8 H90', 'M2 20 H72', 'M2 32 H82'],
  text: ['M2 8 H90', 'M2 20 H72', 'M2 32 H82']
}
const ALIASES: Readonly<Record<string, string>> = { series: 'chart', line: 'chart', bars: 'bar', kpi: 'number' }

function Sketch({ kind }: { kind: string }): ReactNode {
  const name = ALIASES[kind] ?? kind
  const paths = SKETCHES[name]
  return paths !== undefined && (
    <svg viewBox='0 0 100 42' preserveAspectRatio='none' data-kind={name}>
      {paths.map((d, n) => <path key={n} d={d} vectorEffect='non-scaling-stroke' />)}
    </svg>
  )
}

function tilesOf({ widgets = {}, layout = {} }: Record<string, Record<string, unknown>>): Tile[] {
  const ids = Object.keys(widgets).slice(0, 200)
  const number = (value: unknown, fallback: number): number => typeof value === 'number' && Number.isFinite(value) ? value : fallback
  const boxes = Object.fromEntries(ids.flatMap(id => {
    const { x, y, w, h } = (layout[id] ?? {}) as Record<string, unknown>
    return typeof x === 'number' ? [[id, { x: number(x, 0), y: number(y, 0), w: number(w, 3), h: number(h, 3) }]] : []
  }))
  return Object.entries(arrange(boxes, ids, {})).filter(([, { y }]) => y < ROWS).map(([id, box]) => {
    const { type, title, options } = (widgets[id] ?? {}) as { readonly type?: unknown, readonly title?: unknown, readonly options?: { readonly color?: unknown } | null }
    return { ...box, kind: String(type ?? ''), title: typeof title === 'string' ? title.slice(0, 60) : '', color: paletteColor(options?.color) }
  })
}
