import { useReadable } from '@ydash/client/react'
import { ArrowDownAZ, ClipboardPaste, Clock3, Code, Lock, Plus, RotateCw, Search, Sparkles, Star, Trash2 } from 'lucide-react'
import { type ReactNode, useDeferredValue, useEffect, useMemo, useState } from 'react'
import { nameFrom, pathOf } from '../../shared/address.js'
import { shorten } from '../../shared/format.js'
import { useMediaQuery } from '../../shared/media.js'
import { token } from '../../shared/token.js'
import { Announcements } from '../announce.js'
import { Questions } from '../Question.js'
import { mayBeginSample, SAMPLE } from '../session.js'
import { PITCH, PROMISE } from '../Welcome.js'
import { nameOf } from './actions.js'
import { Card } from './Card.js'
import { favourites, setFavourite, workspacesSeen } from './dashboards.js'
import { Dashboards, type Entry } from './listing.js'
import { CHOICES, New } from './New.js'
import { Trash } from './Trash.js'

/** What a link to here wants to begin with. */
const begin = new URLSearchParams(location.search).get('begin')
const wanted = CHOICES.some(({ id }) => id === begin) ? begin : null

type Sort = 'at' | 'title'
type Part = 'all' | 'favourites' | 'trash'

/** Where one begins: the dashboards one may open, and new ones. */
export default function Home(): ReactNode {
  const [dashboards] = useState(() => new Dashboards())
  const { entries, isLoaded, isPartial, problem } = useReadable(dashboards)
  const [stars, setStars] = useState(favourites)
  const [text, setText] = useState('')
  const [sort, setSort] = useState<Sort>('at')
  const [part, setPart] = useState<Part>('all')
  const [workspace, setWorkspace] = useState('')
  const [beginning, setBeginning] = useState<string | null>(wanted)
  const prefersDark = useMediaQuery('(prefers-color-scheme: dark)')
  document.documentElement.dataset.theme = prefersDark ? 'dark' : 'light'
  useEffect(() => { document.title = 'Dashboards – ydash' }, [])
  useEffect(() => dashboards.watch(), [dashboards])
  const query = useDeferredValue(text.trim())
  useEffect(() => {
    const timer = setTimeout(() => { dashboards.search(query) }, 250)
    return () => { clearTimeout(timer) }
  }, [dashboards, query])

  const isNewcomer = entries.every(({ openedAt }) => openedAt === 0)
  const [hasSample, setHasSample] = useState<boolean | null>(null)
  useEffect(() => { if (isNewcomer) void mayBeginSample().then(setHasSample) }, [isNewcomer])
  // Nothing can be opened or begun here by whoever shows nothing.
  const isClosed = isNewcomer && hasSample === false && token === undefined && entries.length === 0

  const workspaces = useMemo(() => [...new Set(entries.map(workspaceOf))].sort(), [entries])
  const shown = useMemo(() => {
    const words = query.toLowerCase().split(/\s+/).filter(word => word !== '')
    return entries
      .filter(entry => (workspace === '' || workspaceOf(entry) === workspace) && (part !== 'favourites' || stars.has(entry.id)))
      .filter(({ id, title, by }) => words.every(word => `${title} ${id} ${by ?? ''}`.toLowerCase().includes(word)))
      .sort((a, b) => Number(stars.has(b.id)) - Number(stars.has(a.id)) || (sort === 'title' ? nameOf(a).localeCompare(nameOf(b)) : Math.max(b.at, b.openedAt) - Math.max(a.at, a.openedAt)))
  }, [entries, stars, query, sort, part, workspace])
  const isEmpty = isLoaded && entries.length === 0
  const isBeginning = !isClosed && (beginning !== null || isEmpty && problem === null && part !== 'trash')

  return (
    <div className='app'>
      <header className='bar home-bar'>
        <a className='logo' href='/?home' aria-label='All dashboards'><img src='/icon.svg' alt='' width='30' height='30' /></a>
        <h1 className='home-title'>Dashboards</h1>
        <div className='spacer' />
        {!isClosed && <button type='button' className='button' aria-expanded={isBeginning} onClick={() => { setBeginning(beginning === null ? 'blank' : null) }}><Plus size={17} aria-hidden='true' /> <span>New</span></button>}
      </header>
      <main className='home'>
        {isNewcomer && isLoaded && <FirstMinute isClosed={isClosed} hasSample={hasSample === true} onBegin={isBeginning ? null : setBeginning} />}
        {isBeginning && <New begin={beginning ?? 'blank'} workspaces={workspaces} workspace={workspace} onClose={isEmpty ? null : () => { setBeginning(null) }} />}
        {problem !== null && !isClosed && (
          <p className='banner home-problem' data-tone='warn' role='alert'>
            {problem} {entries.length > 0 && 'These are the dashboards that were opened in this browser.'}{' '}
            <button type='button' className='link' onClick={() => { void dashboards.refresh() }}>
              <RotateCw size={13} aria-hidden='true' /> Try again
            </button>
          </p>
        )}
        {isLoaded && !isClosed && (
          <div className='home-tools'>
            {!isEmpty && <label className='search'><Search size={16} aria-hidden='true' />
              <input type='search' aria-label='Find a dashboard' placeholder='Find a dashboard' value={text} onChange={event => { setText(event.target.value) }} />
            </label>}
            <div className='segments' role='group' aria-label='Which'>
              <button type='button' aria-pressed={part === 'all'} onClick={() => { setPart('all') }}>All</button>
              <button type='button' aria-pressed={part === 'favourites'} onClick={() => { setPart('favourites') }}><Star size={14} aria-hidden='true' /> Favourites</button>
              <button type='button' aria-pressed={part === 'trash'} onClick={() => { setPart('trash') }}><Trash2 size={14} aria-hidden='true' /> Trash</button>
            </div>
            <div className='spacer' />
            {workspaces.length > 1 && (
              <select className='workspace' aria-label='Workspace' value={workspace} onChange={event => { setWorkspace(event.target.value) }}>
                <option value=''>All workspaces</option>
                {workspaces.map(name => <option key={name} value={name}>{shorten(name, 40)}</option>)}
              </select>
            )}
            {!isEmpty && <div className='segments' role='group' aria-label='Order'>
              <button type='button' aria-pressed={sort === 'at'} onClick={() => { setSort('at') }}><Clock3 size={14} aria-hidden='true' /> Latest</button>
              <button type='button' aria-pressed={sort === 'title'} onClick={() => { setSort('title') }}><ArrowDownAZ size={14} aria-hidden='true' /> Name</button>
            </div>}
          </div>
        )}
        {part === 'trash'
          ? <Trash workspaces={workspace === '' ? workspacesSeen() : [workspace]} query={query} onRestored={() => { void dashboards.refresh() }} />
          : (
            <>
              {!isLoaded && entries.length === 0 && <div className='cards' role='status' aria-label='Loading'>{Array.from({ length: 4 }, (_, n) => <div key={n} className='card skeleton-card' />)}</div>}
              <ul className='cards' aria-label='Dashboards'>
                {shown.map(entry => (
                  <Card
                    key={entry.id} entry={entry} isFavourite={stars.has(entry.id)} refresh={() => { void dashboards.refresh() }}
                    onFavourite={isOne => { setFavourite(entry.id, isOne); setStars(favourites()) }}
                  />
                ))}
              </ul>
              {entries.length > 0 && shown.length === 0 && (
                <div className='empty-board'>
                  {query !== ''
                    ? <p>No dashboard here is called that. <a href={pathOf(nameFrom(text))}>Open “{nameFrom(text)}”</a>.</p>
                    : <p>{part === 'favourites' ? 'Nothing is a favourite yet: click the star of a dashboard.' : 'Nothing is here.'}</p>}
                </div>
              )}
              {isPartial && query === '' && <p className='aside'>These are the first {entries.length.toLocaleString('en')}. Search to find the others.</p>}
            </>
            )}
      </main>
      <Questions />
      <Announcements />
    </div>
  )
}

