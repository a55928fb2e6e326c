import { useFilters, useFollow } from '@ydash/client/react'
import { Lock, RotateCcw, Share2, Users } from 'lucide-react'
import { type ReactNode, useState } from 'react'
import { announce } from './announce.js'
import { SOURCES } from './feed.js'
import { useFilterValues, useMayEdit, WINDOWS } from './hooks.js'

/** What all widgets show: for everybody, or only here, and then perhaps for everybody after all. */
export function Filters(): ReactNode {
  const { private: own, set, setPrivate, promote, reset } = useFilters()
  const { window, sources } = useFilterValues()
  const { target } = useFollow()
  const mayEdit = useMayEdit()
  const isPrivate = Object.keys(own).length > 0
  const [wantsPrivate, setWantsPrivate] = useState(false)
  const goesPrivate = !mayEdit || wantsPrivate || isPrivate
  const isFollowing = target !== null
  const change = (patch: Record<string, string | string[]>): void => {
    if (goesPrivate) setPrivate(patch)
    else set(patch)
  }
  const toggle = (id: string): void => {
    const next = sources.includes(id) ? sources.filter(one => one !== id) : [...sources, id]
    if (next.length > 0) change({ sources: SOURCES.map(({ id }) => id as string).filter(id => next.includes(id)) })
  }
  return (
    <section className='filters' aria-label='Filters'>
      <div className='segments' role='group' aria-label='Time shown'>
        {WINDOWS.map(({ id, name }) => (
          <button key={id} type='button' aria-pressed={window === id} disabled={isFollowing} onClick={() => { change({ dateRange: id }) }}>{name}</button>
        ))}
      </div>
      <div className='chips' role='group' aria-label='Sources of edits'>
        {SOURCES.map(({ id, name }) => (
          <button key={id} type='button' aria-pressed={sources.includes(id)} disabled={isFollowing} onClick={() => { toggle(id) }}>{name}</button>
        ))}
      </div>
      <div className='scope'>
        {isPrivate
          ? (
            <>
              <span className='badge'><Lock size={12} aria-hidden='true' /> Only you see this</span>
              {mayEdit && <button type='button' className='quiet' onClick={() => { promote(); setWantsPrivate(false); announce('Your filters are everybody’s') }}><Share2 size={14} aria-hidden='true' /> Share with everyone</button>}
              <button type='button' className='quiet' onClick={() => { reset(); setWantsPrivate(false) }}><RotateCcw size={14} aria-hidden='true' /> Reset</button>
            </>
            )
          : mayEdit && (
            <button type='button' className='quiet' aria-pressed={wantsPrivate} onClick={() => { setWantsPrivate(!wantsPrivate) }} title='Whether a change of the filters is for everybody'>
              {wantsPrivate ? <><Lock size={14} aria-hidden='true' /> Only for me</> : <><Users size={14} aria-hidden='true' /> For everyone</>}
            </button>
            )}
      </div>
    </section>
  )
}
