import type { Dashboard } from '@ydash/client'
import { announce } from './announce.js'
import { add, duplicate, paste, remove, selected, tidy, titleOf, copyTextOf } from './board/operations.js'
import { selectAll } from './board/selection.js'
import { shownIds } from './grid.js'
import { showPanel, shownPanel } from './panel/shown.js'
import { copyText } from './panel/Copied.js'
import { Signal } from './signal.js'
import { KINDS } from './widgets/registry.js'

/** Something that can be done: by a key, from the palette, or from a menu. */
export interface Command {
  readonly id: string
  readonly name: string
  /** As it is shown: `Ctrl D`. */
  readonly keys?: string
  readonly group: string
  readonly run: () => void
}

/** Whether only the widgets are shown: for a screen on a wall. */
export const tv = new Signal(new URLSearchParams(location.search).has('tv'))
export const paletteIsOpen = new Signal(false)

export function setTv(isOn: boolean): void {
  tv.set(isOn)
  showPanel(null)
  const url = new URL(location.href)
  if (isOn) url.searchParams.set('tv', '')
  else url.searchParams.delete('tv')
  history.replaceState(null, '', url.href.replace('tv=', 'tv'))
  if (isOn) void document.documentElement.requestFullscreen?.().catch(() => {})
  else if (document.fullscreenElement !== null) void document.exitFullscreen()
  announce(isOn ? 'TV mode. Escape ends it.' : 'TV mode ended', true)
}

export function toggleFullScreen(): void {
  if (document.fullscreenElement !== null) void document.exitFullscreen()
  else void document.documentElement.requestFullscreen?.().catch(() => { announce('This browser has no full screen', true) })
}

/** Everything that can be done now, widgets to go to included. */
export function commandsOf(dashboard: Dashboard, mayEdit: boolean): Command[] {
  const ids = selected().filter(id => dashboard.widgets.get(id) !== undefined)
  const [first] = ids
  const all: Command[] = []
  if (mayEdit && first !== undefined) {
    const what = ids.length === 1 ? `“${titleOf(dashboard, first)}”` : `${ids.length} widgets`
    if (ids.length === 1) all.push({ id: 'settings', name: `Settings of ${what}`, keys: 'Enter', group: 'Selection', run: () => { showPanel({ kind: 'widget', id: first }) } })
    all.push(
      { id: 'duplicate', name: `Duplicate ${what}`, keys: 'Ctrl D', group: 'Selection', run: () => { duplicate(dashboard, ids) } },
      { id: 'remove', name: `Remove ${what}`, keys: 'Delete', group: 'Selection', run: () => { void remove(dashboard, ids) } }
    )
  }
  if (first !== undefined && ids.length === 1) all.push({ id: 'comments', name: `Comments on “${titleOf(dashboard, first)}”`, keys: 'C', group: 'Selection', run: () => { showPanel({ kind: 'comments', id: first }) } })
  if (first !== undefined) all.push({ id: 'copy', name: 'Copy the selection', keys: 'Ctrl C', group: 'Selection', run: () => { void copyText(copyTextOf(dashboard, ids) ?? '', 'widgets') } })
  if (mayEdit) {
    for (const kind of KINDS) all.push({ id: `add-${kind.type}`, name: `Add ${/^[aeiou]/i.test(kind.name) ? 'an' : 'a'} ${kind.name.toLowerCase()}`, group: 'Add', run: () => { add(dashboard, kind) } })
    all.push(
      { id: 'undo', name: 'Undo', keys: 'Ctrl Z', group: 'Dashboard', run: () => { dashboard.undo.undo() } },
      { id: 'redo', name: 'Redo', keys: 'Ctrl Shift Z', group: 'Dashboard', run: () => { dashboard.undo.redo() } },
      { id: 'tidy', name: 'Tidy up: close the gaps', group: 'Dashboard', run: () => { tidy(dashboard) } },
      { id: 'paste', name: 'Paste widgets or data', keys: 'Ctrl V', group: 'Dashboard', run: () => { void navigator.clipboard?.readText().then(text => { paste(dashboard, text) }, () => { announce('Press Ctrl V', true) }) } }
    )
  }
  all.push(
    { id: 'all', name: 'Select all widgets', keys: 'Ctrl A', group: 'Dashboard', run: () => { selectAll(shownIds(dashboard.widgets.all.get())) } },
    { id: 'code', name: 'Your code: use this dashboard from a program', group: 'Dashboard', run: () => { showPanel({ kind: 'code' }) } },
    { id: 'share', name: 'Share: people, roles and links', group: 'Dashboard', run: () => { showPanel({ kind: 'share' }) } },
    { id: 'history', name: 'Version history: see it as it was', group: 'Dashboard', run: () => { showPanel({ kind: 'history' }) } },
    { id: 'link', name: 'Copy the link', group: 'Dashboard', run: () => { void copyText(location.href, 'link') } },
    { id: 'home', name: 'All dashboards', group: 'Go', run: () => { location.href = '/?home' } },
    { id: 'full', name: 'Full screen', keys: 'F', group: 'View', run: toggleFullScreen },
    { id: 'tv', name: tv.get() ? 'End TV mode' : 'TV mode', keys: 'Shift F', group: 'View', run: () => { setTv(!tv.get()) } },
    { id: 'shortcuts', name: 'Keyboard shortcuts', keys: '?', group: 'View', run: () => { showPanel(shownPanel()?.kind === 'shortcuts' ? null : { kind: 'shortcuts' }) } }
  )
  for (const id of shownIds(dashboard.widgets.all.get()).slice(0, 200)) {
    all.push({ id: `go-${id}`, name: `Go to ${titleOf(dashboard, id)}`, group: 'Go', run: () => {
      selectAll([id])
      document.querySelector(`[data-widget="${CSS.escape(id)}"]`)?.scrollIntoView({ block: 'center', behavior: 'smooth' })
    } })
  }
  return all
}
