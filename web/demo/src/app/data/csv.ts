import type { TableContent } from '@ydash/client'
import { type Cell, cellOf, numberOf, timeOf } from './frame.js'

/** Rows and columns that a table takes from what is pasted. */
export const TABLE_ROWS_MAX = 2_000
export const TABLE_COLUMNS_MAX = 50
const CELL_MAX = 2_000

/** Cells of CSV, of a sheet's clipboard (tabs), or with semicolons. */
export function parseCells(text: string): string[][] {
  const separator = separatorOf(text)
  const rows: string[][] = []
  let row: string[] = []
  let cell = ''
  let isQuoted = false
  const endCell = (): void => {
    row.push(cell.slice(0, CELL_MAX))
    cell = ''
  }
  const endRow = (): void => {
    endCell()
    if (row.some(one => one.trim() !== '')) rows.push(row)
    row = []
  }
  for (let at = 0; at < text.length; at++) {
    const letter = text[at]
    if (isQuoted) {
      if (letter !== '"') cell += letter
      else if (text[at + 1] === '"') cell += text[++at]
      else isQuoted = false
    } else if (letter === '"' && cell.trim() === '') {
      cell = ''
      isQuoted = true
    } else if (letter === separator) endCell()
    else if (letter === '\n') endRow()
    else if (letter !== '\r') cell += letter
  }
  endRow()
  return rows
}

function separatorOf(text: string): string {
  const line = /^\s*$/.test(text) ? '' : text.split(/\r?\n/).find(one => one.trim() !== '') ?? ''
  return ['\t', ';', ',', '|'].map(separator => ({ separator, count: line.split(separator).length })).sort((a, b) => b.count - a.count)[0]?.separator ?? ','
}

/** A table of what was pasted: CSV, cells of a sheet, or JSON rows; `null` for what is none. */
export function parseTable(text: string): (TableContent & { readonly isCut: boolean }) | null {
  // What begins as JSON is meant as JSON, also when it breaks off.
  const cells = /^\s*(\{|\[\s*[[{])/.test(text) ? fromJson(text) ?? [] : parseCells(text)
  const [first, ...rest] = cells
  if (first === undefined || first.every(cell => cell.trim() === '')) return null
  // A row of names stands above numbers or dates, and has none itself.
  const hasHeader = rest.length > 0 && first.every(cell => numberOf(cell) === null && timeOf(cell.trim()) === null)
  const body = hasHeader ? rest : cells
  const width = Math.min(Math.max(...cells.map(row => row.length)), TABLE_COLUMNS_MAX)
  const names = Array.from({ length: width }, (_, n) => (hasHeader ? first[n]?.trim() : '') || (width === 1 ? 'Value' : `Column ${n + 1}`))
  const ids = unique(names)
  const rows = body.slice(0, TABLE_ROWS_MAX).map(row => Object.fromEntries(ids.map((id, n): [string, Cell] => [id, cellOf(row[n] ?? '')]).filter(([, cell]) => cell !== null)))
  return { columns: ids.map((id, n) => ({ id, name: names[n] ?? id })), rows, isCut: body.length > TABLE_ROWS_MAX || Math.max(...cells.map(row => row.length)) > width }
}

function unique(names: readonly string[]): string[] {
  const taken = new Set<string>()
  return names.map(name => {
    let id = name
    for (let n = 2; taken.has(id); n++) id = `${name} ${n}`
    taken.add(id)
    return id
  })
}

function fromJson(text: string): string[][] | null {
  try {
    const json: unknown = JSON.parse(text)
    const list = Array.isArray(json) ? json : [json]
    if (!list.every(one => typeof one === 'object' && one !== null && !Array.isArray(one))) return null
    const names = [...new Set(list.flatMap(one => Object.keys(one as object)))]
    const write = (value: unknown): string => value === null || value === undefined ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value)
    return [names, ...list.map(one => names.map(name => write((one as Record<string, unknown>)[name])))]
  } catch {
    return null
  }
}
