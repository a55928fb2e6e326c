import './inspector.css'
import { type ReactNode, StrictMode, useEffect, useState, useSyncExternalStore } from 'react'
import { createRoot } from 'react-dom/client'
import { feed } from '../app/feed.js'
import { Spark } from '../app/widgets/Spark.js'
import { Boundary, BrokenPage } from '../shared/Boundary.js'
import { formatBytes, formatValue, shorten, TITLE_MAX } from '../shared/format.js'
import { useMediaQuery } from '../shared/media.js'
import { type NodeInfo, type NodeStatus, type RoomInfo, usePolled } from './api.js'
import { Room } from './Room.js'

/** Samples that a figure's line shows: the last minute. */
const SHOWN = 60
/** Nodes speak once a second: this is late, in milliseconds. */
const SILENT = 2_000

const FIGURES = [
  { id: 'sessions', name: 'Sessions', unit: '', color: 'emerald' },
  { id: 'rooms', name: 'Rooms', unit: '', color: 'emerald' },
  { id: 'updates', name: 'Edits', unit: '/s', color: 'indigo' },
  { id: 'deliveries', name: 'Deliveries', unit: '/s', color: 'indigo' },
  { id: 'awareness', name: 'Cursor moves', unit: '/s', color: 'rose' },
  { id: 'append.p99', name: 'To disk, p99', unit: 's', color: 'amber' },
  { id: 'flush.p99', name: 'To peers, p99', unit: 's', color: 'amber' },
  { id: 'roomBytes', name: 'Rooms hold', unit: 'B', color: 'sky' },
  { id: 'outboxBytes', name: 'Waits for slow', unit: 'B', color: 'violet' }
] as const

function Inspector(): ReactNode {
  const isDark = useMediaQuery('(prefers-color-scheme: dark)')
  document.documentElement.dataset.theme = isDark ? 'dark' : 'light'
  const [chosen, choose] = useHash()
  const { now: node, failure } = usePolled<NodeInfo>('inspector/node')
  const samples = useSyncExternalStore(feed.subscribe, () => feed.samples)
  const latest = samples.at(-1)
  return (
    <div className='inspector'>
      <header className='top'>
        <img src='/icon.svg' alt='' width='28' height='28' />
        <h1>Inspector</h1>
        {node !== null && (
          <p className='aside'>
            ydash {node.value.version} · up {duration(node.value.uptime_seconds)}
            {node.value.draining && <b> · draining</b>}
          </p>
        )}
      </header>
      <main>
        {failure !== null && <p className='failure' role='alert'>{failure}</p>}
        <dl className='figures'>
          {FIGURES.map(({ id, name, unit, color }) => (
            <div key={id}>
              <dt>{name}</dt>
              <dd>{formatValue(latest?.values[id] ?? null, unit)}<Spark times={samples.slice(-SHOWN).map(({ at }) => at)} values={samples.slice(-SHOWN).map(({ values }) => values[id] ?? null)} seconds={null} color={`var(--${color})`} /></dd>
            </div>
          ))}
        </dl>
        <div className='columns overview'>
          <Rooms chosen={chosen} onChoose={choose} />
          <Company node={node?.value ?? null} values={latest?.values ?? {}} />
        </div>
        {chosen !== '' && (
          <Boundary attempt={chosen} fallback={() => <p className='failure' role='alert'>This dashboard cannot be shown. Its room goes on.</p>}>
            <Room dashboard={chosen} />
          </Boundary>
        )}
      </main>
    </div>
  )
}

