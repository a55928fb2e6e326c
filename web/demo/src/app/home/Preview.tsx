import { type ReactNode, useEffect, useRef, useState } from 'react'
import { apiPath } from '../../shared/rest.js'
import { ask, tokenOf } from '../../shared/token.js'
import { arrange, COLUMNS } from '../grid.js'
import { useIsVisible } from '../hooks.js'

interface Tile {
  readonly kind: string
  readonly x: number
  readonly y: number
  readonly w: number
  readonly h: number
}

/** Rows of a board that a preview shows. */
const ROWS = 13
/** What is larger is not fetched for a picture of it. */
const BYTES_MAX = 1 << 20

/** A dashboard in small: where its widgets are, and of what kind. */
export function Preview({ id }: { id: string }): ReactNode {
  const root = useRef<HTMLDivElement>(null)
  const isVisible = useIsVisible(root)
  const [tiles, setTiles] = useState<readonly Tile[] | null>(null)
  useEffect(() => {
    if (!isVisible || tiles !== null) return
    let isOver = false
    const load = async (): Promise<void> => {
      try {
        const answer = await ask(apiPath(id), {}, tokenOf(id))
        const text = answer.ok ? await answer.text() : '{}'
        if (!isOver) setTiles(text.length > BYTES_MAX ? [] : tilesOf(JSON.parse(text) as Record<string, Record<string, unknown>>))
      } catch {
        if (!isOver) setTiles([])
      }
    }
    void load()
    return () => { isOver = true }
  }, [id, isVisible, tiles])
  return (
    <div ref={root} className='preview' data-empty={tiles?.length === 0} aria-hidden='true'>
      {tiles?.map(({ kind, x, y, w, h }, n) => (
        <span key={n} data-kind={kind} style={{ left: `${x / COLUMNS * 100}%`, top: `${y / ROWS * 100}%`, width: `calc(${w / COLUMNS * 100}% - 4px)`, height: `calc(${h / ROWS * 100}% - 4px)` }} />
      ))}
    </div>
  )
}

function tilesOf({ widgets = {}, layout = {} }: Record<string, Record<string, unknown>>): Tile[] {
  const ids = Object.keys(widgets).slice(0, 200)
  const number = (value: unknown, fallback: number): number => typeof value === 'number' && Number.isFinite(value) ? value : fallback
  const boxes = Object.fromEntries(ids.flatMap(id => {
    const { x, y, w, h } = (layout[id] ?? {}) as Record<string, unknown>
    return typeof x === 'number' ? [[id, { x: number(x, 0), y: number(y, 0), w: number(w, 3), h: number(h, 3) }]] : []
  }))
  return Object.entries(arrange(boxes, ids, {})).filter(([, { y }]) => y < ROWS).map(([id, box]) => ({ ...box, kind: String((widgets[id] as { type?: unknown } | null)?.type ?? '') }))
}
