import * as Y from 'yjs'
import { type Json, isObject, patchMap, toJson } from '../json.js'
import type { Readable } from '../readable.js'
import { type Edit, ReadOnlyError } from './edit.js'
import { Entries } from './entries.js'
import { newId } from './ids.js'
import type { Box, LayoutModel } from './layout.js'

/** What a dashboard is made of. */
export interface Widget {
  readonly id: string
  /** The application's kind: `chart`, `table`. */
  readonly type: string
  readonly title: string
  /** The application's settings of this widget. Each key merges by itself. */
  readonly options: Readonly<Record<string, Json>>
}

/** What of a widget is to change; `undefined` removes an option. */
export interface WidgetPatch {
  readonly type?: string
  readonly title?: string
  readonly options?: Readonly<Record<string, Json | undefined>>
}

/** The widgets, `widgets` in the document: a map by id of maps with `type`, `title`, `options`, and texts. */
export class WidgetsModel {
  /** All widgets by id. */
  readonly all: Readable<Readonly<Record<string, Widget>>>

  readonly #map: Y.Map<unknown>
  readonly #layout: LayoutModel
  readonly #edit: Edit
  readonly #widgets: Entries<Widget>

  constructor(doc: Y.Doc, layout: LayoutModel, edit: Edit) {
    this.#map = doc.getMap('widgets')
    this.#layout = layout
    this.#edit = edit
    // What is typed into a widget's text is its editor's business.
    this.#widgets = new Entries(this.#map, describe, path => path.length > 1 && path[1] !== 'options')
    this.all = this.#widgets.all
  }

  /** One widget. */
  get(id: string): Widget | undefined {
    return this.#widgets.get(id)
  }

  /** Adds a widget, at a place if one is given, and returns its id. */
  add(widget: WidgetPatch & { readonly type: string, readonly id?: string }, box?: Box): string {
    const id = widget.id ?? newId()
    this.#edit(() => {
      const map = new Y.Map<unknown>()
      map.set('type', widget.type)
      map.set('title', widget.title ?? '')
      map.set('options', new Y.Map(Object.entries(widget.options ?? {}).filter(([, value]) => value !== undefined)))
      this.#map.set(id, map)
      if (box !== undefined) this.#layout.set(id, box)
    })
    return id
  }

  /** Changes what differs. Does nothing when the widget is gone. */
  update(id: string, patch: WidgetPatch): void {
    this.#edit(() => {
      const map = this.#shared(id)
      if (map === null) return
      const { type, title, options } = patch
      patchMap(map, { ...(type !== undefined && { type }), ...(title !== undefined && { title }) })
      if (options === undefined) return
      const shared = map.get('options')
      const plain = toJson(shared)
      if (shared instanceof Y.Map) patchMap(shared, options)
      else map.set('options', new Y.Map(Object.entries({ ...(isObject(plain) && plain), ...options }).filter(([, value]) => value !== undefined)))
    })
  }

  /** Removes widgets with their places. */
  remove(...ids: string[]): void {
    this.#edit(() => {
      for (const id of ids) {
        this.#map.delete(id)
        this.#layout.remove(id)
      }
    })
  }

  /**
   * The widget's rich text, for an editor binding (y-prosemirror, Tiptap); made when it is not there yet, which takes the right to edit.
   * `null` also when another client keeps something else under `key`.
   */
  richText(id: string, key = 'content'): Y.XmlFragment | null {
    return this.#text(id, key, Y.XmlFragment)
  }

  /** The widget's plain text, for an editor binding (y-codemirror); as [WidgetsModel.richText]. */
  text(id: string, key = 'text'): Y.Text | null {
    return this.#text(id, key, Y.Text)
  }

  /** @internal */
  destroy(): void {
    this.#widgets.destroy()
  }

  #text<T extends Y.Text | Y.XmlFragment>(id: string, key: string, Type: new () => T): T | null {
    const map = this.#map.get(id)
    if (!(map instanceof Y.Map)) return null
    const existing: unknown = map.get(key)
    if (existing instanceof Type) return existing
    // Another client's idea of what belongs there is not overwritten by looking at it.
    if (existing !== undefined) return null
    try {
      return this.#edit(() => {
        const made = new Type()
        map.set(key, made)
        return made
      })
    } catch (error) {
      if (error instanceof ReadOnlyError) return null
      throw error
    }
  }

  /** The widget as a shared map; what another client wrote as a plain object becomes one. */
  #shared(id: string): Y.Map<unknown> | null {
    const value = this.#map.get(id)
    if (value instanceof Y.Map) return value
    const plain = toJson(value)
    if (!isObject(plain)) return null
    const map = new Y.Map(Object.entries(plain))
    this.#map.set(id, map)
    return map
  }
}

function describe({ type, title, options }: Record<string, Json>, id: string): Widget {
  return {
    id,
    type: typeof type === 'string' ? type : '',
    title: typeof title === 'string' ? title : '',
    options: isObject(options) ? options as Record<string, Json> : {}
  }
}
