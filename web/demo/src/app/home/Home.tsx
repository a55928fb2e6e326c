import { ArrowDownAZ, Clock3, Copy, Ellipsis, Lock, Plus, Search, Star, X } from 'lucide-react'
import { type FormEvent, type ReactNode, useEffect, useMemo, useState } from 'react'
import { formatAgo, shorten, TITLE_MAX } from '../../shared/format.js'
import { useMediaQuery } from '../../shared/media.js'
import { apiPath, call, CallError, reasonOf } from '../../shared/rest.js'
import { ask, token, tokenOf } from '../../shared/token.js'
import { nameFrom, pathOf } from '../../shared/address.js'
import { announce, Announcements } from '../announce.js'
import { parseTable } from '../data/csv.js'
import { Menu } from '../Menu.js'
import { mayBeginSample, SAMPLE } from '../session.js'
import { TEMPLATES } from '../templates.js'
import { PITCH, PROMISE } from '../Welcome.js'
import { type Entry, favourites, forget, opened, setFavourite } from './dashboards.js'
import { Preview } from './Preview.js'

const CHOICES = [...TEMPLATES, { id: 'pasted', name: 'Your data', hint: 'Paste CSV, a sheet’s cells, or JSON' }]

/** What a link to here wants to begin with. */
const begin = new URLSearchParams(location.search).get('begin')
const wanted = CHOICES.some(({ id }) => id === begin) ? begin : null

/** Where one begins: the dashboards one knows, and new ones. */
export default function Home(): ReactNode {
  const [entries, setEntries] = useState(opened)
  const [stars, setStars] = useState(favourites)
  const [text, setText] = useState('')
  const [sort, setSort] = useState<'at' | 'title'>('at')
  const [isBeginning, setBeginning] = useState(entries.length === 0 || wanted !== null)
  const prefersDark = useMediaQuery('(prefers-color-scheme: dark)')
  document.documentElement.dataset.theme = prefersDark ? 'dark' : 'light'
  // A browser that has been somewhere knows its way.
  const [hasSample, setHasSample] = useState<boolean | null>(null)
  useEffect(() => { if (entries.length === 0) void mayBeginSample().then(setHasSample) }, [entries.length])
  const isClosed = hasSample === false && token === undefined
  useEffect(() => { document.title = 'Dashboards – ydash' }, [])
  const shown = useMemo(() => {
    const words = text.toLowerCase().split(/\s+/).filter(word => word !== '')
    return entries
      .filter(({ id, title }) => words.every(word => `${title} ${id}`.toLowerCase().includes(word)))
      .sort((a, b) => Number(stars.has(b.id)) - Number(stars.has(a.id)) || (sort === 'title' ? nameOf(a).localeCompare(nameOf(b)) : b.at - a.at))
  }, [entries, stars, text, sort])
  return (
    <div className='app'>
      <header className='bar home-bar'>
        <a className='logo' href='/?home' aria-label='All dashboards'><img src='/icon.svg' alt='' width='30' height='30' /></a>
        <h1 className='home-title'>Dashboards</h1>
        <div className='spacer' />
        {!isClosed && <button type='button' className='button' aria-expanded={isBeginning} onClick={() => { setBeginning(!isBeginning) }}><Plus size={17} aria-hidden='true' /> <span>New</span></button>}
      </header>
      <main className='home'>
        {entries.length === 0 && <FirstMinute isClosed={isClosed} hasSample={hasSample === true} />}
        {isBeginning && !isClosed && <New begin={wanted ?? 'blank'} onClose={() => { setBeginning(false) }} />}
        {entries.length > 0 && (
          <div className='home-tools'>
            <label className='search'><Search size={16} aria-hidden='true' /><input type='search' aria-label='Find a dashboard' placeholder='Find a dashboard' value={text} onChange={event => { setText(event.target.value) }} /></label>
            <div className='segments' role='group' aria-label='Order'>
              <button type='button' aria-pressed={sort === 'at'} onClick={() => { setSort('at') }}><Clock3 size={14} aria-hidden='true' /> Latest</button>
              <button type='button' aria-pressed={sort === 'title'} onClick={() => { setSort('title') }}><ArrowDownAZ size={14} aria-hidden='true' /> Name</button>
            </div>
            <p className='aside'>Opened in this browser</p>
          </div>
        )}
        <ul className='cards'>
          {shown.map(entry => (
            <li key={entry.id} className='card'>
              <a href={pathOf(entry.id)} aria-label={nameOf(entry)}><Preview id={entry.id} /></a>
              <div className='card-foot'>
                <div className='grow'><a className='card-name' href={pathOf(entry.id)} tabIndex={-1}>{nameOf(entry)}</a><p className='aside'>{shorten(entry.id, 60)} · {formatAgo(entry.at)}</p></div>
                <button
                  type='button' className='icon-button small star' aria-pressed={stars.has(entry.id)} aria-label={`${nameOf(entry)} is a favourite`} title='Favourite'
                  onClick={() => { setFavourite(entry.id, !stars.has(entry.id)); setStars(favourites()) }}
                ><Star size={15} aria-hidden='true' /></button>
                <Menu label={`Actions for ${nameOf(entry)}`} className='icon-button small' button={<Ellipsis size={16} aria-hidden='true' />}>
                  {close => (
                    <>
                      <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); void duplicate(entry) }}><Copy size={15} aria-hidden='true' /> Duplicate</button>
                      <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); forget(entry.id); setEntries(opened()) }}><X size={15} aria-hidden='true' /> Take off this list</button>
                    </>
                  )}
                </Menu>
              </div>
            </li>
          ))}
        </ul>
        {entries.length > 0 && shown.length === 0 && <p className='empty-board'>No dashboard here is called that. <a href={pathOf(nameFrom(text))}>Open “{nameFrom(text)}”</a>.</p>}
      </main>
      <Announcements />
    </div>
  )
}

