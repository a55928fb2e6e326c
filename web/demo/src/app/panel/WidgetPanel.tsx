import type { Json, Table, Widget } from '@ydash/client'
import { useDashboard, useReadable, useTable, useWidget, useWidgetLock } from '@ydash/client/react'
import { Plus, TriangleAlert } from 'lucide-react'
import { type ChangeEvent, type CSSProperties, type ReactNode, useEffect, useState } from 'react'
import { formatAgo, formatNumber, plural, shorten, TITLE_MAX } from '../../shared/format.js'
import { announce } from '../announce.js'
import { parseTable } from '../data/csv.js'
import { FUNCTION_NAMES } from '../data/formula.js'
import { labelsOf, numbersOf, REDUCERS } from '../data/frame.js'
import { AUTHORIZATION, curlOf, pushedOf } from '../data/pushed.js'
import { freeTitle, SOURCE_NAMES, type SourceKind, sourceOf, useData } from '../data/source.js'
import { METRICS, metricOf } from '../feed.js'
import { cssColor, PALETTE, paletteColor } from '../palette.js'
import { KINDS, kindOf, type Setting } from '../widgets/registry.js'
import { Sheet } from '../widgets/Grid.js'
import { Code } from './Copied.js'
import { Panel, Section } from './SidePanel.js'

/** A widget's settings. They apply as they are made, for everybody; the widget is locked meanwhile. */
export default function WidgetPanel({ id, onClose }: { id: string, onClose: () => void }): ReactNode {
  const dashboard = useDashboard()
  const widget = useWidget(id)
  const lock = useWidgetLock(id)

  useEffect(() => dashboard.undo.begin(), [dashboard, id])
  useEffect(() => {
    lock.acquire()
    dashboard.presence.setSelection(id)
    return () => { lock.release() }
  }, [dashboard, id])
  // Somebody removed it.
  useEffect(() => { if (widget === undefined) onClose() }, [widget, onClose])
  if (widget === undefined) return null

  const kind = kindOf(widget)
  const has = (setting: Setting): boolean => kind?.settings.includes(setting) === true
  const set = (options: Record<string, Json | undefined>): void => { dashboard.widgets.update(id, { options }) }
  const Icon = kind?.icon
  return (
    <Panel
      title={kind?.name ?? 'Widget'} subject={id} onClose={onClose} icon={Icon !== undefined && <Icon size={17} aria-hidden='true' />}
      footer={<button type='button' className='button' onClick={onClose}>Done</button>}
    >
      {lock.isLocked && (
        <p className='warning'>
          <TriangleAlert size={15} aria-hidden='true' /> {lock.holder?.user.name} is working on it. Your changes merge with theirs. <button type='button' className='quiet' onClick={lock.takeOver}>Take over</button>
        </p>
      )}
      <label className='field'>
        <span>Title</span>
        {/* One at a time: of two who type into one title, the later letter would win over the earlier word. */}
        <input type='text' data-autofocus value={shorten(widget.title, TITLE_MAX)} readOnly={lock.isLocked} maxLength={80} placeholder={kind?.name} onChange={event => { dashboard.widgets.update(id, { title: event.target.value }) }} />
      </label>
      {kind !== undefined && kind.settings.includes('data') && (
        <label className='field'>
          <span>Shown as</span>
          <select value={kind.type} onChange={event => { dashboard.widgets.update(id, { type: event.target.value }) }}>
            {KINDS.filter(({ settings }) => settings.includes('data')).map(({ type, name }) => <option key={type} value={type}>{name}</option>)}
          </select>
        </label>
      )}
      {has('data') && <Section title='Data'><DataSettings widget={widget} has={has} set={set} /></Section>}
      {has('text') && (
        <label className='field'><span>Text</span><textarea rows={6} maxLength={20_000} value={typeof widget.options.text === 'string' ? widget.options.text : ''} onChange={event => { set({ text: event.target.value }) }} /></label>
      )}
      {has('url') && <TextField label='Address' value={widget.options.url} placeholder='https://' onSet={url => { set({ url: url || undefined }) }} />}
      {has('fit') && <Choice label='Fits' value={widget.options.fit === 'cover' ? 'cover' : 'contain'} options={[{ id: 'contain', name: 'All of it' }, { id: 'cover', name: 'Fill the widget' }]} onSet={fit => { set({ fit }) }} />}
      {kind !== undefined && kind.settings.some(setting => setting !== 'data' && setting !== 'url' && setting !== 'text') && <Section title='Display'><DisplaySettings widget={widget} has={has} set={set} /></Section>}
      {kind?.type === 'note' && <p className='aside'>Write in the note itself: everybody can, at the same time.</p>}
    </Panel>
  )
}

