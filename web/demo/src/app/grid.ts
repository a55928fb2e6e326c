import type { Box } from '@ydash/client'
import { type LayoutItem, moveElement, verticalCompactor } from 'react-grid-layout/core'

/** Columns of the board, on every screen: narrow ones show one widget per row instead. */
export const COLUMNS = 12
export const ROW_HEIGHT = 44
export const GAP = 14
/** What is no larger has room for two in a row of a narrow screen. */
const SMALL = { w: 3, h: 3 }
const LEAST = { w: 2, h: 2 }
/** Rows of the tallest widget: some screens, where others may write anything. */
const ROWS_MAX = 60
/** Widgets that are shown. Each has a frame in the page, and arranging them costs the square of their number. */
const WIDGETS_MAX = 1_000

/** Places by widget id. */
export type Boxes = Readonly<Record<string, Box>>

/** A place in pixels. */
export interface Rect {
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
}

/** The widgets that are shown, in an order that is everybody's. */
export function shownIds(widgets: object): string[] {
  return Object.keys(widgets).sort().slice(0, WIDGETS_MAX)
}

/**
 * The places to show, given the places that are stored: without gaps and overlaps, the same for everybody who has the same
 * document. What two people stored at once may overlap; nobody has to repair it.
 */
export function arrange(stored: Boxes, ids: readonly string[], before: Boxes): Boxes {
  return boxesOf(verticalCompactor.compact(itemsOf(stored, ids), COLUMNS), before)
}

/** The places after `id` was put somewhere: whoever stands there makes room. */
export function place(arranged: Boxes, id: string, to: Box): Boxes {
  const items = Object.keys(arranged).sort().map(i => ({ i, ...arranged[i] as Box }))
  const item = items.find(({ i }) => i === id)
  if (item === undefined) return arranged
  const target = fit(to)
  // Growing pushes what is below; it is a move of everybody but this one.
  item.w = target.w
  item.h = target.h
  const isMoved = item.x !== target.x || item.y !== target.y
  const moved = isMoved
    ? moveElement(items, item, target.x, target.y, true, false, 'vertical', COLUMNS)
    : items
  return boxesOf(verticalCompactor.compact(moved, COLUMNS), arranged)
}

/** The first free place, row by row. */
export function freePlace(arranged: Boxes, size: { w: number, h: number }): Box {
  const boxes = Object.values(arranged)
  const isFree = (x: number, y: number): boolean =>
    boxes.every(box => x + size.w <= box.x || box.x + box.w <= x || y + size.h <= box.y || box.y + box.h <= y)
  for (let y = 0; ; y++) {
    for (let x = 0; x + size.w <= COLUMNS; x++) {
      if (isFree(x, y)) return { x, y, ...size }
    }
  }
}

/** A box within the board, neither too small nor taller than anybody wants. */
export function fit(box: Box): Box {
  const w = Math.min(Math.max(box.w, LEAST.w), COLUMNS)
  const h = Math.min(Math.max(box.h, LEAST.h), ROWS_MAX)
  return { x: Math.min(Math.max(box.x, 0), COLUMNS - w), y: Math.max(box.y, 0), w, h }
}

/** Which widget comes first when all stand in one column. */
export function readingOrder(arranged: Boxes): string[] {
  return Object.keys(arranged).sort((a, b) => {
    const [one, other] = [arranged[a] as Box, arranged[b] as Box]
    return one.y - other.y || one.x - other.x || (a < b ? -1 : 1)
  })
}

/** The places after `id` went past its neighbour in the reading order, `by` -1 or 1; `null` where there is none to pass. */
export function pass(arranged: Boxes, id: string, by: number): Boxes | null {
  const order = readingOrder(arranged)
  const at = order.indexOf(id)
  for (let other = at + by; other >= 0 && other < order.length; other += by) {
    // Whoever goes up takes the place of whom it passes, and pushes it down.
    const [up, down] = by < 0 ? [id, order[other] as string] : [order[other] as string, id]
    const next = place(arranged, up, { ...arranged[up] as Box, x: arranged[down]?.x ?? 0, y: arranged[down]?.y ?? 0 })
    // Compacting may take it back; then the one behind is passed as well.
    if ((readingOrder(next).indexOf(id) - at) * by > 0) return next
  }
  return null
}

export function columnWidth(boardWidth: number): number {
  return (boardWidth - GAP * (COLUMNS - 1)) / COLUMNS
}

export function rectOf(box: Box, boardWidth: number): Rect {
  const column = columnWidth(boardWidth)
  return {
    left: Math.round(box.x * (column + GAP)),
    top: box.y * (ROW_HEIGHT + GAP),
    width: Math.round(box.w * column + (box.w - 1) * GAP),
    height: box.h * ROW_HEIGHT + (box.h - 1) * GAP
  }
}

/** One below the other, as wide as the board; small ones that follow each other in pairs. */
export function stackedRects(arranged: Boxes, boardWidth: number): Map<string, Rect> {
  const rects = new Map<string, Rect>()
  const half = Math.floor((boardWidth - GAP) / 2)
  let top = 0
  let waiting: Rect | null = null
  for (const id of readingOrder(arranged)) {
    const box = arranged[id] as Box
    const height = Math.max(box.h, 3) * (ROW_HEIGHT + GAP) - GAP
    const isSmall = box.w <= SMALL.w && box.h <= SMALL.h
    if (isSmall && waiting !== null) {
      rects.set(id, { ...waiting, left: half + GAP })
      waiting = null
      continue
    }
    const rect = { left: 0, top, width: isSmall ? half : boardWidth, height }
    waiting = isSmall ? { ...rect, height: 3 * (ROW_HEIGHT + GAP) - GAP } : null
    rects.set(id, waiting ?? rect)
    top += (waiting ?? rect).height + GAP
  }
  return rects
}

function itemsOf(stored: Boxes, ids: readonly string[]): LayoutItem[] {
  // In an order of its own: compacting breaks ties by it, and it must be everybody's.
  return [...ids].sort().map((i, at) => ({ i, ...fit(stored[i] ?? { x: at * 3 % COLUMNS, y: 1_000, w: 3, h: 4 }) }))
}

function boxesOf(items: readonly LayoutItem[], before: Boxes): Boxes {
  const boxes: Record<string, Box> = Object.create(null) // an id may be any name
  for (const { i, x, y, w, h } of items) {
    const known = before[i]
    boxes[i] = known !== undefined && known.x === x && known.y === y && known.w === w && known.h === h ? known : { x, y, w, h }
  }
  return boxes
}
