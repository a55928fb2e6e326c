import type { Json } from '@ydash/client'
import { useFilters, useFollow, usePresence, useWidgets } from '@ydash/client/react'
import { useEffect } from 'react'
import { projectOf } from './options.js'

/** Which projects are shown: everybody's choice, one's own over it, or that of whom one follows. */
export function useShownProjects(): readonly string[] {
  const { values } = useFilters()
  const { target, view } = useFollow()
  return target === null ? values.projects ?? [] : asNames(view)
}

const asNames = (view: Json): readonly string[] => Array.isArray(view) ? view.filter(name => typeof name === 'string') : []

/** One's own filter; "Show everybody" makes it the shared one. */
export function Filters() {
  const projects = useWidgets(all => [...new Set(Object.values(all).map(projectOf))].sort())
  const filters = useFilters()
  const { target } = useFollow()
  const { setView } = usePresence()
  const shown = useShownProjects()
  const isPrivate = filters.private.projects !== undefined

  // What those see who follow this tab.
  useEffect(() => { setView(shown) }, [setView, shown])

  const toggle = (project: string) => {
    filters.setPrivate({ projects: shown.includes(project) ? shown.filter(one => one !== project) : [...shown, project] })
  }
  if (projects.length === 0) return null
  return (
    <div className='filters' role='group' aria-label='Projects'>
      {projects.map(project => (
        <button key={project} disabled={target !== null} aria-pressed={shown.includes(project)} onClick={() => { toggle(project) }}>{project}</button>
      ))}
      {target !== null && <span className='hint'>You see what {target.user.name} sees.</span>}
      {target === null && isPrivate && <>
        <span className='hint'>Only you see this choice.</span>
        <button onClick={() => { filters.promote('projects') }}>Show everybody</button>
        <button onClick={() => { filters.reset('projects') }}>Forget it</button>
      </>}
    </div>
  )
}
