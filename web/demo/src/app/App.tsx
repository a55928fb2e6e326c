import { useDashboard, useFollow, useOthers, usePreferences, useReadable, useStatus, useWidgets } from '@ydash/client/react'
import { CloudOff, Eye, TriangleAlert } from 'lucide-react'
import { type CSSProperties, type ReactNode, useCallback, useEffect, useRef, useState } from 'react'
import { Boundary } from '../shared/Boundary.js'
import { shorten, TITLE_MAX } from '../shared/format.js'
import { lazily } from '../shared/lazily.js'
import { announce, Announcements } from './announce.js'
import { Board } from './Board.js'
import { useActs } from './acts.js'
import { useCommentNews } from './comments.js'
import { paletteIsOpen, setTv, toggleFullScreen, tv } from './commands.js'
import { feed } from './feed.js'
import { parseTable } from './data/csv.js'
import { Filters } from './Filters.js'
import { Header } from './Header.js'
import { DELETED, NoAccess } from './NoAccess.js'
import { useMayEdit, useTheme, useTitle } from './hooks.js'
import { PastBanner } from './Past.js'
import { showPanel, useShownPanel } from './panel/shown.js'
import { Questions } from './Question.js'
import { differFrom, isNew, isPast, newTitle } from './session.js'
import { begin } from './templates.js'
import { addTable, copyTextOf, duplicate, paste, remove, selected } from './board/operations.js'
import { select, selectAll } from './board/selection.js'
import { shownIds } from './grid.js'
import { renaming } from './Tile.js'
import { isDemo, Welcome } from './Welcome.js'
import { remember } from './home/dashboards.js'

// What has no part in the first paint.
const WidgetPanel = lazily(() => import('./panel/WidgetPanel.js'))
const CodePanel = lazily(() => import('./panel/CodePanel.js'))
const CommentsPanel = lazily(() => import('./panel/CommentsPanel.js'))
const HistoryPanel = lazily(() => import('./panel/HistoryPanel.js'))
const SharePanel = lazily(() => import('./panel/SharePanel.js'))
const ShortcutsPanel = lazily(() => import('./panel/ShortcutsPanel.js'))
const Palette = lazily(() => import('./CommandPalette.js'), { failed: () => null })

export function App(): ReactNode {
  const dashboard = useDashboard()
  const { target, stop } = useFollow()
  const panel = useShownPanel()
  const close = useCallback(() => { showPanel(null) }, [])
  const isTv = useReadable(tv)
  const isShutOut = useIsShutOut()
  const hasPalette = useReadable(paletteIsOpen)
  useActs()
  useCommentNews()
  useShownTheme()
  useShortcuts()
  useSeed()
  useArrivals()
  useOwnColor()
  useWarning()
  const title = useTitle()
  useEffect(() => {
    document.title = `${title || shorten(dashboard.id, TITLE_MAX)} – ydash`
    if (!isPast) remember(dashboard.id, title)
  }, [title, dashboard])
  const { values } = usePreferences()
  useEffect(() => { feed.setInterval(values.refreshInterval) }, [values.refreshInterval])

  return (
    <div className='app' data-compact={values.compactMode === true} data-tv={isTv} data-panel={panel !== null}>
      <Header />
      {isPast ? <PastBanner /> : <Banner />}
      <Welcome />
      <Filters />
      <div className='stage'>
        {isShutOut ? <NoAccess /> : <Board />}
        {panel !== null && (
          <Boundary attempt={panel} fallback={() => null}>
            {panel.kind === 'widget' && <WidgetPanel key={panel.id} id={panel.id} onClose={close} />}
            {panel.kind === 'comments' && <CommentsPanel key={panel.id} id={panel.id} onClose={close} />}
            {panel.kind === 'code' && <CodePanel onClose={close} />}
            {panel.kind === 'history' && <HistoryPanel onClose={close} />}
            {panel.kind === 'share' && <SharePanel onClose={close} />}
            {panel.kind === 'shortcuts' && <ShortcutsPanel onClose={close} />}
          </Boundary>
        )}
      </div>
      {target !== null && (
        <div className='following' style={{ '--who': target.user.color } as CSSProperties}>
          <p><Eye size={15} aria-hidden='true' /> <span>Following {target.user.name}</span> <button type='button' onClick={stop}>Stop</button></p>
        </div>
      )}
      {hasPalette && <Palette />}
      <Questions />
      <Announcements />
    </div>
  )
}

