import type { Table } from '@ydash/client'
import { useDashboard, useTable } from '@ydash/client/react'
import { Plus } from 'lucide-react'
import { type ClipboardEvent, type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from 'react'
import { formatNumber, plural } from '../../shared/format.js'
import { parseCells, TABLE_ROWS_MAX } from '../data/csv.js'
import { type Cell, cellOf, type Frame, numberOf } from '../data/frame.js'
import { sourceOf } from '../data/source.js'
import { feed, METRICS } from '../feed.js'
import { useMayEdit } from '../hooks.js'
import { dateOf, displayOf } from './display.js'
import type { WidgetProps } from './registry.js'
import { Shown } from './Shown.js'

/** Rows that are drawn: a page has no use for more at once. */
const SHOWN_MAX = 300

/** Rows and columns: those of this dashboard can be edited in place, by all at once. */
export function Grid({ widget, title, isVisible }: WidgetProps): ReactNode {
  const mayEdit = useMayEdit()
  const id = sourceOf(widget) === 'table' && typeof widget.options.table === 'string' ? widget.options.table : undefined
  const table = useTable(id)
  if (mayEdit && table !== undefined && table.columns.length > 0) return <Sheet table={table} label={title} unit={displayOf(widget, 'table').unit} />
  if (sourceOf(widget) === 'server') return <Metrics widget={widget} title={title} isVisible={isVisible} />
  return (
    <Shown widget={widget} isVisible={isVisible}>
      {({ frame, source }) => <Plain frame={frame} label={title} unit={displayOf(widget, source).unit} />}
    </Shown>
  )
}

function Plain({ frame, label, unit }: { frame: Frame, label: string, unit: string }): ReactNode {
  // What is pushed comes last, and is read first.
  const rows = Array.from({ length: Math.min(frame.length, SHOWN_MAX) }, (_, n) => n)
  return (
    <div className='scroll' tabIndex={0} role='region' aria-label={`${label}, scrolls`}>
      <table className='table'>
        <thead><tr>{frame.fields.map(({ id, name, kind }) => <th key={id} scope='col' data-kind={kind}>{name}</th>)}</tr></thead>
        <tbody>
          {rows.map(n => (
            <tr key={n}>{frame.fields.map(({ id, kind, values }) => <td key={id} data-kind={kind}>{written(values[n] ?? null, kind, unit)}</td>)}</tr>
          ))}
        </tbody>
      </table>
      {frame.length > SHOWN_MAX && <p className='empty'>{plural(frame.length - SHOWN_MAX, 'more row')}</p>}
    </div>
  )
}

function written(value: Cell, kind: string, unit: string): string {
  return value === null ? '' : kind === 'time' ? dateOf(value as number) : typeof value === 'number' ? formatNumber(value, unit) : value
}

interface Place {
  readonly row: number
  readonly column: number
}

/** A table of the dashboard as a sheet: click or move to a cell, type to change it, paste whole ranges. */
export function Sheet({ table, label, unit = '' }: { table: Table, label: string, unit?: string }): ReactNode {
  const { tables, undo } = useDashboard()
  const { id, columns, rows } = table
  const [selected, setSelected] = useState<Place | null>(null)
  const [draft, setDraft] = useState<string | null>(null)
  const grid = useRef<HTMLTableElement>(null)
  const shown = rows.slice(0, SHOWN_MAX)
  const numeric = columns.map(({ id }) => shown.length > 0 && shown.every(row => row[id] === undefined || row[id] === null || numberOf(row[id]) !== null))

  const focus = (place: Place): void => {
    setSelected(place)
    requestAnimationFrame(() => grid.current?.querySelector<HTMLElement>(`[data-cell="${place.row}:${place.column}"]`)?.focus())
  }
  const text = ({ row, column }: Place): string => {
    if (row < 0) return columns[column]?.name ?? ''
    const value = rows[row]?.[columns[column]?.id ?? '']
    return value === undefined || value === null ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value)
  }
  const write = ({ row, column }: Place, value: string): void => {
    const known = columns[column]
    if (known === undefined || value === text({ row, column })) return
    undo.cut()
    if (row >= 0) tables.setCell(id, row, known.id, cellOf(value))
    else if (value.trim() !== '') tables.renameColumn(id, known.id, value.trim())
  }
  const leave = (place: Place, isKept: boolean): void => {
    if (draft !== null && isKept) write(place, draft)
    setDraft(null)
  }
  const step = (place: Place, dy: number, dx: number): void => {
    const last = rows.length < TABLE_ROWS_MAX ? Math.min(rows.length, SHOWN_MAX - 1) : rows.length - 1
    let [row, column] = [place.row + dy, place.column + dx]
    if (column >= columns.length) [row, column] = [row + 1, 0]
    if (column < 0) [row, column] = [row - 1, columns.length - 1]
    if (row < -1 || row > last) return
    focus({ row, column })
  }

  const key = (event: KeyboardEvent, place: Place): void => {
    const isEditing = draft !== null
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key]
    if (event.key === 'Enter') {
      if (isEditing || event.shiftKey) leave(place, true), step(place, event.shiftKey ? -1 : 1, 0)
      else setDraft(text(place))
    } else if (event.key === 'F2' && !isEditing) setDraft(text(place))
    else if (event.key === 'Escape' && isEditing) leave(place, false), focus(place)
    else if (event.key === 'Tab' && isEditing) leave(place, true), step(place, 0, event.shiftKey ? -1 : 1)
    else if (move !== undefined && !isEditing) step(place, move[0] as number, move[1] as number)
    else if ((event.key === 'Delete' || event.key === 'Backspace') && !isEditing) {
      if (place.row >= 0) write(place, '')
    } else if (event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey && !isEditing) setDraft(event.key)
    else {
      // What is typed here is no shortcut of the board.
      if (isEditing) event.stopPropagation()
      return
    }
    event.preventDefault()
    event.stopPropagation()
  }

  const paste = (event: ClipboardEvent, place: Place): void => {
    if (draft !== null) return
    const cells = parseCells(event.clipboardData.getData('text/plain'))
    if (cells.length === 0) return
    event.preventDefault()
    event.stopPropagation()
    undo.cut()
    for (const [dy, row] of cells.slice(0, TABLE_ROWS_MAX).entries()) {
      for (const [dx, value] of row.entries()) {
        const column = columns[place.column + dx]
        const at = Math.max(place.row, 0) + dy
        if (column !== undefined && at < TABLE_ROWS_MAX) tables.setCell(id, at, column.id, cellOf(value))
      }
    }
  }
  const copy = (event: ClipboardEvent, place: Place): void => {
    if (draft !== null) return
    event.preventDefault()
    event.stopPropagation()
    event.clipboardData.setData('text/plain', text(place))
  }

  const cell = (place: Place, shownText: string, isNumber: boolean): ReactNode => {
    const isHere = selected?.row === place.row && selected.column === place.column
    const name = place.row < 0 ? `Name of column ${place.column + 1}` : `${columns[place.column]?.name ?? ''}, row ${place.row + 1}`
    return isHere && draft !== null
      ? <CellInput name={name} value={draft} onChange={setDraft} onKey={event => { key(event, place) }} onLeave={() => { leave(place, true) }} />
      : (
        <button
          type='button' className='cell' data-cell={`${place.row}:${place.column}`} data-number={isNumber} aria-label={`${name}: ${shownText || 'empty'}`} tabIndex={isHere || (selected === null && place.row === 0 && place.column === 0) ? 0 : -1}
          onClick={() => { focus(place) }} onFocus={() => { if (!isHere) setSelected(place) }} onDoubleClick={() => { setDraft(text(place)) }}
          onKeyDown={event => { key(event, place) }} onPaste={event => { paste(event, place) }} onCopy={event => { copy(event, place) }}
        >{shownText}</button>
        )
  }

  return (
    <div className='scroll sheet-scroll' data-action>
      <table className='table sheet' ref={grid} aria-label={label}>
        <thead><tr>{columns.map((column, n) => <th key={column.id} scope='col' data-kind={numeric[n] ? 'number' : 'text'}>{cell({ row: -1, column: n }, column.name, numeric[n] === true)}</th>)}</tr></thead>
        <tbody>
          {shown.map((row, at) => (
            <tr key={at}>{columns.map((column, n) => {
              const value = row[column.id]
              const number = typeof value === 'number' ? formatNumber(value, unit) : null
              return <td key={column.id} data-kind={number !== null ? 'number' : 'text'}>{cell({ row: at, column: n }, number ?? text({ row: at, column: n }), number !== null)}</td>
            })}</tr>
          ))}
          {rows.length < Math.min(TABLE_ROWS_MAX, SHOWN_MAX) && (
            <tr className='next-row'>{columns.map((column, n) => <td key={column.id}>{cell({ row: rows.length, column: n }, '', false)}</td>)}</tr>
          )}
        </tbody>
      </table>
      {rows.length > SHOWN_MAX && <p className='empty'>{plural(rows.length - SHOWN_MAX, 'more row')}</p>}
      <button type='button' className='quiet add-column' onClick={() => { undo.cut(); tables.addColumn(id, `Column ${columns.length + 1}`) }}><Plus size={13} aria-hidden='true' /> Column</button>
    </div>
  )
}