/** What this is, for whoever has opened nothing here yet. */
function FirstMinute({ isClosed, hasSample }: { isClosed: boolean, hasSample: boolean }): ReactNode {
  return (
    <section className='first-minute' aria-labelledby='pitch'>
      <h2 id='pitch'>{PITCH}</h2>
      <p>{PROMISE}</p>
      {isClosed && <p className='banner' data-tone='info'><Lock size={16} aria-hidden='true' /> This server lets in people who have a link. Open one that somebody gave you, or ask whoever runs the server.</p>}
      {hasSample && <p className='aside'>Curious first? <a className='link' href={`${pathOf(SAMPLE)}?new=sample`}>Look around a sample</a> in which two demo people are at work.</p>}
    </section>
  )
}

const nameOf = ({ id, title }: Entry): string => shorten(title || id.split('/').slice(1).join('/'), TITLE_MAX)

/** A name that no dashboard has yet. */
async function freeId(wanted: string): Promise<string> {
  for (let n = 1; n < 100; n++) {
    const id = n === 1 ? wanted : `${wanted}-${n}`
    try {
      await call('GET', `${apiPath(id)}?at=/meta`)
    } catch (error) {
      if (error instanceof CallError && error.code === 'no_dashboard') return id
      if (!(error instanceof CallError && error.code === 'nothing_there')) throw error
    }
  }
  throw new Error('There are too many dashboards of that name.')
}

function told(error: unknown): void {
  announce(reasonOf(error), true)
}

/** The whole document under another name, with what it was made of. */
async function duplicate(entry: Entry): Promise<void> {
  try {
    const id = await freeId(`${entry.id}-copy`)
    const state = await ask(`${apiPath(entry.id)}/state`, {}, tokenOf(entry.id))
    if (!state.ok) throw new Error(`The server answered ${state.status}.`)
    await call('POST', `${apiPath(id)}/updates`, await state.arrayBuffer())
    location.href = `${pathOf(id)}?copied`
  } catch (error) {
    told(error)
  }
}

function New({ begin, onClose }: { begin: string, onClose: () => void }): ReactNode {
  const [title, setTitle] = useState('')
  const [template, setTemplate] = useState(begin)
  const [pasted, setPasted] = useState('')
  const [problem, setProblem] = useState<string | null>(null)
  const create = async (event: FormEvent): Promise<void> => {
    event.preventDefault()
    try {
      const id = await freeId(`default/${nameFrom(title || TEMPLATES.find(({ id }) => id === template)?.name || 'Data')}`)
      let kind = template
      if (template === 'pasted') {
        const json = dashboardOf(pasted)
        if (json !== null) {
          await call('PUT', apiPath(id), json, { 'if-none-match': '*' })
          location.href = pathOf(id)
          return
        }
        if (parseTable(pasted) === null) {
          setProblem('This is neither a dashboard’s JSON nor rows: paste lines with commas, cells of a spreadsheet, or what GET /api/dashboards/… answers.')
          return
        }
        sessionStorage.setItem('ydash:pasted', pasted)
        kind = 'pasted'
      }
      location.href = `${pathOf(id)}?${new URLSearchParams({ new: kind, ...title.trim() !== '' && { title: title.trim() } }).toString()}`
    } catch (error) {
      told(error)
    }
  }
  return (
    <section className='new' aria-labelledby='new-title'>
      <form onSubmit={event => { void create(event) }}>
        <h2 id='new-title'>New dashboard</h2>
        <label className='field'><span>Name</span><input type='text' maxLength={80} autoFocus placeholder='Sales 2026' value={title} onChange={event => { setTitle(event.target.value) }} /></label>
        <fieldset className='templates'>
          <legend>Begin with</legend>
          {CHOICES.map(({ id, name, hint }) => (
            <label key={id} className='template'><input type='radio' name='template' value={id} checked={template === id} onChange={() => { setTemplate(id) }} /><span><b>{name}</b><span className='aside'>{hint}</span></span></label>
          ))}
        </fieldset>
        {template === 'pasted' && <label className='field'><span>Data</span><textarea className='mono' rows={6} spellCheck={false} value={pasted} placeholder={'Month, Revenue\nJan, 12400\nFeb, 15900'} onChange={event => { setPasted(event.target.value); setProblem(null) }} /></label>}
        {problem !== null && <p className='problem' role='alert'>{problem}</p>}
        <div className='row'><button type='submit' className='button'>Create</button><button type='button' className='quiet outlined' onClick={onClose}>Cancel</button></div>
      </form>
    </section>
  )
}

/** JSON of a whole dashboard, if that is what it is. */
function dashboardOf(text: string): string | null {
  try {
    const json: unknown = JSON.parse(text)
    return typeof json === 'object' && json !== null && 'widgets' in json && typeof json.widgets === 'object' ? text : null
  } catch {
    return null
  }
}
