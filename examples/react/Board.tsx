import { useAccess, useCursors, useDashboard, usePresence, useWidgets } from '@ydash/client/react'
import { type PointerEvent, useRef } from 'react'
import { useShownProjects } from './Filters.js'
import { Goal } from './Goal.js'
import { first, projectOf } from './options.js'

/** The grid, with everybody's pointer over it. */
export function Board() {
  const dashboard = useDashboard()
  const { setCursor } = usePresence()
  const mayEdit = useAccess() === 'read-write'
  const projects = useShownProjects()
  const ids = useWidgets(all => Object.values(all).filter(widget => projects.length === 0 || projects.includes(projectOf(widget))).map(({ id }) => id))
  const isEmpty = useWidgets(all => Object.keys(all).length === 0)
  const board = useRef<HTMLElement>(null)

  const point = ({ clientX, clientY }: PointerEvent) => {
    const { left, top, width } = (board.current as HTMLElement).getBoundingClientRect()
    // In widths of the board: windows differ.
    setCursor({ x: (clientX - left) / width, y: (clientY - top) / width })
  }
  const add = () => {
    const below = Math.max(0, ...Object.values(dashboard.layout.all.get()).map(({ y, h }) => y + h))
    dashboard.widgets.add({ type: 'goal', title: 'A new goal', options: { project: 'New', percent: 0 } }, { x: 0, y: below, w: 4, h: 2 })
  }
  const begin = () => { dashboard.edit(() => { for (const [widget, box] of first) dashboard.widgets.add(widget, box) }) }

  return (
    <main>
      <section className='board' ref={board} aria-label='Goals' onPointerMove={point} onPointerLeave={() => { setCursor(null) }}>
        {ids.map(id => <Goal key={id} id={id} />)}
        {isEmpty && <div className='empty'><p>No goals yet.</p><button className='primary' disabled={!mayEdit} onClick={begin}>Begin with three</button></div>}
        <Cursors />
      </section>
      {!isEmpty && <p><button disabled={!mayEdit} onClick={add}>Add a goal</button></p>}
    </main>
  )
}

/** Renders with every move, and nothing else does. */
function Cursors() {
  return useCursors().map(({ clientId, user, x, y }) => (
    <span key={clientId} className='cursor' style={{ left: `${x * 100}%`, top: `${y * 100}cqw`, color: user.color }}>
      <svg viewBox='0 0 16 16' width='18'><path d='M1 1l5.5 14 2-6 6-2z' fill='currentColor' stroke='#fff' /></svg>
      <b style={{ background: user.color }}>{user.name}</b>
    </span>
  ))
}
