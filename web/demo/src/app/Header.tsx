import { COLORS } from '@ydash/client'
import { useDashboard, useFollow, useOthers, usePreferences, usePresence, useReadable, useSaveState, useStatus, useUndo } from '@ydash/client/react'
import {
  Check, CloudOff, CloudUpload, Code, Command, Ellipsis, ExternalLink, Eye, History as HistoryIcon, Keyboard, LayoutGrid, Link2, LoaderCircle,
  Maximize, Moon, Plus, Redo2, Share2, Sparkles, Sun, SunMoon, TriangleAlert, Tv, Undo2, Unplug
} from 'lucide-react'
import { type CSSProperties, type ReactNode, useState } from 'react'
import { shorten, TITLE_MAX } from '../shared/format.js'
import { add, tidy } from './board/operations.js'
import { paletteIsOpen, setTv, toggleFullScreen } from './commands.js'
import { useMayEdit, useTitle } from './hooks.js'
import { Menu } from './Menu.js'
import { copyText } from './panel/Copied.js'
import { showPanel, shownPanel, useShownPanel } from './panel/shown.js'
import { fill } from './templates.js'
import { introduce, isPast } from './session.js'
import { KINDS } from './widgets/registry.js'

/** Faces that have a place of their own; the others are in the list. */
const FACES = 5

export function Header(): ReactNode {
  const isRefused = useStatus() === 'refused'
  return (
    <header className='bar'>
      <a className='logo' href='/?home' aria-label='All dashboards' title='All dashboards'><img src='/icon.svg' alt='' width='30' height='30' /></a>
      <Title />
      <SaveState />
      <div className='spacer' />
      <People />
      {!isRefused && !isPast && <><History /><Share /></>}
      <Add />
      <More />
    </header>
  )
}

function Title(): ReactNode {
  const dashboard = useDashboard()
  const mayEdit = useMayEdit()
  const title = useTitle()
  const isRefused = useStatus() === 'refused'
  const [draft, setDraft] = useState<string | null>(null)
  const save = (): void => {
    if (draft !== null && draft.trim() !== '') dashboard.meta.set({ title: draft.trim() })
    setDraft(null)
  }
  return (
    <div className='title'>
      <h1 className='visually-hidden'>{title || shorten(dashboard.id, TITLE_MAX)}</h1>
      <span className='title-size' aria-hidden='true'>{draft ?? (title || (isRefused ? '' : 'Untitled'))}</span>
      <input
        aria-label='Title of the dashboard' value={draft ?? title} readOnly={!mayEdit} placeholder={isRefused ? '' : 'Untitled'} maxLength={80} spellCheck={false}
        onChange={event => { setDraft(event.target.value) }} onBlur={save}
        onKeyDown={event => {
          if (event.key === 'Enter') event.currentTarget.blur()
          if (event.key === 'Escape') setDraft(null)
        }}
      />
      <p>{shorten(dashboard.id, TITLE_MAX)}</p>
    </div>
  )
}

const SAVE_STATES = {
  saved: { icon: Check, text: 'All changes saved', tone: 'good' },
  saving: { icon: CloudUpload, text: 'Saving…', tone: 'busy' },
  'offline-changes': { icon: CloudOff, text: 'Kept in this browser', tone: 'warn' },
  refused: { icon: TriangleAlert, text: 'Not accepted by the server', tone: 'bad' }
} as const

function SaveState(): ReactNode {
  const status = useStatus()
  const save = useSaveState()
  const dashboard = useDashboard()
  const access = useReadable(dashboard.access)
  const isKept = useReadable(dashboard.isKept)
  const { icon: Icon, text, tone } = status === 'connecting' ? { icon: LoaderCircle, text: 'Connecting…', tone: 'busy' }
    : status === 'offline' && save === 'saved' ? { icon: CloudOff, text: 'Offline', tone: 'warn' }
    : status === 'refused' ? { icon: TriangleAlert, text: 'No access', tone: 'bad' }
    : access === 'read-only' && save === 'saved' ? { icon: Eye, text: 'View only', tone: 'view' }
    : save === 'offline-changes' && !isKept ? { icon: CloudOff, text: 'Only in this tab', tone: 'bad' }
    : SAVE_STATES[save]
  return (
    <p className='save-state' data-tone={tone} data-status={status} data-save={save} role='status' title={text}>
      <Icon size={15} aria-hidden='true' /> <span>{text}</span>
    </p>
  )
}

