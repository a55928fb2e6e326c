import { useDashboard } from '@ydash/client/react'
import { History } from 'lucide-react'
import { type FormEvent, type ReactNode, useState } from 'react'
import { idAt, pastOf, pathOf } from '../../shared/address.js'
import { Panel } from './SidePanel.js'

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
      <ul className='times' aria-label='Earlier versions'>
        {past !== null && <li><a href={pathOf(present)}>Now</a></li>}
        {TIMES.map(({ version, name }) => <li key={version}><a href={pathOf(idAt(present, version))} aria-current={past?.version === version ? 'page' : undefined}>{name}</a></li>)}
      </ul>
      <form onSubmit={go}>
        <label className='field'><span>At</span><input type='datetime-local' value={time} max={localTime(new Date())} onChange={event => { setTime(event.target.value) }} required /></label>
        <button type='submit' className='quiet outlined'>Show this time</button>
      </form>
    </Panel>
  )
}

/** As fields for dates have it: the time here, to the minute. */
function localTime(at: Date): string {
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
}