interface SettingsProps {
  readonly widget: Widget
  readonly has: (setting: Setting) => boolean
  readonly set: (options: Record<string, Json | undefined>) => void
}

function DataSettings({ widget, has, set }: SettingsProps): ReactNode {
  const source = sourceOf(widget)
  return (
    <>
      <label className='field'>
        <span>Comes from</span>
        <select value={source} onChange={event => { choose(event.target.value as SourceKind, widget, set) }}>
          {source === 'inline' && <option value='inline'>The widget’s own options</option>}
          {SOURCE_NAMES.map(({ id, name }) => <option key={id} value={id}>{name}</option>)}
        </select>
      </label>
      {source === 'table' && <TableSource widget={widget} set={set} />}
      {source === 'push' && <PushSource widget={widget} />}
      {(source === 'url' || source === 'prometheus') && <UrlSource widget={widget} set={set} isPrometheus={source === 'prometheus'} />}
      {source === 'formula' && <FormulaSource widget={widget} set={set} />}
      {source === 'server' && <ServerSource widget={widget} set={set} />}
      {source === 'inline' && <p className='aside'>A program wrote it as <code>value</code>, <code>data</code> or <code>rows</code>. It is shown as it comes.</p>}
      {source !== 'server' && (has('columns') || has('labels')) && <Columns widget={widget} has={has} set={set} />}
    </>
  )
}

function choose(source: SourceKind, widget: Widget, set: SettingsProps['set']): void {
  set({ source, ...source === 'server' && widget.options.metric === undefined && { metric: 'updates' } })
}

function TableSource({ widget, set }: Pick<SettingsProps, 'widget' | 'set'>): ReactNode {
  const { tables } = useDashboard()
  const all = useReadable(tables.all)
  const id = typeof widget.options.table === 'string' ? widget.options.table : undefined
  const table = useTable(id)
  const [isPasting, setPasting] = useState(false)
  const others = Object.values(all).filter(one => one.id !== id)
  return (
    <>
      {Object.keys(all).length > 0 && (
        <label className='field'>
          <span>Table</span>
          <select
            value={table?.id ?? ''}
            onChange={event => {
              if (event.target.value !== '+') set({ table: event.target.value || undefined, x: undefined, columns: undefined })
              else begin(tables, widget, set)
            }}
          >
            {table === undefined && <option value=''>Choose one…</option>}
            {[...table === undefined ? [] : [table], ...others].map(one => <option key={one.id} value={one.id}>{nameOf(one)}</option>)}
            <option value='+'>New table</option>
          </select>
        </label>
      )}
      {table === undefined || isPasting
        ? <Paste widget={widget} table={table} set={set} onDone={() => { setPasting(false) }} onEmpty={() => { begin(tables, widget, set) }} />
        : (
          <>
            {/* Such a widget is the sheet itself. */}
            {kindOf(widget)?.type !== 'table' && <div className='panel-sheet'><Sheet table={table} label={`Cells of ${nameOf(table)}`} /></div>}
            <div className='row'>
              <button type='button' className='quiet outlined' onClick={() => { setPasting(true) }}>Paste other data</button>
              <span className='aside'>{plural(table.rows.length, 'row')}, for every widget that shows it</span>
            </div>
          </>
          )}
    </>
  )
}

const nameOf = ({ title, id }: Table): string => shorten(title || id, 60)

/** A table to type into. */
function begin(tables: ReturnType<typeof useDashboard>['tables'], widget: Widget, set: SettingsProps['set']): void {
  const table = tables.add({ title: freeTitle(tables, widget.title || 'Table'), columns: ['Name', 'Value'], rows: [{ Name: 'First', Value: 1 }, { Name: 'Second', Value: 2 }] })
  set({ source: 'table', table, x: undefined, columns: undefined })
}

