import { useDashboard } from '@ydash/client/react'
import { Bookmark, History, Pencil, Trash2 } from 'lucide-react'
import { type FormEvent, type ReactNode, useCallback, useEffect, useState } from 'react'
import { idAt, pastOf, pathOf } from '../../shared/address.js'
import { shorten } from '../../shared/format.js'
import { apiPath, call, CallError, reasonOf } from '../../shared/rest.js'
import { announce } from '../announce.js'
import { useMayEdit } from '../hooks.js'
import { ask } from '../Question.js'
import { Panel, Section } from './SidePanel.js'

/** A version that the server keeps with its content. */
interface Version {
  readonly id: string
  readonly at: string
  readonly name: string
  readonly note: string
  readonly by: string | null
  readonly why: string
}

/** What a version is called that nobody has named: what it was kept before. */
const BEFORE: Readonly<Record<string, string>> = {
  'before-edit': 'Before a large removal',
  'before-reset': 'Before a reset',
  'before-import': 'Before an import'
}

/** Bytes that a name may have. */
const NAME_MAX = 200

/** Times that people look back to, and how the server knows them. */
const TIMES: readonly { readonly version: string, readonly name: string }[] = [
  { version: '-5m', name: '5 minutes ago' },
  { version: '-30m', name: '30 minutes ago' },
  { version: '-2h', name: '2 hours ago' },
  { version: '-8h', name: '8 hours ago' },
  { version: '-1d', name: 'Yesterday at this time' },
  { version: '-3d', name: '3 days ago' },
  { version: '-6d', name: '6 days ago' }
]

const nameOf = ({ name, why }: Version): string => name === '' ? BEFORE[why] ?? 'Kept by the server' : shorten(name, 60)

/** The way to what a dashboard was. */
export default function HistoryPanel({ onClose }: { onClose: () => void }): ReactNode {
  const { id } = useDashboard()
  const past = pastOf(id)
  const present = past?.id ?? id
  const [time, setTime] = useState(() => localTime(new Date(Date.now() - 3_600_000)))
  const go = (event: FormEvent): void => {
    event.preventDefault()
    const at = new Date(time)
    if (Number.isFinite(at.getTime())) location.href = pathOf(idAt(present, at.toISOString().replace(/\.\d+Z$/, 'Z')))
  }
  return (
    <Panel title='Version history' subject='history' onClose={onClose} icon={<History size={17} aria-hidden='true' />}>
      <p className='aside'>The dashboard as it was at any time that the server still keeps: seven days, unless it is set otherwise. Looking back changes nothing.</p>
      <Named present={present} shown={past?.version} />
      <Section title='By time'>
        <ul className='times' aria-label='Earlier versions'>
          {past !== null && <li><a href={pathOf(present)}>Now</a></li>}
          {TIMES.map(({ version, name }) => <li key={version}><a href={pathOf(idAt(present, version))} aria-current={past?.version === version ? 'page' : undefined}>{name}</a></li>)}
        </ul>
        <form onSubmit={go}>
          <label className='field'><span>At</span><input type='datetime-local' value={time} max={localTime(new Date())} onChange={event => { setTime(event.target.value) }} required /></label>
          <button type='submit' className='quiet outlined'>Show this time</button>
        </form>
      </Section>
    </Panel>
  )
}

