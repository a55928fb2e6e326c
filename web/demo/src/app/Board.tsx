import type { Box } from '@ydash/client'
import { useDashboard, useFollow, useLayout, useWidgets } from '@ydash/client/react'
import { type CSSProperties, type PointerEvent as ReactPointerEvent, type ReactNode, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react'
import { plural, shorten, TITLE_MAX } from '../shared/format.js'
import { ownAct } from './acts.js'
import { announce } from './announce.js'
import { select } from './board/selection.js'
import { ContextMenu, openContextMenu } from './ContextMenu.js'
import { Cursors } from './Cursors.js'
import { EmptyBoard } from './EmptyBoard.js'
import { arrange, type Boxes, columnWidth, fit, GAP, pass, place, readingOrder, type Rect, rectOf, ROW_HEIGHT, shownIds, stackedRects } from './grid.js'
import { useFilterValues, useMayEdit, useSize } from './hooks.js'
import { Tile } from './Tile.js'

/** Below this many pixels widgets stand one below the other. */
const NARROW = 680
/** This near to an edge of the window a drag scrolls, at so many pixels per frame. */
const EDGE = 70
const SCROLL_STEP = 14
/** How long a widget that was taken over stays with whoever took it, in milliseconds. */
const TAKE_OVER = 5_000

interface Gesture {
  readonly id: string
  readonly kind: 'move' | 'resize'
  readonly pointer: { readonly id: number, readonly x: number, readonly y: number }
  readonly from: Rect
  readonly finish: (isCancelled: boolean) => void
  x: number
  y: number
  /** How far the page was scrolled when it was begun: a widget that is resized makes room to scroll, which is no wish for more. */
  readonly scrollable: number
  /** Where it was when it last passed another one: it turns back only when the pointer does. */
  turnedAt: { readonly x: number, readonly y: number }
  frame: number
  isMoved: boolean
}

const NOTHING: Boxes = Object.freeze(Object.create(null) as Boxes)
const count = (all: object): number => Object.keys(all).length

/** The grid of widgets, with everybody's pointers over it. */
export function Board(): ReactNode {
  const dashboard = useDashboard()
  const ids = useWidgets(shownIds)
  const total = useWidgets(count)
  const stored = useLayout()
  const mayEdit = useMayEdit()
  const [board, { width }] = useSize<HTMLDivElement>()
  const isNarrow = width > 0 && width < NARROW

  const before = useRef<Boxes>(NOTHING)
  const arranged = useMemo(() => arrange(stored, ids, before.current), [stored, ids])
  before.current = arranged
  const rects = useRects(arranged, width, isNarrow)
  const height = Math.max(0, ...Array.from(rects.values(), ({ top, height }) => top + height))

  const [held, setHeld] = useState<Gesture['id'] | null>(null)
  const gesture = useRef<Gesture | null>(null)
  const released = useRef<string | null>(null)
  /** A widget whose lock could not be had by taking over: who claims the most forbids nothing. */
  const insisted = useRef<string | null>(null)
  const mayTouch = useCallback((id: string): boolean => dashboard.locks.acquire(id) || insisted.current === id, [dashboard])
  const latest = useRef({ arranged, width, rects, isNarrow })
  latest.current = { arranged, width, rects, isNarrow }

  /** Only what changes is written. */
  const write = useCallback((next: Boxes | null): boolean => {
    const moved = Object.entries(next ?? {}).filter(([id, box]) => box !== latest.current.arranged[id])
    if (moved.length === 0) return false
    dashboard.layout.setAll(Object.fromEntries(moved))
    return true
  }, [dashboard])

  /** Puts a widget somewhere; who stands there makes room. */
  const put = useCallback((id: string, box: Box): boolean => write(place(latest.current.arranged, id, fit(box))), [write])

  const show = useCallback(() => {
    const current = gesture.current
    const tile = current && tileOf(board.current, current.id)
    if (current === null || tile === null) return
    const [dx, dy] = [current.x - current.pointer.x, current.y - current.pointer.y]
    const { left, top, width, height } = current.from
    if (current.kind === 'move') {
      tile.style.transform = `translate(${left + dx}px, ${top + dy}px)`
    } else {
      tile.style.width = `${Math.max(width + dx, 80)}px`
      tile.style.height = `${Math.max(height + dy, 60)}px`
    }
  }, [board])

  const follow = useCallback(() => {
    const current = gesture.current
    if (current === null) return
    current.frame = requestAnimationFrame(follow)
    const inWindow = current.y - scrollY
    if (current.isMoved && inWindow < EDGE && scrollY > 0) scrollBy(0, -SCROLL_STEP), current.y -= SCROLL_STEP
    const mayScroll = current.kind === 'move' || scrollY < current.scrollable
    if (current.isMoved && mayScroll && inWindow > innerHeight - EDGE) scrollBy(0, SCROLL_STEP), current.y += SCROLL_STEP
    show()
    const { arranged, width, rects, isNarrow } = latest.current
    const box = arranged[current.id]
    if (box === undefined) return end(true)
    const [dx, dy] = [current.x - current.pointer.x, current.y - current.pointer.y]
    current.isMoved ||= Math.abs(dx) + Math.abs(dy) > 4
    if (!current.isMoved) return
    if (isNarrow) {
      const by = passes(current, arranged, rects)
      if (by === 0) return
      current.turnedAt = { x: current.x, y: current.y }
      write(pass(arranged, current.id, by))
      return
    }
    const [column, row] = [columnWidth(width) + GAP, ROW_HEIGHT + GAP]
    const { from } = current
    const target = current.kind === 'move'
      ? { ...box, x: Math.round((from.left + dx) / column), y: Math.round((from.top + dy) / row) }
      : { ...box, w: Math.round((from.width + dx + GAP) / column), h: Math.round((from.height + dy + GAP) / row) }
    const { x, y, w, h } = fit(target)
    if (x !== box.x || y !== box.y || w !== box.w || h !== box.h) put(current.id, { x, y, w, h })
  }, [put, show, write])

  const end = useCallback((isCancelled = false) => {
    const current = gesture.current
    if (current === null) return
    gesture.current = null
    released.current = current.id
    cancelAnimationFrame(current.frame)
    current.finish(isCancelled)
    setHeld(null)
  }, [])

  const grab = useCallback((event: ReactPointerEvent, id: string, kind: Gesture['kind']) => {
    const from = latest.current.rects.get(id)
    if (event.button !== 0 || gesture.current !== null || from === undefined) return
    if (!mayTouch(id)) {
      announce(`${dashboard.locks.holder(id)?.user.name ?? 'Somebody'} is busy with it. Take over first.`, true)
      return
    }
    event.currentTarget.setPointerCapture(event.pointerId)
    const [x, y] = [event.clientX, event.clientY + scrollY]
    const endStep = dashboard.undo.begin()
    const unwatch = dashboard.locks.holders.subscribe(() => { if (dashboard.locks.holder(id)?.isSelf !== true && insisted.current !== id) end() })
    const finish = (isCancelled: boolean): void => {
      unwatch()
      endStep(isCancelled)
      dashboard.locks.release(id)
    }
    gesture.current = { id, kind, pointer: { id: event.pointerId, x, y }, from, finish, x, y, scrollable: document.documentElement.scrollHeight - innerHeight, turnedAt: { x, y }, frame: requestAnimationFrame(follow), isMoved: false }
    setHeld(id)
  }, [dashboard, end, follow, mayTouch])

  useEffect(() => {
    const move = (event: PointerEvent): void => {
      if (event.pointerId !== gesture.current?.pointer.id) return
      gesture.current.x = event.clientX
      gesture.current.y = event.clientY + scrollY
    }
    const up = (event: PointerEvent): void => { if (event.pointerId === gesture.current?.pointer.id) end() }
    const key = (event: KeyboardEvent): void => { if (event.key === 'Escape') end(true) }
    addEventListener('pointermove', move)
    addEventListener('pointerup', up)
    addEventListener('pointercancel', up)
    addEventListener('keydown', key)
    return () => {
      removeEventListener('pointermove', move)
      removeEventListener('pointerup', up)
      removeEventListener('pointercancel', up)
      removeEventListener('keydown', key)
      end()
    }
  }, [end])

  useLayoutEffect(() => {
    // React has just placed the tile that is held at its cell.
    show()
    // It does not know where a tile was floating: one that was let go gets its place back even if that is the old one.
    const rect = released.current === null ? undefined : rects.get(released.current)
    const tile = released.current === null ? null : tileOf(board.current, released.current)
    if (tile !== null && rect !== undefined) {
      const { transform, width, height } = styleOf(rect)
      Object.assign(tile.style, { transform, width: `${width}px`, height: `${height}px` })
    }
    released.current = null
  })

  const nameOf = useCallback((id: string) => shorten(dashboard.widgets.get(id)?.title || 'Widget', TITLE_MAX), [dashboard])

  /** One step by keyboard. */
  const nudge = useCallback((id: string, by: Partial<Record<keyof Box, number>>) => {
    const box = latest.current.arranged[id]
    if (box === undefined || !mayTouch(id)) return
    const step = (by.x ?? 0) + (by.y ?? 0)
    if (latest.current.isNarrow && step !== 0) {
      const next = pass(latest.current.arranged, id, step)
      const isDone = write(next)
      dashboard.locks.release(id)
      const order = readingOrder(next ?? {})
      announce(isDone ? `${nameOf(id)}: ${order.indexOf(id) + 1} of ${order.length}` : `${nameOf(id)} cannot go there`)
      requestAnimationFrame(() => { tileOf(board.current, id)?.scrollIntoView({ block: 'nearest' }) })
      return
    }
    const to = fit({ x: box.x + (by.x ?? 0), y: box.y + (by.y ?? 0), w: box.w + (by.w ?? 0), h: box.h + (by.h ?? 0) })
    // A step up or down has to pass whoever stands there, or compacting takes it back.
    const inColumns = Object.entries(latest.current.arranged).filter(([other, one]) => other !== id && one.x < to.x + to.w && one.x + one.w > to.x).map(([, one]) => one)
    const below = inColumns.filter(one => one.y === box.y + box.h)
    const above = inColumns.filter(one => one.y + one.h === box.y)
    const y = by.y === 1 && below.length > 0 ? box.y + Math.max(...below.map(({ h }) => h))
      : by.y === -1 && above.length > 0 ? Math.max(...above.map(({ y }) => y))
      : to.y
    const name = nameOf(id)
    const isDone = put(id, { ...to, y })
    dashboard.locks.release(id)
    const now = dashboard.layout.get(id)
    announce(isDone && now !== undefined
      ? `${name}: column ${now.x + 1}, row ${now.y + 1}, ${now.w} wide, ${now.h} high`
      : `${name} cannot go there`)
  }, [board, dashboard, mayTouch, nameOf, put, write])

  /** Takes a widget from whoever is busy with it, for long enough to begin something. */
  const takeOver = useCallback((id: string) => {
    dashboard.locks.takeOver(id)
    if (dashboard.locks.holder(id)?.isSelf !== true) insisted.current = id
    setTimeout(() => {
      dashboard.locks.release(id)
      if (insisted.current === id) insisted.current = null
    }, TAKE_OVER)
  }, [dashboard])

  useView(rects, board)

  // As they are read, so that Tab goes where the eye does. Not while one is held: what is moved in the page loses the finger that holds it.
  const order = useRef<readonly string[]>(ids)
  if (held === null || order.current.length !== ids.length) order.current = readingOrder(arranged)

  return (
    <main
      className='board-area'
      onPointerDown={event => {
        if (event.button !== 0 || (event.target as Element).closest('[data-widget], .menu') !== null) return
        select(null)
        dashboard.presence.setSelection(null)
      }}
      onContextMenu={event => {
        if ((event.target as Element).closest('[data-widget]') !== null) return
        event.preventDefault()
        openContextMenu(event.clientX, event.clientY, null)
      }}
    >
      <div className='board' ref={board} style={{ height } as CSSProperties} data-held={held !== null}>
        {order.current.map(id => {
          const rect = rects.get(id)
          return rect !== undefined && (
            <Tile
              key={id} id={id} rect={rect} isHeld={held === id} isMovable={mayEdit && (isNarrow ? 'stacked' : 'freely')} mayEdit={mayEdit}
              onGrab={grab} onNudge={nudge} onTakeOver={takeOver}
            />
          )
        })}
        {held !== null && rects.has(held) && <div className='landing' style={styleOf(rects.get(held) as Rect)} />}
        <Cursors board={board} rects={rects} />
      </div>
      <ContextMenu />
      {total > ids.length && <p className='empty-board'>{plural(total - ids.length, 'more widget')} would be too many for this page.</p>}
      {ids.length === 0 && width > 0 && <EmptyBoard />}
    </main>
  )
}

/** Whom a widget that is dragged over the others passes: the one before it (-1), the one after it (1), or nobody (0). */
function passes({ id, from, pointer, x, y, turnedAt }: Gesture, arranged: Boxes, rects: ReadonlyMap<string, Rect>): -1 | 0 | 1 {
  const order = readingOrder(arranged)
  const at = order.indexOf(id)
  const own = rects.get(id)
  for (const by of [-1, 1] as const) {
    const other = rects.get(order[at + by] ?? '')
    if (own === undefined || other === undefined) continue
    // Small ones stand in pairs.
    const [start, size, delta, turned] = other.top === own.top
      ? ['left', 'width', x - pointer.x, x - turnedAt.x] as const
      : ['top', 'height', y - pointer.y, y - turnedAt.y] as const
    const middle = other[start] + other[size] / 2
    const edge = from[start] + delta + (by < 0 ? 0 : own[size])
    if ((edge - middle) * by > 0 && turned * by > 0) return by
  }
  return 0
}

function tileOf(board: HTMLElement | null, id: string): HTMLElement | null {
  return board?.querySelector<HTMLElement>(`[data-widget="${CSS.escape(id)}"]`) ?? null
}

export function styleOf({ left, top, width, height }: Rect): CSSProperties {
  return { transform: `translate(${left}px, ${top}px)`, width, height }
}

/** Pixels by widget, the same objects as before where nothing moved. */
function useRects(arranged: Boxes, width: number, isNarrow: boolean): ReadonlyMap<string, Rect> {
  const before = useRef<ReadonlyMap<string, Rect>>(new Map())
  return useMemo(() => {
    const rects = width === 0
      ? new Map<string, Rect>()
      : isNarrow ? stackedRects(arranged, width) : new Map(Object.entries(arranged).map(([id, box]) => [id, rectOf(box, width)]))
    for (const [id, rect] of rects) {
      const known = before.current.get(id)
      if (known !== undefined && known.left === rect.left && known.top === rect.top && known.width === rect.width && known.height === rect.height) rects.set(id, known)
    }
    before.current = rects
    return rects
  }, [arranged, width, isNarrow])
}

/** Tells followers what is looked at here, and looks where the one who is followed does. */
function useView(rects: ReadonlyMap<string, Rect>, board: { readonly current: HTMLElement | null }): void {
  const { presence } = useDashboard()
  const { target, view, stop } = useFollow()
  const { window: dateRange, sources } = useFilterValues()
  const latest = useRef(rects)
  latest.current = rects

  useEffect(() => {
    const tell = (): void => {
      const top = scrollY - (board.current?.offsetTop ?? 0)
      // Relative to a widget, since rows are not equally high on all screens.
      const [widget, rect] = [...latest.current].filter(([, rect]) => rect.top + rect.height > top).sort(([, a], [, b]) => a.top - b.top)[0] ?? []
      const act = ownAct.get()
      presence.setView({ widget: widget ?? null, offset: Math.round(top - (rect?.top ?? 0)), filters: { dateRange, sources: [...sources] }, ...act !== null && { act: { ...act, what: [...act.what] } } })
    }
    tell()
    addEventListener('scroll', tell, { passive: true })
    const stopActs = ownAct.subscribe(tell)
    return () => {
      removeEventListener('scroll', tell)
      stopActs()
    }
  }, [presence, board, dateRange, sources.join()])

  useEffect(() => {
    if (target === null || typeof view !== 'object' || view === null) return
    const { widget, offset } = view as { widget?: unknown, offset?: unknown }
    const rect = typeof widget === 'string' ? rects.get(widget) : undefined
    const top = (board.current?.offsetTop ?? 0) + (rect?.top ?? 0) + (typeof offset === 'number' ? offset : 0)
    const isReduced = matchMedia('(prefers-reduced-motion: reduce)').matches
    scrollTo({ top, behavior: isReduced || Math.abs(top - scrollY) < 120 ? 'instant' : 'smooth' })
  }, [target, view, rects, board])

  useEffect(() => {
    if (target === null) return
    const own = (event: Event): void => {
      if (event instanceof KeyboardEvent && !['Escape', 'PageDown', 'PageUp', 'Home', 'End', 'ArrowDown', 'ArrowUp'].includes(event.key)) return
      stop()
    }
    const events = ['wheel', 'touchmove', 'keydown'] as const
    for (const event of events) addEventListener(event, own, { passive: true })
    return () => { for (const event of events) removeEventListener(event, own) }
  }, [target, stop])
}