function Paste({ widget, table, set, onDone, onEmpty }: { widget: Widget, table: Table | undefined, set: SettingsProps['set'], onDone: () => void, onEmpty: () => void }): ReactNode {
  const { tables } = useDashboard()
  const [problem, setProblem] = useState<string | null>(null)
  const take = (text: string): void => {
    const parsed = parseTable(text)
    if (parsed === null) {
      setProblem('There are no rows in this. Copy cells of a sheet, or lines with commas.')
      return
    }
    setProblem(null)
    if (table !== undefined) tables.replace(table.id, parsed)
    else set({ source: 'table', table: tables.add({ title: freeTitle(tables, widget.title || 'Table'), ...parsed }), x: undefined, columns: undefined })
    announce(`${plural(parsed.rows.length, 'row')} taken${parsed.isCut ? '; a table has at most 2,000 rows and 50 columns' : ''}`, true)
    onDone()
  }
  return (
    <>
      <label className='field'>
        <span>Paste CSV, or cells of a spreadsheet</span>
        <textarea
          rows={6} spellCheck={false} placeholder={'Month, Revenue\nJan, 12400\nFeb, 15900'} className='mono'
          onPaste={event => {
            const text = event.clipboardData.getData('text/plain')
            if (text.trim() === '') return
            event.preventDefault()
            take(text)
          }}
          onChange={event => { if (event.target.value.includes('\n') && /\n\s*$/.test(event.target.value) === false && event.target.value.split('\n').length > 2) setProblem(null) }}
          onBlur={event => { if (event.target.value.trim() !== '') take(event.target.value) }}
        />
      </label>
      {problem !== null && <p className='problem' role='alert'>{problem}</p>}
      <div className='row'>
        <label className='quiet outlined file'>
          Choose a file
          <input
            type='file' accept='.csv,.tsv,.txt,.json,text/csv' className='visually-hidden'
            onChange={event => { void event.target.files?.[0]?.slice(0, 4 << 20).text().then(take) }}
          />
        </label>
        {table === undefined
          ? <button type='button' className='quiet outlined' onClick={onEmpty}><Plus size={14} aria-hidden='true' /> Empty table</button>
          : <button type='button' className='quiet' onClick={onDone}>Keep this one</button>}
      </div>
    </>
  )
}

function PushSource({ widget }: { widget: Widget }): ReactNode {
  const dashboard = useDashboard()
  const pushed = pushedOf(dashboard)
  const latest = useReadable({ subscribe: pushed.subscribe, get: () => pushed.points(widget.id).at(-1) })
  const [, setTick] = useState(0)
  useEffect(() => {
    const timer = setInterval(() => { setTick(n => n + 1) }, 5_000)
    return () => { clearInterval(timer) }
  }, [])
  return (
    <>
      <p className='aside'>Run this anywhere; the widget shows the value at once, in every browser.{AUTHORIZATION !== '' && <> This server asks for tokens: put one that may edit this dashboard in <code>YDASH_TOKEN</code> first.</>}</p>
      <Code label='command' text={curlOf(location.origin, dashboard.id, widget.id, kindOf(widget)?.type === 'status' ? '{"Web shop": "up", "Mail": "late"}' : '42')} />
      <p className='aside' role='status'>{latest === undefined ? 'Waiting for the first value.' : `Latest ${formatAgo(latest.at)}: ${Object.entries(latest.values).map(([name, value]) => { const written = typeof value === 'number' ? formatNumber(value, '') : value; return name === 'value' ? written : `${name} ${written}` }).slice(0, 4).join(', ')}`}</p>
      <details className='more'><summary>Several values, or earlier ones</summary>
        <p className='aside'>An object draws a line for each of its values, a list brings many at once, and <code>at</code> is in milliseconds since 1970. The server keeps the last 3,600 points of each widget in memory, apart from the dashboard: after its restart they are gone.</p>
        <Code label='command for two lines' text={curlOf(location.origin, dashboard.id, widget.id, '{"orders": 12, "returns": 1}')} />
      </details>
    </>
  )
}

function UrlSource({ widget, set, isPrometheus }: Pick<SettingsProps, 'widget' | 'set'> & { isPrometheus: boolean }): ReactNode {
  const { options } = widget
  return (
    <>
      <TextField label={isPrometheus ? 'Prometheus server' : 'URL of JSON or CSV'} value={options.url} placeholder={isPrometheus ? 'http://localhost:9090' : 'https://example.org/sales.json'} onSet={url => { set({ url: url || undefined }) }} />
      {isPrometheus
        ? <TextField label='Query' value={options.query} placeholder='sum(rate(http_requests_total[5m]))' onSet={query => { set({ query: query || undefined }) }} />
        : <TextField label='Where the rows are in it' value={options.path} placeholder='data.items' onSet={path => { set({ path: path || undefined }) }} />}
      <NumberField label='Again every (seconds)' value={options.every} placeholder='60' min={5} onSet={every => { set({ every }) }} />
      <p className='aside'>Each browser fetches it for itself, without cookies; it is asked once whether it may. The other server has to allow pages to read it (CORS).</p>
    </>
  )
}