/** The versions that are kept, and who may edit names what is shown now. */
function Named({ present, shown }: { present: string, shown: string | undefined }): ReactNode {
  // Above a version nobody edits, so nothing is named there.
  const mayName = useMayEdit() && shown === undefined
  const [versions, setVersions] = useState<readonly Version[] | 'loading' | { readonly problem: string }>('loading')
  const [name, setName] = useState('')
  const [renaming, setRenaming] = useState<string | null>(null)
  const [isBusy, setBusy] = useState(false)
  const path = `${apiPath(present)}/versions`

  const load = useCallback(async (): Promise<void> => {
    try {
      setVersions((await call<{ readonly versions: readonly Version[] }>('GET', path)).json.versions)
    } catch (error) {
      const isForOthers = error instanceof CallError && [401, 403].includes(error.status)
      setVersions({ problem: isForOthers ? 'Versions are for people who may edit this dashboard.' : reasonOf(error) })
    }
  }, [path])
  useEffect(() => { void load() }, [load])

  /** Does something, says what came of it, and shows what there is then. */
  const run = async (done: string, change: () => Promise<unknown>): Promise<boolean> => {
    setBusy(true)
    try {
      await change()
      announce(done, true)
      return true
    } catch (error) {
      announce(reasonOf(error), true)
      return false
    } finally {
      setBusy(false)
      await load()
    }
  }
  const keep = async (event: FormEvent): Promise<void> => {
    event.preventDefault()
    if (name.trim() !== '' && await run('This version is kept', () => call('POST', path, { name: name.trim() }))) setName('')
  }
  const rename = async (event: FormEvent<HTMLFormElement>, id: string): Promise<void> => {
    event.preventDefault()
    const next = new FormData(event.currentTarget).get('name')
    if (typeof next !== 'string' || next.trim() === '') return
    if (await run('Renamed', () => call('PATCH', `${path}/${id}`, { name: next.trim() }))) setRenaming(null)
  }
  const remove = async (version: Version): Promise<void> => {
    if (!await ask({ question: `Remove the version “${nameOf(version)}”?`, explanation: 'It cannot be taken back.', yes: 'Remove it' })) return
    await run('Removed', () => call('DELETE', `${path}/${version.id}`))
  }

  return (
    <Section title='Kept versions'>
      {mayName && (
        <form onSubmit={event => { void keep(event) }}>
          <label className='field'><span>Name what is shown now</span><input type='text' value={name} maxLength={NAME_MAX / 4} placeholder='Before the board meeting' onChange={event => { setName(event.target.value) }} required /></label>
          <button type='submit' className='quiet outlined' disabled={isBusy}><Bookmark size={14} aria-hidden='true' /> Keep this version</button>
        </form>
      )}
      {versions === 'loading' && <p className='aside' role='status'>Looking up what is kept…</p>}
      {typeof versions === 'object' && 'problem' in versions && <p className='problem' role='alert'>{versions.problem} <button type='button' className='link' onClick={() => { void load() }}>Try again</button></p>}
      {Array.isArray(versions) && versions.length === 0 && <p className='aside'>None yet. A version that is kept stays until somebody removes it.</p>}
      {Array.isArray(versions) && versions.length > 0 && (
        <ul className='times kept' aria-label='Kept versions'>
          {(versions as readonly Version[]).map(version => (
            <li key={version.id}>
              {renaming === version.id
                ? <form className='row' onSubmit={event => { void rename(event, version.id) }}>
                    <input type='text' name='name' aria-label='Name of the version' defaultValue={version.name} maxLength={NAME_MAX / 4} autoFocus required onKeyDown={event => { if (event.key === 'Escape') { event.stopPropagation(); setRenaming(null) } }} />
                    <button type='submit' className='quiet outlined' disabled={isBusy}>Rename</button>
                  </form>
                : <>
                    <a href={pathOf(idAt(present, version.id))} aria-current={shown === version.id ? 'page' : undefined}>
                      {nameOf(version)}
                      <small>{dateOf(version.at)}{version.by === null ? '' : `, ${shorten(version.by, 40)}`}</small>
                    </a>
                    {mayName && <button type='button' className='icon-button' aria-label={`Rename ${nameOf(version)}`} title='Rename' onClick={() => { setRenaming(version.id) }}><Pencil size={15} aria-hidden='true' /></button>}
                    {mayName && <button type='button' className='icon-button' aria-label={`Remove ${nameOf(version)}`} title='Remove' disabled={isBusy} onClick={() => { void remove(version) }}><Trash2 size={15} aria-hidden='true' /></button>}
                  </>}
            </li>
          ))}
        </ul>
      )}
    </Section>
  )
}

function dateOf(at: string): string {
  return new Date(at).toLocaleString('en', { dateStyle: 'medium', timeStyle: 'short' })
}

/** As fields for dates have it: the time here, to the minute. */
function localTime(at: Date): string {
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
}
