import { useAccess, useDashboard, useLayout, useWidget, useWidgetLock } from '@ydash/client/react'
import { type PointerEvent, useRef, useState } from 'react'
import { percentOf, projectOf } from './options.js'

const COLUMNS = 12
const ROW = 96

/** One goal: its title moves it, its slider sets it. Whoever is at it holds its lock. */
export function Goal({ id }: { id: string }) {
  const { layout, undo, widgets } = useDashboard()
  const widget = useWidget(id)
  const box = useLayout(all => all[id]) ?? { x: 0, y: 0, w: 4, h: 2 }
  const { holder, isLocked, acquire, release, takeOver } = useWidgetLock(id)
  const mayEdit = useAccess() === 'read-write' && !isLocked
  const busy = useRef<(() => void) | null>(null)
  const [wasTakenOver, setTakenOver] = useState(false)
  const grip = useRef<{ left: number, top: number } | null>(null)
  if (widget === undefined) return null
  const percent = percentOf(widget)

  // From the press to the release: one lock, one step of undo.
  const begin = (): boolean => {
    if (!mayEdit || !acquire()) return false
    busy.current = undo.begin()
    return true
  }
  const end = () => {
    busy.current?.()
    busy.current = null
    grip.current = null
    if (!wasTakenOver) release()
  }
  const grab = (event: PointerEvent<HTMLElement>) => {
    if (!begin()) return
    event.currentTarget.setPointerCapture(event.pointerId)
    grip.current = { left: event.clientX - box.x * cell(event), top: event.clientY - box.y * ROW }
  }
  const drag = (event: PointerEvent<HTMLElement>) => {
    if (grip.current === null) return
    const x = Math.round((event.clientX - grip.current.left) / cell(event))
    layout.move(id, { x: Math.min(Math.max(x, 0), COLUMNS - box.w), y: Math.max(0, Math.round((event.clientY - grip.current.top) / ROW)) })
  }

  return (
    <article
      className='card goal' aria-label={widget.title} data-locked={isLocked}
      style={{ gridColumn: `${box.x + 1} / span ${box.w}`, gridRow: `${box.y + 1} / span ${box.h}`, outlineColor: holder?.user.color }}
    >
      <header onPointerDown={grab} onPointerMove={drag} onPointerUp={end} onPointerCancel={end}>
        <h2>{widget.title}</h2>
        <small>{projectOf(widget)}</small>
        <button title='Remove' disabled={!mayEdit} onPointerDown={event => { event.stopPropagation() }} onClick={() => { widgets.remove(id) }}>✕</button>
      </header>
      <div className='progress'>
        <svg viewBox='0 0 36 36' aria-hidden><circle r='15.9' cx='18' cy='18' /><circle r='15.9' cx='18' cy='18' pathLength='100' strokeDasharray={`${percent} 100`} /></svg>
        <output>{percent} %</output>
        <input
          type='range' min='0' max='100' value={percent} aria-label='Percent' disabled={!mayEdit}
          onPointerDown={begin} onPointerUp={end} onPointerCancel={end}
          onChange={({ target }) => { widgets.update(id, { options: { percent: target.valueAsNumber } }) }}
        />
      </div>
      {holder !== null && (isLocked || wasTakenOver) && (
        <p className='lock' style={{ background: holder.user.color }}>
          {isLocked ? `${holder.user.name} is at it` : 'Yours until you let it go'}
          <button onClick={() => { isLocked ? takeOver() : release(); setTakenOver(isLocked) }}>{isLocked ? 'Take over' : 'Let go'}</button>
        </p>
      )}
    </article>
  )
}

/** The width of a column. */
const cell = ({ currentTarget }: PointerEvent<HTMLElement>): number =>
  (currentTarget.closest('.board') as HTMLElement).clientWidth / COLUMNS
