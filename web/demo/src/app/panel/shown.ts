import { useMemo, useSyncExternalStore } from 'react'

/** What stands beside the board. */
export type Shown =
  | { readonly kind: 'widget' | 'comments', readonly id: string }
  | { readonly kind: 'code' | 'history' | 'share' | 'shortcuts' }

let shown: Shown | null = null
const listeners = new Set<() => void>()

export function showPanel(next: Shown | null): void {
  shown = next
  for (const listener of [...listeners]) listener()
}

export function shownPanel(): Shown | null {
  return shown
}

export function useShownPanel(): Shown | null {
  return useSyncExternalStore(listener => {
    listeners.add(listener)
    return () => { listeners.delete(listener) }
  }, () => shown)
}

/** Opens and closes the panel beside the board. */
export function usePanel(): { readonly open: (widget: string) => void, readonly close: () => void } {
  return useMemo(() => ({ open: id => { showPanel({ kind: 'widget', id }) }, close: () => { showPanel(null) } }), [])
}
