import { type CSSProperties, Fragment, type ReactNode, useEffect, useRef, useState, useSyncExternalStore } from 'react'
import { formatBytes, formatTime, formatValue, plural, shorten, TITLE_MAX } from '../shared/format.js'
import { inPath, type LogEntry, type RoomInfo, type Seat, usePolled } from './api.js'
import { type Person, UNKNOWN_COLOR, WatchedDocument } from './document.js'
import { LogTail } from './log.js'
import { Tree } from './Tree.js'

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
  const personOf = ({ clients }: Seat): Person | undefined => clients.map(client => watched.person(client)).find(person => person !== null) ?? undefined
  // It shows nothing of itself. Where it is the only one, that is how it is told from the members.
  const silent = watched.isMember && room !== undefined ? room.seats.filter(({ clients }) => clients.length === 0) : []
  const own = silent.length === 1 ? silent[0] : undefined
  const seats = room?.seats.toSorted((a, b) => Number(a === own) - Number(b === own)) ?? []
  const nameOf = (seat: Seat): Person =>
    personOf(seat) ?? { name: seat === own ? 'this inspector' : seat.user ?? 'shows nothing of itself', color: UNKNOWN_COLOR }
  /** Whose a log entry is: its session's if that is still here, else what it says itself. */
  const authorOf = ({ author, session, spans }: LogEntry): Person => {
    const seat = seats.find(seat => seat.session === session)
    const found = seat && personOf(seat)
    if (found !== undefined) return found
    const people = spans.map(({ client }) => watched.person(client)).filter(person => person !== null)
    const names = new Set(people.map(({ name }) => name))
    const name = [...names].join(', ') || (author ?? seat?.user ?? (session === null ? '–' : seat === undefined ? 'gone' : 'unnamed'))
    return { name, color: people[0]?.color ?? UNKNOWN_COLOR }
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
          <h3>{plural((room?.members ?? 0) - Number(own !== undefined), 'member')}{own !== undefined && ' and this inspector'}</h3>
          <div className='scroller' tabIndex={0} role='region' aria-label='Members'>
            <table>
              <thead><tr><th scope='col'>Who</th><th scope='col'>May</th><th scope='col'>Client ids</th><th scope='col'>Waiting</th></tr></thead>
              <tbody>
                {seats.map(seat => {
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
          <Log dashboard={dashboard} watched={watched} authorOf={authorOf} />
        </div>
      </div>
    </section>
  )
}

function Log({ dashboard, watched, authorOf }: { dashboard: string, watched: WatchedDocument, authorOf: (entry: LogEntry) => Person }): ReactNode {
  const [shown, setShown] = useState<Pick<LogTail, 'entries' | 'gaps'>>({ entries: [], gaps: new Set() })
  const latest = useRef(authorOf)
  latest.current = authorOf
  useEffect(() => {
    const tail = new LogTail(dashboard, (added, isFirst) => {
      setShown({ entries: tail.entries, gaps: new Set(tail.gaps) })
      const deletions = added.filter(({ spans, deletes }) => spans.length === 0 && deletes > 0)
      if (!isFirst) watched.sign(deletions.map(entry => latest.current(entry)))
    }, () => watched.isUnsigned)
    watched.onUnsigned = () => { tail.hurry() }
    return () => {
      watched.onUnsigned = () => {}
      tail.destroy()
    }
  }, [dashboard, watched])
  const { entries, gaps } = shown
  return (
    <div className='scroller' tabIndex={0} role='region' aria-label='Log'>
      <table className='log'>
        <thead><tr><th scope='col'>When</th><th scope='col'>Who</th><th scope='col'>By</th><th scope='col'>What</th></tr></thead>
        <tbody>
          {entries.toReversed().map(entry => (
            <Fragment key={entry.position}>
              <tr>
                <td title={`position ${entry.position}`}>{formatTime(entry.at)}</td>
                <th scope='row'>{authorOf(entry).name}</th>
                <td>{entry.source}</td>
                <td>{formatBytes(entry.bytes)}{entry.spans.length > 0 && `, +${entry.spans.reduce((sum, { from, to }) => sum + to - from, 0)}`}{entry.deletes > 0 && `, −${plural(entry.deletes, 'range')}`}</td>
              </tr>
              {gaps.has(entry.position) && <tr><td colSpan={4}>More was written here than can be shown.</td></tr>}
            </Fragment>
          ))}
        </tbody>
      </table>
      {entries.length === 0 && <p className='empty'>Nothing was written since the last snapshot was trimmed.</p>}
    </div>
  )
}
