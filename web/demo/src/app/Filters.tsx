import { useFilters, useFollow, useWidgets } from '@ydash/client/react'
import { Lock, RotateCcw, Share2 } from 'lucide-react'
import type { ReactNode } from 'react'
import type { Widget } from '@ydash/client'
import { act } from './acts.js'
import { announce } from './announce.js'
import { sourceOf } from './data/source.js'
import { SOURCES } from './feed.js'
import { useFilterValues, useMayEdit, WINDOWS } from './hooks.js'

/** Which filters mean something here. */
const livesOf = (widgets: Readonly<Record<string, Widget>>): { time: boolean, sources: boolean } => {
  const kinds = Object.values(widgets).map(widget => ({ kind: sourceOf(widget), options: widget.options }))
  return {
    time: kinds.some(({ kind }) => kind === 'push' || kind === 'server' || kind === 'prometheus'),
    sources: kinds.some(({ kind, options }) => kind === 'server' && options.metric === 'updates' && (options.split === true || options.by === 'source'))
  }
}

/** What all live widgets show: only here at first, and then perhaps for everyone. */
export function Filters(): ReactNode {
  const { private: own, setPrivate, promote, reset } = useFilters()
  const { window, sources } = useFilterValues()
  const { target } = useFollow()
  const mayEdit = useMayEdit()
  const lives = useWidgets(livesOf)
  const isPrivate = Object.keys(own).length > 0
  const isFollowing = target !== null
  if (!lives.time) return null
  const toggle = (id: string): void => {
    const next = sources.includes(id) ? sources.filter(one => one !== id) : [...sources, id]
    if (next.length > 0) setPrivate({ sources: SOURCES.map(({ id }) => id as string).filter(id => next.includes(id)) })
  }
  return (
    <section className='filters' aria-label='Filters'>
      <div className='segments' role='group' aria-label='Time shown'>
        {WINDOWS.map(({ id, name }) => (
          <button key={id} type='button' aria-pressed={window === id} disabled={isFollowing} onClick={() => { setPrivate({ dateRange: id }) }}>{name}</button>
        ))}
      </div>
      {lives.sources && (
        <div className='chips' role='group' aria-label='Sources of edits'>
          {SOURCES.map(({ id, name }) => (
            <button key={id} type='button' aria-pressed={sources.includes(id)} disabled={isFollowing} onClick={() => { toggle(id) }}>{name}</button>
          ))}
        </div>
      )}
      {isPrivate && (
        <div className='scope'>
          <span className='badge'><Lock size={12} aria-hidden='true' /> Only you see this</span>
          {mayEdit && (
            <button
              type='button' className='quiet'
              onClick={() => {
                promote()
                act('range', [window])
                announce('Everyone sees this time range', true)
              }}
            ><Share2 size={14} aria-hidden='true' /> Share with everyone</button>
          )}
          <button type='button' className='quiet' onClick={() => { reset() }}><RotateCcw size={14} aria-hidden='true' /> Reset</button>
        </div>
      )}
    </section>
  )
}
