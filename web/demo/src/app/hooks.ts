import { type RefObject, useEffect, useLayoutEffect, useRef, useState } from 'react'
import { useDashboard, useFilters, useFollow, usePreferences, useReadable } from '@ydash/client/react'
import { shorten, TITLE_MAX } from '../shared/format.js'
import { useMediaQuery } from '../shared/media.js'
import { SOURCES } from './feed.js'

/** An element's inner size, followed. */
export function useSize<T extends HTMLElement>(): [RefObject<T | null>, { width: number, height: number }] {
  const ref = useRef<T>(null)
  const [size, setSize] = useState({ width: 0, height: 0 })
  useLayoutEffect(() => {
    const element = ref.current
    if (element === null) return
    const observer = new ResizeObserver(([entry]) => {
      if (entry === undefined) return
      const { width, height } = entry.contentRect
      setSize(before => before.width === width && before.height === height ? before : { width, height })
    })
    observer.observe(element)
    setSize({ width: element.clientWidth, height: element.clientHeight })
    return () => { observer.disconnect() }
  }, [])
  return [ref, size]
}

/** Whether an element is on the screen, or nearly. */
export function useIsVisible(ref: RefObject<HTMLElement | null>): boolean {
  const [isVisible, setVisible] = useState(false)
  useEffect(() => {
    const element = ref.current
    if (element === null) return
    const observer = new IntersectionObserver(entries => { setVisible(entries.at(-1)?.isIntersecting ?? false) }, { rootMargin: '160px' })
    observer.observe(element)
    return () => { observer.disconnect() }
  }, [ref])
  return isVisible
}

/** Light or dark, as this user wants it. */
export function useTheme(): 'light' | 'dark' {
  const { values } = usePreferences()
  const prefersDark = useMediaQuery('(prefers-color-scheme: dark)')
  return values.theme === 'light' || values.theme === 'dark' ? values.theme : prefersDark ? 'dark' : 'light'
}

export const WINDOWS = [
  { id: '1m', name: '1 min', seconds: 60 },
  { id: '5m', name: '5 min', seconds: 300 },
  { id: '15m', name: '15 min', seconds: 900 },
  { id: '1h', name: '1 hour', seconds: 3_600 }
] as const

/** What the filters mean here: those of the one who is followed, else this user's own. */
export function useFilterValues(): { seconds: number, window: string, sources: readonly string[] } {
  const { values } = useFilters()
  const { target, view } = useFollow()
  const theirs = target === null ? null : (view as { filters?: Record<string, unknown> } | null)?.filters
  const { dateRange, sources } = (theirs ?? values) as { dateRange?: unknown, sources?: unknown }
  const window = WINDOWS.find(({ id }) => id === dateRange) ?? WINDOWS[1]
  const all = SOURCES.map(({ id }) => id as string)
  const chosen = Array.isArray(sources) ? all.filter(id => sources.includes(id)) : all
  return { seconds: window.seconds, window: window.id, sources: chosen.length === 0 ? all : chosen }
}

/** The dashboard's title, as much of it as anybody reads. */
export function useTitle(): string {
  return useReadable(useDashboard().meta.shared, ({ title }) => typeof title === 'string' ? shorten(title, TITLE_MAX) : '')
}

/** Whether this session may change things. */
export function useMayEdit(): boolean {
  const { access, status } = useDashboard()
  const may = useReadable(access) !== 'read-only'
  return useReadable(status) !== 'refused' && may
}