const workspaceOf = ({ id }: Entry): string => id.slice(0, id.indexOf('/'))

/** What this is, for whoever has opened nothing here yet. */
function FirstMinute({ isClosed, hasSample, onBegin }: { isClosed: boolean, hasSample: boolean, onBegin: ((choice: string) => void) | null }): ReactNode {
  return (
    <section className='first-minute' aria-labelledby='pitch'>
      <h2 id='pitch'>{PITCH}</h2>
      <p>{PROMISE}</p>
      {isClosed && <p className='banner' data-tone='info'><Lock size={16} aria-hidden='true' /> This server lets in people who have a link. Open one that somebody gave you, or ask whoever runs the server.</p>}
      {!isClosed && (
        <div className='row'>
          {onBegin !== null && <button type='button' className='button' onClick={() => { onBegin('blank') }}><Plus size={16} aria-hidden='true' /> <span>Blank board</span></button>}
          {onBegin !== null && <button type='button' className='quiet outlined' onClick={() => { onBegin('pasted') }}><ClipboardPaste size={14} aria-hidden='true' /> Paste your data</button>}
          {hasSample && <a className='quiet outlined' href={`${pathOf(SAMPLE)}?new=sample`}><Sparkles size={14} aria-hidden='true' /> Look around a sample</a>}
          <a className='quiet outlined' href='/api/docs'><Code size={14} aria-hidden='true' /> REST interface</a>
        </div>
      )}
    </section>
  )
}