function initials(name: string): string {
  return name.split(/\s+/).filter(word => !word.startsWith('(')).slice(0, 2).map(word => [...word][0] ?? '').join('').toUpperCase()
}

function People(): ReactNode {
  // As texts, so that a list of the same people is the same list.
  const others = useOthers(all => all.map(({ clientId, user }) => `${clientId} ${user.name} ${user.color}`))
  const people = others.map(entry => {
    const [clientId, ...rest] = entry.split(' ')
    return { clientId: Number(clientId), name: rest.slice(0, -1).join(' '), color: rest.at(-1) ?? '' }
  })
  const { target, followers, follow, stop } = useFollow()
  const { self, setUser } = usePresence()
  const toggle = (clientId: number): void => {
    if (target?.clientId === clientId) stop()
    else follow(clientId)
  }
  return (
    <div className='people'>
      <ul className='faces' aria-label='People here'>
        {people.slice(0, FACES).map(({ clientId, name, color }) => (
          <li key={clientId}>
            <button
              type='button' className='face' style={{ '--who': color } as CSSProperties} data-followed={target?.clientId === clientId}
              aria-pressed={target?.clientId === clientId} aria-label={`Follow ${name}`} title={`Follow ${name}`}
              data-initials={initials(name)} onClick={() => { toggle(clientId) }}
            />
          </li>
        ))}
      </ul>
      <Menu
        kind='panel' label={people.length === 0 ? 'You, alone here' : `You and ${people.length} more`} className='face self-face'
        button={<><span className='face-fill' style={{ '--who': self.user.color } as CSSProperties} data-initials={initials(self.user.name)} />{people.length > FACES && <span className='more-people' data-count={people.length - FACES} />}</>}
      >
        {close => (
          <>
            <label className='field'>
              <span>Your name</span>
              <input
                defaultValue={self.user.name} maxLength={32} autoComplete='off' spellCheck={false}
                onChange={event => { if (event.target.value.trim() !== '') introduce({ name: event.target.value.trim() }) }}
                onKeyDown={event => { if (event.key === 'Enter') close() }}
              />
            </label>
            <fieldset className='colors'>
              <legend>Your colour</legend>
              {COLORS.map((color, n) => (
                <label key={color} style={{ '--who': color } as CSSProperties}>
                  <input
                    type='radio' name='color' aria-label={`Colour ${n + 1}`} checked={self.user.color === color}
                    onChange={() => { introduce({ color }); setUser({ color }) }}
                  />
                </label>
              ))}
            </fieldset>
            {people.length > 0 && <h2 className='menu-title'>Also here</h2>}
            <ul className='list'>
              {people.map(({ clientId, name, color }) => (
                <li key={clientId}>
                  <span className='dot' style={{ background: color }} /> <span className='grow'>{name}</span>
                  {followers.some(one => one.clientId === clientId) && <span className='aside'>follows you</span>}
                  <button type='button' className='quiet' onClick={() => { toggle(clientId); close() }}>{target?.clientId === clientId ? 'Stop following' : 'Follow'}</button>
                </li>
              ))}
            </ul>
          </>
        )}
      </Menu>
    </div>
  )
}

function History(): ReactNode {
  const { canUndo, canRedo, undo, redo } = useUndo()
  const mayEdit = useMayEdit()
  return (
    <div className='group'>
      <button type='button' className='icon-button' aria-label='Undo' title='Undo your last change (Ctrl Z)' disabled={!canUndo || !mayEdit} onClick={undo}><Undo2 size={18} aria-hidden='true' /></button>
      <button type='button' className='icon-button redo' aria-label='Redo' title='Redo (Ctrl Shift Z)' disabled={!canRedo || !mayEdit} onClick={redo}><Redo2 size={18} aria-hidden='true' /></button>
    </div>
  )
}

function Share(): ReactNode {
  return (
    <button type='button' className='quiet outlined share' aria-label='Share' title='Share' aria-expanded={useShownPanel()?.kind === 'share'} onClick={() => { showPanel(shownPanel()?.kind === 'share' ? null : { kind: 'share' }) }}>
      <Share2 size={16} aria-hidden='true' /> <span>Share</span>
    </button>
  )
}

