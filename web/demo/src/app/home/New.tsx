import { type FormEvent, type ReactNode, useState } from 'react'
import { nameFrom, pathOf } from '../../shared/address.js'
import { shorten } from '../../shared/format.js'
import { apiPath, call } from '../../shared/rest.js'
import { parseTable } from '../data/csv.js'
import { TEMPLATES } from '../templates.js'
import { attempt, freeId } from './actions.js'
import { fromGrafana, isGrafana } from './grafana.js'

export const CHOICES = [...TEMPLATES, { id: 'pasted', name: 'Your data', hint: 'Paste CSV, a sheet’s cells, JSON, or a Grafana dashboard' }]

interface NewProps {
  readonly begin: string
  readonly workspaces: readonly string[]
  readonly workspace: string
  readonly onClose: (() => void) | null
}

/** A new dashboard: blank, from a template, or from what somebody has. */
export function New({ begin, workspaces, workspace, onClose }: NewProps): ReactNode {
  const [title, setTitle] = useState('')
  const [template, setTemplate] = useState(begin)
  const [pasted, setPasted] = useState('')
  const [prometheus, setPrometheus] = useState('')
  const [place, setPlace] = useState(workspace || (workspaces.includes('default') ? 'default' : workspaces[0] ?? 'default'))
  const [problem, setProblem] = useState<string | null>(null)
  const [isBusy, setBusy] = useState(false)
  const json = template === 'pasted' ? jsonOf(pasted) : null
  const grafana = isGrafana(json) ? json : null

  const create = async (): Promise<void> => {
    const name = title.trim() || (grafana !== null && typeof grafana.title === 'string' ? grafana.title : '')
    const id = await freeId(`${place}/${nameFrom(name || TEMPLATES.find(({ id }) => id === template)?.name || 'Data')}`)
    let kind = template
    if (template === 'pasted') {
      const whole = grafana !== null ? fromGrafana(grafana, prometheus.trim()) : isDashboard(json) ? json : null
      if (whole !== null) {
        await call('PUT', apiPath(id), title.trim() === '' ? whole : { ...whole, meta: { ...whole.meta as object | undefined, title: title.trim() } }, { 'if-none-match': '*' })
        location.href = pathOf(id)
        return
      }
      if (parseTable(pasted) === null) {
        setProblem('This is neither a dashboard’s JSON nor rows: paste lines with commas, cells of a spreadsheet, a dashboard exported from Grafana, or what GET /api/dashboards/… answers.')
        return
      }
      sessionStorage.setItem('ydash:pasted', pasted)
      kind = 'pasted'
    }
    location.href = `${pathOf(id)}?${new URLSearchParams({ new: kind, ...title.trim() !== '' && { title: title.trim() } }).toString()}`
  }
  const submit = (event: FormEvent): void => {
    event.preventDefault()
    if (isBusy) return
    setBusy(true)
    void attempt(create).finally(() => { setBusy(false) })
  }
  return (
    <section className='new' aria-labelledby='new-title'>
      <form onSubmit={submit}>
        <h2 id='new-title'>New dashboard</h2>
        <div className='new-name'>
          <label className='field'><span>Name</span><input type='text' maxLength={80} autoFocus={template !== 'pasted'} placeholder='Sales 2026' value={title} onChange={event => { setTitle(event.target.value) }} /></label>
          {workspaces.length > 1 && (
            <label className='field'><span>Workspace</span><select value={place} onChange={event => { setPlace(event.target.value) }}>{workspaces.map(name => <option key={name} value={name}>{shorten(name, 40)}</option>)}</select></label>
          )}
        </div>
        <fieldset className='templates'>
          <legend>Begin with</legend>
          {CHOICES.map(({ id, name, hint }) => (
            <label key={id} className='template'><input type='radio' name='template' value={id} checked={template === id} onChange={() => { setTemplate(id) }} /><span><b>{name}</b><span className='aside'>{hint}</span></span></label>
          ))}
        </fieldset>
        {template === 'pasted' && <label className='field'><span>Data</span>
          <textarea className='mono' rows={6} autoFocus={begin === 'pasted'} spellCheck={false} value={pasted}
            placeholder={'Month, Revenue\nJan, 12400\nFeb, 15900'} onChange={event => { setPasted(event.target.value); setProblem(null) }} />
        </label>}
        {grafana !== null && (
          <>
            <p className='aside' role='status'>A dashboard from Grafana. Its Prometheus panels keep their queries; others come as empty widgets with their titles.</p>
            <label className='field'><span>Address of Prometheus, as browsers reach it</span>
              <input type='text' value={prometheus} placeholder='http://localhost:9090' spellCheck={false}
                onChange={event => { setPrometheus(event.target.value) }} />
            </label>
          </>
        )}
        {problem !== null && <p className='problem' role='alert'>{problem}</p>}
        <div className='row'><button type='submit' className='button' disabled={isBusy}>Create</button>{onClose !== null && <button type='button' className='quiet outlined' onClick={onClose}>Cancel</button>}</div>
      </form>
    </section>
  )
}

function jsonOf(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const json: unknown = JSON.parse(text)
    return typeof json === 'object' && json !== null && !Array.isArray(json) ? json as Record<string, unknown> : null
  } catch {
    return null
  }
}

/** Whether this is JSON of a whole dashboard. */
const isDashboard = (json: Readonly<Record<string, unknown>> | null): boolean => json !== null && typeof json.widgets === 'object' && json.widgets !== null