function CellInput({ name, value, onChange, onKey, onLeave }: { name: string, value: string, onChange: (value: string) => void, onKey: (event: KeyboardEvent) => void, onLeave: () => void }): ReactNode {
  const input = useRef<HTMLInputElement>(null)
  useEffect(() => {
    input.current?.focus()
    input.current?.setSelectionRange(value.length, value.length)
    // Where the caret was when it began.
  }, [])
  return <input ref={input} className='cell-input' aria-label={name} value={value} maxLength={2_000} onChange={event => { onChange(event.target.value) }} onKeyDown={onKey} onBlur={onLeave} />
}

/** Every metric of the server, as it is now. */
function Metrics({ widget, title, isVisible }: WidgetProps): ReactNode {
  return (
    <Shown widget={{ ...widget, options: { source: 'server', metric: 'all' } }} isVisible={isVisible}>
      {() => <MetricsTable title={title} />}
    </Shown>
  )
}

function MetricsTable({ title }: { title: string }): ReactNode {
  const latest = feed.samples.at(-1)
  return (
    <div className='scroll' tabIndex={0} role='region' aria-label={`${title}, scrolls`}>
      <table className='table'>
        <thead><tr><th scope='col'>Metric</th><th scope='col' data-kind='number'>Now</th></tr></thead>
        <tbody>{METRICS.map(({ id, name, unit, floor }) => <tr key={id}><th scope='row'>{name}</th><td data-kind='number'>{floor !== undefined && (latest?.values[id] ?? 1) <= floor && '< '}{formatNumber(latest?.values[id] ?? null, unit)}</td></tr>)}</tbody>
      </table>
    </div>
  )
}
