import * as Y from 'yjs'
import { type Json, isEqual, isObject, toJson } from '../json.js'
import type { Readable } from '../readable.js'
import type { Edit } from './edit.js'
import { Entries } from './entries.js'
import { newId } from './ids.js'

/** A column of a table. Cells know it by its id, so that it can be renamed while others type. */
export interface Column {
  readonly id: string
  readonly name: string
}

/** Cells by column id. */
export type Row = Readonly<Record<string, Json>>

/** Data that is kept in the dashboard, for widgets to show. */
export interface Table {
  readonly id: string
  readonly title: string
  readonly columns: readonly Column[]
  readonly rows: readonly Row[]
}

/** What a table begins with. Columns may be given by their names. */
export interface TableContent {
  readonly columns: readonly (string | Column)[]
  readonly rows: readonly Row[]
}

/**
 * The tables, `tables` in the document: a map by id of maps with `title`, `columns` (an array of maps with `id` and `name`) and `rows` (an array
 * of maps by column id).
 *
 * Each cell merges by itself, rows that two people add at once are both there, and a row keeps its cells when one above it goes.
 */
export class TablesModel {
  /** All tables by id. */
  readonly all: Readable<Readonly<Record<string, Table>>>

  readonly #map: Y.Map<unknown>
  readonly #edit: Edit
  readonly #tables: Entries<Table>

  constructor(doc: Y.Doc, edit: Edit) {
    this.#map = doc.getMap('tables')
    this.#edit = edit
    this.#tables = new Entries(this.#map, describe)
    this.all = this.#tables.all
  }

  /** One table. */
  get(id: string): Table | undefined {
    return this.#tables.get(id)
  }

  /** Adds a table and returns its id. */
  add(table: TableContent & { readonly title?: string, readonly id?: string }): string {
    const id = table.id ?? newId()
    this.#edit(() => {
      const map = new Y.Map<unknown>([['title', table.title ?? '']])
      this.#map.set(id, map)
      fill(map, table)
    })
    return id
  }

  /** Puts other content in the place of all rows and columns. Does nothing when the table is gone. */
  replace(id: string, content: TableContent): void {
    this.#edit(() => {
      const map = this.#map.get(id)
      if (map instanceof Y.Map) fill(map, content)
    })
  }

  /** Renames a table. */
  rename(id: string, title: string): void {
    this.#edit(() => {
      const map = this.#map.get(id)
      if (map instanceof Y.Map && map.get('title') !== title) map.set('title', title)
    })
  }

  /** Removes tables. */
  remove(...ids: string[]): void {
    this.#edit(() => { for (const id of ids) this.#map.delete(id) })
  }

  /** Sets one cell; `null` empties it. A row that is not there yet is added at the end. */
  setCell(id: string, row: number, column: string, value: Json): void {
    const before = this.get(id)?.rows[row]?.[column] ?? null
    if (isEqual(before, value)) return
    this.#edit(() => {
      const rows = this.#list(id, 'rows')
      if (rows === null) return
      if (row >= rows.length) {
        rows.push([new Y.Map([[column, value]])])
        return
      }
      const map = asMap(rows, row)
      if (value === null) map.delete(column)
      else map.set(column, value)
    })
  }

  /** Adds rows, at the end unless `at` says where. */
  insertRows(id: string, rows: readonly Row[], at?: number): void {
    if (rows.length === 0) return
    this.#edit(() => {
      const list = this.#list(id, 'rows')
      list?.insert(Math.min(at ?? list.length, list.length), rows.map(row => new Y.Map(cells(row))))
    })
  }

  /** Removes so many rows. */
  removeRows(id: string, at: number, count = 1): void {
    this.#edit(() => {
      const list = this.#list(id, 'rows')
      if (list !== null && at < list.length) list.delete(at, Math.min(count, list.length - at))
    })
  }

  /** Adds a column at the end and returns its id; `null` when the table is gone. */
  addColumn(id: string, name: string): string | null {
    return this.#edit(() => {
      const list = this.#list(id, 'columns')
      if (list === null) return null
      const column = uniqueIds([...this.get(id)?.columns ?? [], name]).at(-1) as Column
      list.push([new Y.Map(Object.entries(column))])
      return column.id
    })
  }

  /** Renames a column; its cells stay. */
  renameColumn(id: string, column: string, name: string): void {
    this.#edit(() => {
      const list = this.#list(id, 'columns')
      const at = this.get(id)?.columns.findIndex(one => one.id === column) ?? -1
      if (list !== null && at >= 0 && at < list.length) asMap(list, at, columnOf).set('name', name)
    })
  }

  /** Removes a column with its cells. */
  removeColumn(id: string, column: string): void {
    this.#edit(() => {
      const list = this.#list(id, 'columns')
      const at = this.get(id)?.columns.findIndex(one => one.id === column) ?? -1
      if (list === null || at < 0 || at >= list.length) return
      list.delete(at)
      for (const row of this.#list(id, 'rows')?.toArray() ?? []) if (row instanceof Y.Map) row.delete(column)
    })
  }

  /** @internal */
  destroy(): void {
    this.#tables.destroy()
  }

  /** A list of the table as a shared one; what another client wrote as a plain list becomes one. */
  #list(id: string, key: 'columns' | 'rows'): Y.Array<unknown> | null {
    const map = this.#map.get(id)
    if (!(map instanceof Y.Map)) return null
    const list = map.get(key)
    if (list instanceof Y.Array) return list
    const made = new Y.Array<unknown>()
    made.insert(0, Array.isArray(list) ? list : [])
    map.set(key, made)
    return made
  }
}

