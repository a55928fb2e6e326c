import * as Y from 'yjs'
import type { Readable } from '../readable.js'
import type { Edit } from './edit.js'
import { Entries } from './entries.js'

/** A widget's place in grid units. */
export interface Box {
  readonly x: number
  readonly y: number
  readonly w: number
  readonly h: number
}

/** Cells beyond this are nobody's wish. */
const CELLS_MAX = 100_000

/**
 * Who is where, `layout` in the document: a map by widget id of maps with `x`, `y`, `w` and `h`.
 *
 * Position and size are written in pairs. So of two who drag one widget at the same time one wins as a whole, while a move and a
 * resize at the same time both count; and a widget never has two places.
 */
export class LayoutModel {
  /** All places by widget id. */
  readonly all: Readable<Readonly<Record<string, Box>>>

  readonly #map: Y.Map<unknown>
  readonly #edit: Edit
  readonly #boxes: Entries<Box>

  constructor(doc: Y.Doc, edit: Edit) {
    this.#map = doc.getMap('layout')
    this.#edit = edit
    this.#boxes = new Entries(this.#map, tidy)
    this.all = this.#boxes.all
  }

  /** One widget's place. */
  get(id: string): Box | undefined {
    return this.#boxes.get(id)
  }

  /** Puts a widget somewhere. Only what differs is written. */
  set(id: string, box: Box): void {
    this.setAll({ [id]: box })
  }

  /** Moves a widget. */
  move(id: string, to: { readonly x: number, readonly y: number }): void {
    const box = this.get(id)
    if (box !== undefined) this.set(id, { ...box, x: to.x, y: to.y })
  }

  /** Resizes a widget. */
  resize(id: string, to: { readonly w: number, readonly h: number }): void {
    const box = this.get(id)
    if (box !== undefined) this.set(id, { ...box, w: to.w, h: to.h })
  }

  /** Puts several widgets somewhere at once: what a grid says after a drag. */
  setAll(boxes: Readonly<Record<string, Box>>): void {
    const changed = Object.entries(boxes).flatMap(([id, box]) => {
      const before = this.get(id)
      const after = tidy(box)
      const isMoved = after.x !== before?.x || after.y !== before.y
      const isResized = after.w !== before?.w || after.h !== before.h
      return isMoved || isResized ? [{ id, after, isMoved, isResized }] : []
    })
    if (changed.length === 0) return
    this.#edit(() => {
      for (const { id, after, isMoved, isResized } of changed) {
        const map = this.#map.get(id)
        if (!(map instanceof Y.Map)) {
          this.#map.set(id, new Y.Map(Object.entries(after)))
          continue
        }
        if (isMoved) map.set('x', after.x), map.set('y', after.y)
        if (isResized) map.set('w', after.w), map.set('h', after.h)
      }
    })
  }

  /** Forgets a widget's place. */
  remove(id: string): void {
    this.#edit(() => { this.#map.delete(id) })
  }

  /** @internal */
  destroy(): void {
    this.#boxes.destroy()
  }
}

/** A box that a grid can show, whatever somebody wrote. */
function tidy(box: { x?: unknown, y?: unknown, w?: unknown, h?: unknown }): Box {
  const cells = (value: unknown, least: number): number =>
    typeof value === 'number' && Number.isFinite(value) ? Math.min(Math.max(Math.round(value), least), CELLS_MAX) : least
  return { x: cells(box.x, 0), y: cells(box.y, 0), w: cells(box.w, 1), h: cells(box.h, 1) }
}