function FormulaSource({ widget, set }: Pick<SettingsProps, 'widget' | 'set'>): ReactNode {
  const dashboard = useDashboard()
  const { problem } = useData(widget, true)
  const names = useReadable(dashboard.tables.all, all => Object.values(all).slice(0, 4).flatMap(({ title, columns }) => columns.slice(0, 3).map(({ name }) => `${quoted(title)}.${quoted(name)}`)))
  return (
    <>
      <label className='field'>
        <span>Formula</span>
        <textarea className='mono' rows={3} maxLength={1_000} spellCheck={false} value={typeof widget.options.formula === 'string' ? widget.options.formula : ''} placeholder='sum(Sales.Revenue) - sum(Sales.Costs)' aria-invalid={problem !== null} onChange={event => { set({ formula: event.target.value || undefined }) }} />
      </label>
      {problem !== null && <p className='problem' role='status'>{problem}</p>}
      {names.length > 0 && <p className='aside'>There {names.length === 1 ? 'is' : 'are'} {names.map((name, n) => <span key={name}>{n > 0 && ', '}<code>{name}</code></span>)}, and every widget by its title.</p>}
      <p className='aside'>Functions: {FUNCTION_NAMES.join(', ')}.</p>
    </>
  )
}

const quoted = (name: string): string => /^[\p{L}_][\p{L}\p{N}_]*$/u.test(name) ? name : `[${name}]`

function ServerSource({ widget, set }: Pick<SettingsProps, 'widget' | 'set'>): ReactNode {
  const type = kindOf(widget)?.type
  const metric = metricOf(widget.options.metric)
  if (type === 'table') return <p className='aside'>All metrics, as they are now.</p>
  return (
    <>
      <label className='field'>
        <span>Shows</span>
        <select value={metric.id} onChange={event => { set({ metric: event.target.value }) }}>
          {METRICS.map(({ id, name }) => <option key={id} value={id}>{name}</option>)}
        </select>
      </label>
      {type === 'chart' && metric.parts !== undefined && <Check label='One line for each part' isOn={widget.options.split === true} onSet={split => { set({ split }) }} />}
    </>
  )
}

function Columns({ widget, has, set }: SettingsProps): ReactNode {
  const { frame } = useData(widget, true)
  const labels = labelsOf(frame, widget.options.x)
  const numbers = frame.fields.filter(field => (field.kind === 'number' || has('labels') && kindOf(widget)?.type === 'status') && field !== labels)
  const shown = numbersOf(frame, widget.options.columns, labels)
  const isSingle = !has('plot')
  if (frame.fields.length < 2) return null
  return (
    <>
      {has('labels') && (
        <label className='field'>
          <span>Along the axis</span>
          <select value={labels?.id ?? ''} onChange={event => { set({ x: event.target.value || undefined }) }}>
            {labels === undefined && <option value=''>Row numbers</option>}
            {frame.fields.map(({ id, name }) => <option key={id} value={id}>{name}</option>)}
          </select>
        </label>
      )}
      {numbers.length > 1 && (isSingle
        ? <Choice label='Column' value={shown[0]?.id ?? ''} options={numbers} onSet={column => { set({ columns: [column] }) }} />
        : (
          <fieldset className='checks'>
            <legend>Columns</legend>
            {numbers.map(({ id, name }) => (
              <Check
                key={id} label={name} isOn={shown.some(field => field.id === id)}
                onSet={isOn => {
                  const next = numbers.map(field => field.id).filter(one => one === id ? isOn : shown.some(field => field.id === one))
                  set({ columns: next.length === 0 || next.length === numbers.length ? undefined : next })
                }}
              />
            ))}
          </fieldset>
          ))}
    </>
  )
}

