import type { OtherCursor } from '@ydash/client'
import { useDashboard } from '@ydash/client/react'
import { type ReactNode, type RefObject, useEffect, useRef } from 'react'
import type { Rect } from './grid.js'

/** Pointers that are drawn: a crowd's would hide what they point at. */
const CURSORS_MAX = 100

/** How long a pointer that rests keeps its name, in milliseconds: what it points at is to be read. */
const RESTS = 3_000

/**
 * Everybody's pointers. Positions are fractions of the widget under them, so that they point at the same thing on every screen.
 *
 * Drawn past React: they move at every frame, and nothing else does.
 */
export function Cursors({ board, rects }: { board: RefObject<HTMLElement | null>, rects: ReadonlyMap<string, Rect> }): ReactNode {
  const { presence } = useDashboard()
  const layer = useRef<HTMLDivElement>(null)
  const latest = useRef(rects)
  latest.current = rects

  useEffect(() => {
    const drawn = new Map<number, HTMLElement>()
    const resting = new Map<number, ReturnType<typeof setTimeout>>()
    const draw = (): void => {
      const gone = new Set(drawn.keys())
      for (const cursor of presence.cursors.get().slice(0, CURSORS_MAX)) {
        const { clientId, user } = cursor
        gone.delete(clientId)
        let element = drawn.get(clientId)
        if (element === undefined) {
          element = make()
          drawn.set(clientId, element)
          layer.current?.append(element)
        }
        element.style.setProperty('--who', user.color)
        const label = element.lastElementChild as HTMLElement
        if (label.textContent !== user.name) label.textContent = user.name
        const { x, y } = pixels(cursor, latest.current, board.current)
        const transform = `translate(${x}px, ${y}px)`
        if (element.style.transform === transform) continue
        element.style.transform = transform
        const moved = element
        moved.dataset.resting = 'false'
        // At the right edge there is no room behind it.
        moved.dataset.flipped = String(x > (board.current?.clientWidth ?? 0) - 140)
        clearTimeout(resting.get(clientId))
        resting.set(clientId, setTimeout(() => { moved.dataset.resting = 'true' }, RESTS))
      }
      for (const clientId of gone) {
        clearTimeout(resting.get(clientId))
        resting.delete(clientId)
        drawn.get(clientId)?.remove()
        drawn.delete(clientId)
      }
    }
    draw()
    const stop = presence.cursors.subscribe(draw)
    return () => {
      stop()
      for (const timer of resting.values()) clearTimeout(timer)
      for (const element of drawn.values()) element.remove()
    }
  }, [presence, board, rects])

  useEffect(() => {
    const move = (event: PointerEvent): void => {
      const area = board.current
      if (area === null || event.pointerType === 'touch') return
      const bounds = area.getBoundingClientRect()
      const [x, y] = [event.clientX - bounds.left, event.clientY - bounds.top]
      const [widget, rect] = [...latest.current].find(([, rect]) => x >= rect.left && x <= rect.left + rect.width && y >= rect.top && y <= rect.top + rect.height) ?? []
      const round = (value: number): number => Math.round(value * 1e4) / 1e4
      presence.setCursor(rect === undefined || widget === undefined
        ? { x: round(x / bounds.width), y: Math.round(y) }
        : { area: widget, x: round((x - rect.left) / rect.width), y: round((y - rect.top) / rect.height) })
    }
    const leave = (): void => { presence.setCursor(null) }
    addEventListener('pointermove', move)
    document.documentElement.addEventListener('pointerleave', leave)
    addEventListener('blur', leave)
    return () => {
      removeEventListener('pointermove', move)
      document.documentElement.removeEventListener('pointerleave', leave)
      removeEventListener('blur', leave)
      leave()
    }
  }, [presence, board])

  return <div className='cursors' ref={layer} aria-hidden='true' />
}

/** Where a pointer is on the board; wherever it claims to be, not beside it. */
function pixels({ x, y, area }: OtherCursor, rects: ReadonlyMap<string, Rect>, board: HTMLElement | null): { x: number, y: number } {
  const rect = area === undefined ? undefined : rects.get(area)
  const [width, height] = [board?.clientWidth ?? 0, board?.clientHeight ?? 0]
  const [left, top] = rect === undefined ? [x * width, y] : [rect.left + x * rect.width, rect.top + y * rect.height]
  return { x: Math.min(Math.max(left, 0), width), y: Math.min(Math.max(top, 0), height) }
}

function make(): HTMLElement {
  const element = document.createElement('div')
  element.className = 'cursor'
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  svg.setAttribute('viewBox', '0 0 18 22')
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path')
  path.setAttribute('d', 'M1.5 1.2 16.4 12l-7 1.3-3.8 6.5z')
  svg.append(path)
  element.append(svg, document.createElement('span'))
  return element
}