function Banner(): ReactNode {
  const status = useStatus()
  const { saveState, saveRefusal, access, isKept: kept } = useDashboard()
  const save = useReadable(saveState)
  const isKept = useReadable(kept)
  const limit = useReadable(saveRefusal)
  const isReadOnly = useReadable(access) === 'read-only'
  const isStuck = useIsStuck(save === 'saving' && status === 'live')
  const isShutOut = useIsShutOut()
  if (status === 'refused') {
    if (isShutOut) return null
    const unsaved = save === 'saved' ? '' : ', with changes that the server did not take'
    return (
      <p className='banner' data-tone='bad' role='alert'>
        <TriangleAlert size={16} aria-hidden='true' />{' '}
        You no longer have access to this dashboard. This is what was here before, in this browser only{unsaved}.
      </p>
    )
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
  if (isStuck) return <p className='banner' data-tone='warn' role='alert'><TriangleAlert size={16} aria-hidden='true' /> The server cannot save right now. {isKept ? 'Your changes are kept in this browser meanwhile.' : 'Keep this tab open until it can.'}</p>
  if (isReadOnly) return <p className='banner' data-tone='info'><Eye size={16} aria-hidden='true' /> You can view this dashboard, and not change it.</p>
  return null
}

/** Whether there is nothing to show: the server refuses, and this browser has no copy, or one of what was deleted. */
function useIsShutOut(): boolean {
  const isRefused = useStatus() === 'refused'
  const isEmpty = useWidgets(all => Object.keys(all).length === 0)
  const why = useReadable(useDashboard().refusal)
  return isRefused && (isEmpty || why?.code === DELETED)
}

/** How long saving may take before it is worth a word, in milliseconds. */
const STUCK = 5_000

function useIsStuck(isSaving: boolean): boolean {
  const [isStuck, setStuck] = useState(false)
  useEffect(() => {
    setStuck(false)
    const timer = isSaving ? setTimeout(() => { setStuck(true) }, STUCK) : undefined
    return () => { clearTimeout(timer) }
  }, [isSaving])
  return isStuck
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

const isTyping = (target: EventTarget | null): boolean => target instanceof Element && target.closest('input, textarea, select, [contenteditable=true], dialog') !== null

function useShortcuts(): void {
  const dashboard = useDashboard()
  const mayEdit = useMayEdit()
  useEffect(() => {
    const { undo } = dashboard
    const key = (event: KeyboardEvent): void => {
      if (event.defaultPrevented) return
      const name = event.key.toLowerCase()
      const isCommand = event.ctrlKey || event.metaKey
      if (isCommand && name === 'k') {
        event.preventDefault()
        paletteIsOpen.set(!paletteIsOpen.get())
        return
      }
      if (isTyping(event.target) || event.target instanceof Element && event.target.closest('[role=menu]') !== null) return
      const ids = selected()
      const run = (): boolean => {
        if (isCommand) {
          if (name === 'a') selectAll(shownIds(dashboard.widgets.all.get()))
          else if (!mayEdit) return false
          else if (name === 'z') event.shiftKey ? undo.redo() : undo.undo()
          else if (name === 'y') undo.redo()
          else if (name === 'd' && ids.length > 0) duplicate(dashboard, ids)
          else return false
          return true
        }
        if (event.altKey) return false
        if (event.key === 'Escape') {
          if (tv.get()) setTv(false)
          select(null)
          return false
        }
        if (event.key === '?') showPanel({ kind: 'shortcuts' })
        else if (name === 'c' && ids.length === 1 && ids[0] !== undefined) showPanel({ kind: 'comments', id: ids[0] })
        else if (name === 'f') event.shiftKey ? setTv(!tv.get()) : toggleFullScreen()
        else if ((event.key === 'Delete' || event.key === 'Backspace') && ids.length > 0 && mayEdit) void remove(dashboard, ids)
        else if (event.key === 'F2' && ids[0] !== undefined && mayEdit) renaming.set(ids[0])
        else if (event.key === 'Enter' && ids[0] !== undefined && mayEdit && !(event.target instanceof Element && event.target.closest('button, a, summary') !== null)) showPanel({ kind: 'widget', id: ids[0] })
        else return false
        return true
      }
      if (run()) event.preventDefault()
    }
    const copy = (event: ClipboardEvent): void => {
      const text = isTyping(event.target) || String(getSelection()) !== '' ? null : copyTextOf(dashboard, selected())
      if (text === null) return
      event.preventDefault()
      event.clipboardData?.setData('text/plain', text)
      announce('Copied', true)
    }
    const pasted = (event: ClipboardEvent): void => {
      if (!mayEdit || event.defaultPrevented || isTyping(event.target)) return
      if (paste(dashboard, event.clipboardData?.getData('text/plain') ?? '')) event.preventDefault()
    }
    addEventListener('keydown', key)
    addEventListener('copy', copy)
    addEventListener('paste', pasted)
    return () => {
      removeEventListener('keydown', key)
      removeEventListener('copy', copy)
      removeEventListener('paste', pasted)
    }
  }, [dashboard, mayEdit])
}

/** Fills a dashboard that was asked for as a new one. */
function useSeed(): void {
  const dashboard = useDashboard()
  const status = useStatus()
  useEffect(() => {
    if (isNew === null || status !== 'live' || dashboard.access.get() !== 'read-write') return
    begin(dashboard, isNew, newTitle)
    if (isNew !== 'pasted') return
    const pasted = sessionStorage.getItem('ydash:pasted')
    sessionStorage.removeItem('ydash:pasted')
    const parsed = pasted === null ? null : parseTable(pasted)
    if (parsed !== null) addTable(dashboard, newTitle ?? 'Data', parsed)
  }, [dashboard, status])
}

function useOwnColor(): void {
  const { presence } = useDashboard()
  useEffect(() => presence.others.subscribe(() => { differFrom(presence.others.get(), presence.self.get()) }), [presence])
}

/** Says who comes and who goes. */
function useArrivals(): void {
  const status = useStatus()
  // Of those who are of the page itself, the welcome tells.
  const people = useOthers(all => all.filter(({ user }) => !isDemo(user.name)).map(({ clientId, user }) => `${clientId} ${user.name}`))
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
