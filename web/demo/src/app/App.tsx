import { useDashboard, useFollow, useOthers, usePreferences, useReadable, useStatus } from '@ydash/client/react'
import { CloudOff, Eye, TriangleAlert } from 'lucide-react'
import { type CSSProperties, type ReactNode, useCallback, useEffect, useRef, useState } from 'react'
import { Boundary } from '../shared/Boundary.js'
import { shorten, TITLE_MAX } from '../shared/format.js'
import { announce, Announcements } from './announce.js'
import { Board } from './Board.js'
import { Configure } from './Configure.js'
import { feed } from './feed.js'
import { Filters } from './Filters.js'
import { Header } from './Header.js'
import { useMayEdit, useTheme, useTitle } from './hooks.js'
import { seed } from './seed.js'
import { differFrom } from './session.js'

export function App(): ReactNode {
  const dashboard = useDashboard()
  const { target, stop } = useFollow()
  const [configured, setConfigured] = useState<string | null>(null)
  const close = useCallback(() => { setConfigured(null) }, [])
  useShownTheme()
  useShortcuts()
  useSeed()
  useArrivals()
  useOwnColor()
  useWarning()
  const title = useTitle()
  useEffect(() => { document.title = `${title || shorten(dashboard.id, TITLE_MAX)} – ydash` }, [title, dashboard])
  const { values } = usePreferences()
  useEffect(() => { feed.setInterval(values.refreshInterval) }, [values.refreshInterval])

  return (
    <div className='app' data-compact={values.compactMode === true}>
      <Header />
      <Banner />
      <Filters />
      <Board onConfigure={setConfigured} />
      {target !== null && (
        <div className='following' style={{ '--who': target.user.color } as CSSProperties}>
          <p><Eye size={15} aria-hidden='true' /> <span>Following {target.user.name}</span> <button type='button' onClick={stop}>Stop</button></p>
        </div>
      )}
      {configured !== null && <Boundary attempt={configured} fallback={() => null}><Configure id={configured} onClose={close} /></Boundary>}
      <Announcements />
    </div>
  )
}

function Banner(): ReactNode {
  const status = useStatus()
  const { saveState, refusal, saveRefusal, access, isKept: kept } = useDashboard()
  const save = useReadable(saveState)
  const isKept = useReadable(kept)
  const why = useReadable(refusal)
  const limit = useReadable(saveRefusal)
  const isReadOnly = useReadable(access) === 'read-only'
  if (status === 'refused') {
    return <p className='banner' data-tone='bad' role='alert'><TriangleAlert size={16} aria-hidden='true' /> The server does not serve this dashboard: {why?.reason || `code ${why?.code}`}.</p>
  }
  if (status === 'offline') {
    return (
      <p className='banner' data-tone='warn' role='alert'>
        <CloudOff size={16} aria-hidden='true' /> {save === 'saved'
          ? 'No connection. You can go on; what you change is kept here until it is back.'
          : isKept
            ? 'No connection. Your changes are kept in this browser and go out as soon as it is back.'
            : 'No connection. This browser keeps nothing: leave this tab open until your changes have gone out.'}
      </p>
    )
  }
  if (save === 'refused' && !isReadOnly) {
    return <p className='banner' data-tone='bad' role='alert'><TriangleAlert size={16} aria-hidden='true' /> The server did not take your last change{limit === null ? '' : `: ${limit}`}. It is in this browser only.</p>
  }
  if (isReadOnly) return <p className='banner' data-tone='info'><Eye size={16} aria-hidden='true' /> You can look at everything here. Only others can change it.</p>
  return null
}

/** Asks before a tab is closed that has what nobody else has. */
function useWarning(): void {
  const { saveState, isKept } = useDashboard()
  useEffect(() => {
    const leave = (event: Event): void => { if (saveState.get() !== 'saved' && !isKept.get()) event.preventDefault() }
    addEventListener('beforeunload', leave)
    return () => { removeEventListener('beforeunload', leave) }
  }, [saveState, isKept])
}

function useShownTheme(): void {
  const theme = useTheme()
  // Before the charts look up their colours.
  document.documentElement.dataset.theme = theme
}

function useShortcuts(): void {
  const { undo } = useDashboard()
  const mayEdit = useMayEdit()
  useEffect(() => {
    const key = (event: KeyboardEvent): void => {
      if (!mayEdit || event.defaultPrevented || !(event.ctrlKey || event.metaKey)) return
      if (event.target instanceof Element && event.target.closest('input, textarea, select, [contenteditable=true]') !== null) return
      if (event.key.toLowerCase() === 'z') event.shiftKey ? undo.redo() : undo.undo()
      else if (event.key.toLowerCase() === 'y') undo.redo()
      else return
      event.preventDefault()
    }
    addEventListener('keydown', key)
    return () => { removeEventListener('keydown', key) }
  }, [undo, mayEdit])
}

function useSeed(): void {
  const dashboard = useDashboard()
  const status = useStatus()
  useEffect(() => {
    if (status === 'live' && dashboard.access.get() === 'read-write') seed(dashboard)
  }, [dashboard, status])
}

function useOwnColor(): void {
  const { presence } = useDashboard()
  useEffect(() => presence.others.subscribe(() => { differFrom(presence.others.get(), presence.self.get()) }), [presence])
}

/** Says who comes and who goes. */
function useArrivals(): void {
  const status = useStatus()
  const people = useOthers(all => all.map(({ clientId, user }) => `${clientId} ${user.name}`))
  const known = useRef<Map<string, string> | null>(null)
  useEffect(() => {
    const now = new Map(people.map(entry => {
      const at = entry.indexOf(' ')
      return [entry.slice(0, at), entry.slice(at + 1)]
    }))
    const before = known.current
    // Nobody has come who was there before us, and nobody left because we did.
    known.current = status === 'live' ? now : null
    if (before === null || status !== 'live') return
    const came = [...now].filter(([id]) => !before.has(id)).map(([, name]) => name)
    const left = [...before].filter(([id]) => !now.has(id)).map(([, name]) => name)
    if (came.length > 0) announce(came.length > 2 ? `${came.length} people joined` : `${came.join(' and ')} joined`, true)
    if (left.length > 0) announce(left.length > 2 ? `${left.length} people left` : `${left.join(' and ')} left`, true)
  }, [people, status])
}
