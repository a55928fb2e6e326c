import { useDashboard, useStatus } from '@ydash/client/react'
import { ClipboardPaste } from 'lucide-react'
import { type ReactNode, useRef } from 'react'
import { add, addTable } from './board/operations.js'
import { parseTable } from './data/csv.js'
import { useMayEdit } from './hooks.js'
import { begin, TEMPLATES } from './templates.js'
import { KINDS } from './widgets/registry.js'

/** What a board without widgets says: how to begin, to whoever may. */
export function EmptyBoard(): ReactNode {
  const dashboard = useDashboard()
  const mayEdit = useMayEdit()
  const status = useStatus()
  const file = useRef<HTMLInputElement>(null)
  if (status === 'refused') return null
  if (status === 'connecting') return <Skeleton />
  if (!mayEdit) return <p className='empty-board'>This dashboard has no widgets yet.</p>
  const take = (text: string): void => {
    const parsed = parseTable(text)
    if (parsed !== null) addTable(dashboard, 'Data', parsed)
  }
  return (
    <div className='empty-board'>
      <h2>Put something on this board</h2>
      <p>Everyone who has its address sees it at once.</p>
      <ul className='starts'>
        {KINDS.filter(({ type }) => ['number', 'chart', 'table', 'note'].includes(type)).map(kind => (
          <li key={kind.type}><button type='button' className='start' onClick={() => { add(dashboard, kind) }}><kind.icon size={20} aria-hidden='true' /><b>{kind.name}</b><span className='aside'>{kind.hint}</span></button></li>
        ))}
        <li>
          <button type='button' className='start' onClick={() => { file.current?.click() }}><ClipboardPaste size={20} aria-hidden='true' /><b>Your data</b><span className='aside'>Press Ctrl V, or choose a CSV file</span></button>
          <input ref={file} type='file' className='visually-hidden' tabIndex={-1} aria-label='CSV file' accept='.csv,.tsv,.txt,.json,text/csv' onChange={event => { void event.target.files?.[0]?.slice(0, 4 << 20).text().then(take) }} />
        </li>
      </ul>
      <p className='aside'>Or begin with {TEMPLATES.filter(({ id }) => id !== 'blank').map(({ id, name }, n) => <span key={id}>{n > 0 && ', '}<button type='button' className='link' onClick={() => { dashboard.meta.set({ title: undefined, seeded: undefined } as never); begin(dashboard, id) }}>{name}</button></span>)}.</p>
    </div>
  )
}

/** Where widgets will be. */
export function Skeleton(): ReactNode {
  return <div className='skeletons' role='status' aria-label='Loading'>{Array.from({ length: 8 }, (_, n) => <div key={n} className='skeleton-tile' />)}</div>
}
