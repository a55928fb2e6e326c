import { type CSSProperties, type ReactNode, useEffect, useMemo, useState, useSyncExternalStore } from 'react'
import { formatBytes, formatTime, formatValue, plural, shorten, TITLE_MAX } from '../shared/format.js'
import { get, inPath, type LogEntry, type RoomInfo, type Seat, usePolled } from './api.js'
import { WatchedDocument } from './document.js'
import { Tree } from './Tree.js'

/** Entries of the log that are shown. */
const ENTRIES_MAX = 200

/** One room: who is in it, what is in it, and what happened last. */
export function Room({ dashboard }: { dashboard: string }): ReactNode {
  const [watched, setWatched] = useState<WatchedDocument | null>(null)
  useEffect(() => {
    const made = new WatchedDocument(dashboard)
    setWatched(made)
    return () => { made.destroy() }
  }, [dashboard])
  return watched === null ? null : <Details key={dashboard} dashboard={dashboard} watched={watched} />
}

function Details({ dashboard, watched }: { dashboard: string, watched: WatchedDocument }): ReactNode {
  const { now, before } = usePolled<RoomInfo & { readonly seats: readonly Seat[] }>(`inspector/rooms/${inPath(dashboard)}`)
  useSyncExternalStore(watched.subscribe, watched.version)
  const room = now?.value
  const rate = (key: 'updates' | 'flushed_bytes'): number => now === null || before === null
    ? 0
    : Math.max((now.value[key] ?? 0) - (before.value[key] ?? 0), 0) / ((now.at - before.at) / 1000)
  const people = useMemo(() => new Map(room?.seats.flatMap(({ session, clients }) => clients.map(client => [client, session] as const))), [room])
  const nameOf = (seat: Seat): { name: string, color: string } => {
    const found = seat.clients.map(client => watched.person(client)).find(person => person !== null)
    return found ?? { name: seat.user ?? (seat.clients.length === 0 ? 'shows nothing of itself' : 'unnamed'), color: '#64748b' }
  }
  return (
    <section className='room' aria-label={dashboard}>
      <header>
        <h2>{shorten(dashboard, TITLE_MAX)}</h2>
        <a className='quiet' href={dashboard.startsWith('default/') ? `/#${encodeURIComponent(dashboard.slice('default/'.length))}` : `/#${encodeURIComponent(dashboard)}`} target='_blank' rel='noopener'>Open it</a>
      </header>
      {room !== undefined && (
        <dl className='facts'>
          <div><dt>Edits</dt><dd>{formatValue(rate('updates'), '/s')}</dd></div>
          <div><dt>Sent</dt><dd>{formatValue(rate('flushed_bytes'), 'B/s')}</dd></div>
          <div><dt>Document</dt><dd>{formatBytes(room.document_bytes ?? 0)}</dd></div>
          <div><dt>In memory</dt><dd>{formatBytes(room.memory_bytes ?? 0)}</dd></div>
          <div><dt>Client ids</dt><dd>{(room.clients ?? 0).toLocaleString('en')}</dd></div>
          <div><dt>Resyncs</dt><dd>{room.resyncs}</dd></div>
          <div data-tone={room.saved === true ? 'good' : 'busy'}><dt>Log</dt><dd>{room.saved === true ? 'saved' : 'saving'}</dd></div>
        </dl>
      )}
      <div className='columns'>
        <div className='panel'>
          <h3>Document</h3>
          <Tree watched={watched} />
        </div>
        <div className='panel'>
          <h3>{plural(room?.members ?? 0, 'member')}</h3>
          <div className='scroller' tabIndex={0} role='region' aria-label='Members'>
            <table>
              <thead><tr><th scope='col'>Who</th><th scope='col'>May</th><th scope='col'>Client ids</th><th scope='col'>Waiting</th></tr></thead>
              <tbody>
                {room?.seats.map(seat => {
                  const { name, color } = nameOf(seat)
                  return (
                    <tr key={seat.session} data-slow={seat.lagging || seat.waiting_bytes > 64 * 1024}>
                      <th scope='row'><span className='dot' style={{ background: color } as CSSProperties} /> {name}</th>
                      <td>{seat.may_edit ? 'edit' : 'read'}</td>
                      <td>{seat.clients.join(', ') || '–'}</td>
                      <td>{seat.lagging ? 'slow, gets one difference' : seat.waiting_frames > 0 ? `${formatBytes(seat.waiting_bytes)} in ${seat.waiting_frames}` : '–'}{seat.held > 0 && `, ${seat.held} held`}</td>
                    </tr>
                  )
                })}
              </tbody>
            </table>
          </div>
          <h3>Log</h3>
          <Log dashboard={dashboard} watched={watched} sessions={people} />
        </div>
      </div>
    </section>
  )
}

function Log({ dashboard, watched, sessions }: { dashboard: string, watched: WatchedDocument, sessions: ReadonlyMap<number, string> }): ReactNode {
  const [entries, setEntries] = useState<readonly LogEntry[]>([])
  useEffect(() => {
    let isOver = false
    let timer: ReturnType<typeof setTimeout>
    let last: string | null = null
    const ask = async (): Promise<void> => {
      const found = document.hidden ? null : await get<LogEntry[]>(`inspector/log/${inPath(dashboard)}${last === null ? '' : `?after=${last}`}`).catch(() => null)
      if (isOver) return
      if (found !== null && found.length > 0) {
        last = found.at(-1)?.position ?? last
        setEntries(before => [...before, ...found].slice(-ENTRIES_MAX))
      }
      timer = setTimeout(() => { void ask() }, 1_000)
    }
    setEntries([])
    void ask()
    return () => {
      isOver = true
      clearTimeout(timer)
    }
  }, [dashboard])
  const who = ({ author, session, spans }: LogEntry): string => {
    const names = spans.map(({ client }) => watched.person(client)?.name).filter(name => name !== undefined)
    if (names.length > 0) return [...new Set(names)].join(', ')
    if (author !== null) return author
    const isHere = spans.some(({ client }) => sessions.has(client))
    return session === null ? '–' : isHere ? 'unnamed' : 'gone'
  }
  return (
    <div className='scroller' tabIndex={0} role='region' aria-label='Log'>
      <table className='log'>
        <thead><tr><th scope='col'>When</th><th scope='col'>Who</th><th scope='col'>By</th><th scope='col'>What</th></tr></thead>
        <tbody>
          {entries.toReversed().map(entry => (
            <tr key={entry.position}>
              <td title={`position ${entry.position}`}>{formatTime(entry.at)}</td>
              <th scope='row'>{who(entry)}</th>
              <td>{entry.source}</td>
              <td>{formatBytes(entry.bytes)}{entry.spans.length > 0 && `, +${entry.spans.reduce((sum, { from, to }) => sum + to - from, 0)}`}{entry.deletes > 0 && `, −${plural(entry.deletes, 'range')}`}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {entries.length === 0 && <p className='empty'>Nothing was written since the last snapshot was trimmed.</p>}
    </div>
  )
}