function DisplaySettings({ widget, has, set }: SettingsProps): ReactNode {
  const { options } = widget
  return (
    <>
      {has('plot') && <Choice label='Drawn as' value={options.style === 'bars' || options.style === 'area' ? options.style : 'line'} options={[{ id: 'line', name: 'Lines' }, { id: 'area', name: 'Areas' }, { id: 'bars', name: 'Columns' }]} onSet={style => { set({ style }) }} />}
      {has('gauge') && <Choice label='Drawn as' value={options.style === 'bar' ? 'bar' : 'arc'} options={[{ id: 'arc', name: 'Arc' }, { id: 'bar', name: 'Bar' }]} onSet={style => { set({ style }) }} />}
      {has('reduce') && <Choice label='Of the column' value={typeof options.reduce === 'string' ? options.reduce : 'last'} options={REDUCERS} onSet={reduce => { set({ reduce }) }} />}
      {has('sort') && <Check label='Largest first' isOn={options.sort === 'value'} onSet={isOn => { set({ sort: isOn ? 'value' : undefined }) }} />}
      {has('unit') && (
        <div className='pair'>
          <TextField label='Unit' value={options.unit} placeholder='€, %, kg' max={12} onSet={unit => { set({ unit: unit || undefined }) }} />
          <NumberField label='Decimals' value={options.decimals} placeholder='auto' min={0} max={8} onSet={decimals => { set({ decimals }) }} />
        </div>
      )}
      {has('goal') && <NumberField label='Goal' value={options.goal} onSet={goal => { set({ goal }) }} />}
      {has('range') && (
        <div className='pair'>
          <NumberField label='From' value={options.min} placeholder='auto' onSet={min => { set({ min }) }} />
          <NumberField label='To' value={options.max} placeholder='auto' onSet={max => { set({ max }) }} />
        </div>
      )}
      {has('thresholds') && (
        <>
          <div className='pair'>
            <NumberField label='Warn at' value={options.warn} onSet={warn => { set({ warn }) }} />
            <NumberField label='Alert at' value={options.alert} onSet={alert => { set({ alert }) }} />
          </div>
          <p className='aside'>Where the alert is below the warning, low values are bad.</p>
        </>
      )}
      {has('color') && (
        <fieldset className='colors'>
          <legend>Colour</legend>
          {PALETTE.map(color => (
            <label key={color} style={{ '--who': cssColor(color) } as CSSProperties}>
              <input type='radio' name='widget-color' aria-label={color} checked={paletteColor(options.color) === color} onChange={() => { set({ color }) }} />
            </label>
          ))}
        </fieldset>
      )}
    </>
  )
}

function TextField({ label, value, placeholder, max = 2_000, onSet }: { label: string, value: Json | undefined, placeholder?: string, max?: number, onSet: (value: string) => void }): ReactNode {
  return <label className='field'><span>{label}</span><input type='text' spellCheck={false} autoComplete='off' maxLength={max} placeholder={placeholder} value={typeof value === 'string' ? value : ''} onChange={event => { onSet(event.target.value) }} /></label>
}

/** A number, or nothing; what is typed on the way to one stays as it is. */
function NumberField({ label, value, placeholder, min, max, onSet }: { label: string, value: Json | undefined, placeholder?: string, min?: number, max?: number, onSet: (value: number | undefined) => void }): ReactNode {
  const [draft, setDraft] = useState<string | null>(null)
  const change = (event: ChangeEvent<HTMLInputElement>): void => {
    setDraft(event.target.value)
    const number = Number(event.target.value.replace(',', '.'))
    if (event.target.value.trim() === '') onSet(undefined)
    else if (Number.isFinite(number) && number >= (min ?? -Infinity) && number <= (max ?? Infinity)) onSet(number)
  }
  return <label className='field'><span>{label}</span><input type='text' inputMode='decimal' autoComplete='off' placeholder={placeholder} value={draft ?? (typeof value === 'number' ? String(value) : '')} onChange={change} onBlur={() => { setDraft(null) }} /></label>
}

function Choice({ label, value, options, onSet }: { label: string, value: string, options: readonly { readonly id: string, readonly name: string }[], onSet: (value: string) => void }): ReactNode {
  return <label className='field'><span>{label}</span><select value={value} onChange={event => { onSet(event.target.value) }}>{options.map(({ id, name }) => <option key={id} value={id}>{name}</option>)}</select></label>
}

function Check({ label, isOn, onSet }: { label: string, isOn: boolean, onSet: (isOn: boolean) => void }): ReactNode {
  return <label className='check'><input type='checkbox' checked={isOn} onChange={event => { onSet(event.target.checked) }} /> <span>{label}</span></label>
}
