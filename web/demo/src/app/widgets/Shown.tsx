import type { Widget } from '@ydash/client'
import { Clock3, ShieldQuestion } from 'lucide-react'
import type { ReactNode } from 'react'
import { formatTime } from '../../shared/format.js'
import { allow } from '../data/consent.js'
import { type Data, sourceOf, useData } from '../data/source.js'
import { useMayEdit } from '../hooks.js'
import { usePanel } from '../panel/shown.js'

/** A widget's data, drawn by `children` where there is some; else what is missing, and who can do something about it. */
export function Shown({ widget, isVisible, children }: { widget: Widget, isVisible: boolean, children: (data: Data) => ReactNode }): ReactNode {
  const data = useData(widget, isVisible)
  const { asks, frame, problem, staleSince } = data
  if (asks !== null) return <Ask origin={asks} what='load data from' />
  if (frame.length === 0) return problem === null ? <NoData widget={widget} isLoading={data.source !== 'table' && data.source !== 'inline' && data.source !== 'push'} /> : <p className='empty' data-tone='bad'>{problem}</p>
  return (
    <>
      {children(data)}
      {(staleSince !== null || problem !== null) && (
        <p className='stale' title={problem ?? undefined}><Clock3 size={12} aria-hidden='true' /> {staleSince === null ? problem : `Stale since ${formatTime(staleSince)}`}</p>
      )}
    </>
  )
}

/** Nothing leaves this browser before its user has said so. */
export function Ask({ origin, what }: { origin: string, what: string }): ReactNode {
  return (
    <div className='ask'>
      <ShieldQuestion size={20} aria-hidden='true' />
      <p>This widget wants to {what} <b>{new URL(origin).host}</b>, which will see your IP address.</p>
      <button type='button' className='quiet outlined' data-action onClick={() => { allow(origin) }}>Allow</button>
    </div>
  )
}

const HINTS: Partial<Record<ReturnType<typeof sourceOf>, string>> = {
  push: 'Waiting for the first value.', url: 'Loading…', prometheus: 'Loading…', server: 'Measuring…', formula: 'No formula yet.'
}

function NoData({ widget, isLoading }: { widget: Widget, isLoading: boolean }): ReactNode {
  const { open } = usePanel()
  const mayEdit = useMayEdit()
  const source = sourceOf(widget)
  if (source === 'server' || isLoading && (widget.options.url ?? widget.options.formula)) return <p className='empty skeleton' aria-label='Loading'>{HINTS[source] ?? 'Loading…'}</p>
  return (
    <div className='no-data'>
      <p>{HINTS[source] ?? 'No data yet.'}</p>
      {mayEdit && <button type='button' className='quiet outlined' data-action onClick={() => { open(widget.id) }}>{source === 'push' ? 'Show the command' : 'Add data'}</button>}
    </div>
  )
}
