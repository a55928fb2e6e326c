import { Signal } from '../signal.js'

/** The widgets that are selected here. The one that was selected last is what others see. */
export const selection = new Signal<ReadonlySet<string>>(new Set())

export function select(id: string | null, isAdded = false): void {
  const before = selection.get()
  if (id === null) {
    if (before.size > 0) selection.set(new Set())
  } else if (isAdded) {
    const next = new Set(before)
    if (!next.delete(id)) next.add(id)
    selection.set(next)
  } else if (before.size !== 1 || !before.has(id)) selection.set(new Set([id]))
}

export function selectAll(ids: readonly string[]): void {
  selection.set(new Set(ids))
}