/** An entry of a list as a shared map; what another client wrote as a plain value becomes one. */
function asMap(list: Y.Array<unknown>, at: number, read: (plain: Json) => object = plain => isObject(plain) ? plain : {}): Y.Map<unknown> {
  const value = list.get(at)
  if (value instanceof Y.Map) return value
  const map = new Y.Map<unknown>(Object.entries(read(toJson(value) ?? null)))
  list.delete(at)
  list.insert(at, [map])
  return map
}

function fill(map: Y.Map<unknown>, { columns, rows }: TableContent): void {
  map.set('columns', Y.Array.from(uniqueIds(columns).map(column => new Y.Map(Object.entries(column)))))
  map.set('rows', Y.Array.from(rows.map(row => new Y.Map(cells(row)))))
}

function cells(row: Row): [string, Json][] {
  return Object.entries(row).filter(([, value]) => value !== null && value !== undefined)
}

/** Columns with an id each: their name, with a number where it is there twice. */
function uniqueIds(columns: readonly (string | Column)[]): Column[] {
  const taken = new Set(columns.flatMap(column => typeof column === 'string' ? [] : [column.id]))
  return columns.map(column => {
    if (typeof column !== 'string') return column
    let id = column
    for (let n = 2; taken.has(id); n++) id = `${column} ${n}`
    taken.add(id)
    return { id, name: column }
  })
}

function columnOf(value: Json): Column {
  if (typeof value === 'string') return { id: value, name: value }
  const { id, name } = isObject(value) ? value : {}
  const known = typeof id === 'string' ? id : typeof name === 'string' ? name : ''
  return { id: known, name: typeof name === 'string' ? name : known }
}

function describe({ title, columns, rows }: Record<string, Json>, id: string): Table {
  const found = Array.isArray(rows) ? rows.filter(isObject) as unknown as Row[] : []
  // What REST wrote without columns has those of its first row.
  const named = Array.isArray(columns) ? columns : Object.keys(found[0] ?? {})
  return { id, title: typeof title === 'string' ? title : '', columns: named.map(columnOf), rows: Array.isArray(rows) ? rows.map(row => (isObject(row) ? row : {}) as Row) : [] }
}