function Add(): ReactNode {
  const dashboard = useDashboard()
  const mayEdit = useMayEdit()
  if (!mayEdit) return null
  return (
    <Menu label='Add a widget' className='button' button={<><Plus size={17} aria-hidden='true' /> <span>Add</span></>}>
      {close => (
        <div className='kinds'>
          {KINDS.map(kind => (
            <button key={kind.type} type='button' role='menuitem' tabIndex={-1} aria-label={kind.name} onClick={() => { close(); add(dashboard, kind) }}>
              <kind.icon size={18} aria-hidden='true' /> <span><b>{kind.name}</b><span className='aside'>{kind.hint}</span></span>
            </button>
          ))}
        </div>
      )}
    </Menu>
  )
}

const THEMES = [{ id: 'system', name: 'System theme', icon: SunMoon }, { id: 'light', name: 'Light', icon: Sun }, { id: 'dark', name: 'Dark', icon: Moon }] as const

/** The inspector answers to browsers on the server's own machine. */
const isLocal = /^(localhost|127\.|\[::1\])/.test(location.hostname)
/** For who tries how much a page takes. */
const isLab = new URLSearchParams(location.search).has('lab')

function More(): ReactNode {
  const dashboard = useDashboard()
  const mayEdit = useMayEdit()
  const status = useStatus()
  const { values, setPrivate } = usePreferences()
  return (
    <Menu label='More' button={<Ellipsis size={18} aria-hidden='true' />}>
      {close => (
        <>
          <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); paletteIsOpen.set(true) }}><Command size={16} aria-hidden='true' /> <span className='grow'>Commands</span> <kbd>Ctrl K</kbd></button>
          <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); showPanel({ kind: 'code' }) }}><Code size={16} aria-hidden='true' /> Your code</button>
          <button type='button' role='menuitem' tabIndex={-1} className='share-item' onClick={() => { close(); showPanel({ kind: 'share' }) }}><Share2 size={16} aria-hidden='true' /> Share</button>
          <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); showPanel({ kind: 'history' }) }}><HistoryIcon size={16} aria-hidden='true' /> Version history</button>
          <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); void copyText(location.href, 'link') }}><Link2 size={16} aria-hidden='true' /> Copy the link</button>
          <a role='menuitem' tabIndex={-1} href={location.href} target='_blank' rel='noopener' onClick={close}><ExternalLink size={16} aria-hidden='true' /> Open in a second tab</a>
          <hr />
          {mayEdit && <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); tidy(dashboard) }}><Sparkles size={16} aria-hidden='true' /> Tidy up</button>}
          <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); toggleFullScreen() }}><Maximize size={16} aria-hidden='true' /> <span className='grow'>Full screen</span> <kbd>F</kbd></button>
          <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); setTv(true) }}><Tv size={16} aria-hidden='true' /> <span className='grow'>TV mode</span> <kbd>Shift F</kbd></button>
          <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); showPanel({ kind: 'shortcuts' }) }}><Keyboard size={16} aria-hidden='true' /> <span className='grow'>Keyboard shortcuts</span> <kbd>?</kbd></button>
          <hr />
          <button
            type='button' role='menuitem' tabIndex={-1}
            onClick={() => { close(); if (status === 'offline') dashboard.connect(); else dashboard.disconnect() }}
          ><Unplug size={16} aria-hidden='true' /> {status === 'offline' ? 'Go online' : 'Work offline'}</button>
          {isLocal && <a role='menuitem' tabIndex={-1} href={`/inspector#${encodeURIComponent(dashboard.id)}`} target='_blank' rel='noopener' onClick={close}><Eye size={16} aria-hidden='true' /> Inspect this dashboard</a>}
          {mayEdit && isLab && (
            <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); fill(dashboard, 200) }}>
              <LayoutGrid size={16} aria-hidden='true' /> Add 200 widgets
            </button>
          )}
          <hr />
          {THEMES.map(({ id, name, icon: Icon }) => (
            <button
              key={id} type='button' role='menuitemradio' tabIndex={-1} aria-checked={(values.theme ?? 'system') === id}
              onClick={() => { setPrivate({ theme: id === 'system' ? undefined : id }); close() }}
            ><Icon size={16} aria-hidden='true' /> {name}</button>
          ))}
        </>
      )}
    </Menu>
  )
}