/** The store, and the nodes that serve the same dashboards. */
function Company({ node, values }: { node: NodeInfo | null, values: Readonly<Record<string, number | null>> }): ReactNode {
  const { now } = usePolled<{ readonly nodes: readonly NodeStatus[] }>('nodes')
  const nodes = now?.value.nodes ?? []
  const isUp = values.storeUp == null ? null : values.storeUp > 0
  return (
    <section className='panel' aria-label='Store and nodes'>
      <header><h2>Store</h2></header>
      <dl className='facts'>
        <div><dt>Kept in</dt><dd>{node?.store ?? '–'}</dd></div>
        <div data-tone={isUp === false ? 'bad' : 'good'}><dt>State</dt><dd>{isUp === null ? '–' : isUp ? 'takes edits' : 'away: nothing is called saved'}</dd></div>
        <div><dt>Failed appends</dt><dd>{formatValue(values.appendsFailed ?? null, '')}</dd></div>
        <div><dt>Losses put back</dt><dd>{formatValue(values.storeLosses ?? null, '')}</dd></div>
      </dl>
      <header><h2>{nodes.length === 1 ? '1 node' : `${nodes.length} nodes`}</h2></header>
      <div className='scroller' tabIndex={0} role='region' aria-label='List of nodes'>
        <table>
          <thead><tr><th scope='col'>Node</th><th scope='col'>Rooms</th><th scope='col'>Sessions</th><th scope='col'>Up</th><th scope='col'>Heard</th></tr></thead>
          <tbody>
            {nodes.map(({ id, self, name, version, rooms, sessions, started, silent_ms: silent }) => (
              <tr key={id} data-slow={silent > SILENT}>
                <th scope='row' title={`${id}, ydash ${version ?? 'of unknown version'}`}>{name ?? id}{self && <span className='aside'> this one</span>}</th>
                <td>{rooms ?? '–'}</td>
                <td>{sessions ?? '–'}</td>
                <td>{started === undefined ? '–' : duration(Math.max(0, Math.round((Date.now() - started) / 1000)))}</td>
                <td>{silent > SILENT ? `${(silent / 1000).toFixed(1)} s ago` : 'now'}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  )
}

interface Rooms {
  readonly total: number
  readonly rooms: readonly RoomInfo[]
}

function Rooms({ chosen, onChoose }: { chosen: string, onChoose: (dashboard: string) => void }): ReactNode {
  const [part, setPart] = useState('')
  const { now, before } = usePolled<Rooms>(`inspector/rooms?q=${encodeURIComponent(part)}`)
  const earlier = new Map(before?.value.rooms.map(room => [room.dashboard, room]))
  const rate = (room: RoomInfo, key: 'updates' | 'flushed_bytes'): number => {
    const known = earlier.get(room.dashboard)?.[key]
    return now === null || before === null || known === undefined ? 0 : Math.max((room[key] ?? 0) - known, 0) / ((now.at - before.at) / 1000)
  }
  return (
    <section className='panel rooms' aria-label='Rooms'>
      <header>
        <h2>{now === null ? 'Rooms' : now.value.total === 1 ? '1 room' : `${now.value.total.toLocaleString('en')} rooms`}</h2>
        <input type='search' aria-label='Rooms whose names contain' placeholder='Find a room' value={part} onChange={event => { setPart(event.target.value) }} />
      </header>
      <div className='scroller' tabIndex={0} role='region' aria-label='List of rooms'>
        <table>
          <thead><tr><th scope='col'>Dashboard</th><th scope='col'>Members</th><th scope='col'>Edits</th><th scope='col'>Sent</th><th scope='col'>Document</th><th scope='col'>Slow</th><th scope='col'>Log</th></tr></thead>
          <tbody>
            {now?.value.rooms.map(room => (
              <tr key={room.dashboard} data-chosen={room.dashboard === chosen} data-slow={(room.lagging ?? 0) > 0}>
                <th scope='row'><button type='button' className='link' aria-current={room.dashboard === chosen} onClick={() => { onChoose(room.dashboard) }}>{room.dashboard}</button></th>
                <td>{room.members ?? '…'}</td>
                <td>{formatValue(rate(room, 'updates'), '/s')}</td>
                <td>{formatValue(rate(room, 'flushed_bytes'), 'B/s')}</td>
                <td>{formatBytes(room.document_bytes ?? 0)}</td>
                <td>{(room.lagging ?? 0) > 0 ? room.lagging : (room.waiting_bytes ?? 0) > 0 ? formatBytes(room.waiting_bytes ?? 0) : '–'}</td>
                <td>{room.saved === undefined ? 'busy' : room.saved ? 'saved' : 'saving'}</td>
              </tr>
            ))}
          </tbody>
        </table>
        {now !== null && now.value.rooms.length === 0 && <p className='empty'>{part === '' ? 'No dashboard is open.' : 'None of the open dashboards is called so.'}</p>}
      </div>
      {now !== null && now.value.total > now.value.rooms.length && <p className='aside'>The first {now.value.rooms.length} are shown: narrow it down.</p>}
    </section>
  )
}

/** The dashboard that the address names. */
function useHash(): [string, (dashboard: string) => void] {
  const hash = useSyncExternalStore(listener => {
    addEventListener('hashchange', listener)
    return () => { removeEventListener('hashchange', listener) }
  }, () => location.hash)
  useEffect(() => { document.title = `${shorten(decode(hash), TITLE_MAX) || 'Inspector'} – ydash` }, [hash])
  return [decode(hash), dashboard => { location.hash = encodeURIComponent(dashboard) }]
}

function decode(hash: string): string {
  try {
    return decodeURIComponent(hash.slice(1))
  } catch {
    return hash.slice(1)
  }
}

function duration(seconds: number): string {
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7_200) return `${Math.floor(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}

createRoot(document.getElementById('root') as HTMLElement).render(
  <StrictMode>
    <Boundary fallback={error => <BrokenPage error={error} />}><Inspector /></Boundary>
  </StrictMode>
)
