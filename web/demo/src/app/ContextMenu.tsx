import { useDashboard, useReadable } from '@ydash/client/react'
import { ClipboardPaste, Copy, CopyPlus, Link2, type LucideIcon, Maximize2, MessageSquare, Pencil, Plus, Settings2, Sparkles, Trash2 } from 'lucide-react'
import { type ReactNode, useEffect, useLayoutEffect, useRef } from 'react'
import { add, copyTextOf, duplicate, paste, remove, resize, tidy } from './board/operations.js'
import { select, selection } from './board/selection.js'
import { COLUMNS } from './grid.js'
import { useMayEdit } from './hooks.js'
import { copyText } from './panel/Copied.js'
import { showPanel } from './panel/shown.js'
import { renaming } from './Tile.js'
import { Signal } from './signal.js'
import { KINDS } from './widgets/registry.js'

/** Where a menu was asked for, and about which widget. */
const asked = new Signal<{ readonly x: number, readonly y: number, readonly id: string | null, readonly opener: Element | null } | null>(null)

export function openContextMenu(x: number, y: number, id: string | null): void {
  if (id !== null && !selection.get().has(id)) select(id)
  asked.set({ x, y, id, opener: document.activeElement })
}

export function ContextMenu(): ReactNode {
  const at = useReadable(asked)
  return at !== null && <Open key={`${at.x} ${at.y}`} {...at} />
}

interface Item {
  readonly name: string
  readonly icon: LucideIcon
  readonly keys?: string
  readonly run: () => void
}

function Open({ x, y, id, opener }: { x: number, y: number, id: string | null, opener: Element | null }): ReactNode {
  const dashboard = useDashboard()
  const mayEdit = useMayEdit()
  const menu = useRef<HTMLDivElement>(null)
  const close = (): void => { asked.set(null) }

  useLayoutEffect(() => {
    const element = menu.current
    if (element === null) return
    const { width, height } = element.getBoundingClientRect()
    element.style.transform = `translate(${Math.max(Math.min(x, innerWidth - width - 8), 8)}px, ${Math.max(Math.min(y, innerHeight - height - 8), 8)}px)`
    element.querySelector<HTMLElement>('[role=menuitem]')?.focus()
  }, [x, y])
  useEffect(() => {
    const outside = (event: Event): void => { if (!menu.current?.contains(event.target as Node)) close() }
    document.addEventListener('pointerdown', outside, true)
    addEventListener('scroll', close, { passive: true })
    addEventListener('blur', close)
    return () => {
      document.removeEventListener('pointerdown', outside, true)
      removeEventListener('scroll', close)
      removeEventListener('blur', close)
    }
  }, [])

  const ids = [...selection.get()]
  const items: (Item | null)[] = id === null
    ? [
        ...mayEdit
          ? [
              ...KINDS.slice(0, 4).map((kind): Item => ({ name: `Add ${kind.name.toLowerCase()}`, icon: Plus, run: () => { add(dashboard, kind) } })),
              { name: 'Paste', icon: ClipboardPaste, keys: 'Ctrl V', run: () => { void navigator.clipboard?.readText().then(text => { paste(dashboard, text) }, () => {}) } },
              { name: 'Tidy up', icon: Sparkles, run: () => { tidy(dashboard) } },
              null
            ]
          : [],
        { name: 'Copy the link', icon: Link2, run: () => { void copyText(location.href, 'link') } }
      ]
    : [
        ...mayEdit && ids.length === 1
          ? [
              { name: 'Settings', icon: Settings2, keys: 'Enter', run: () => { showPanel({ kind: 'widget', id }) } },
              { name: 'Rename', icon: Pencil, keys: 'F2', run: () => { renaming.set(id) } }
            ]
          : [],
        ...ids.length === 1 ? [{ name: 'Comments', icon: MessageSquare, keys: 'C', run: () => { showPanel({ kind: 'comments', id }) } }] : [],
        { name: 'Copy', icon: Copy, keys: 'Ctrl C', run: () => { void copyText(copyTextOf(dashboard, ids) ?? '', ids.length === 1 ? 'widget' : 'widgets') } },
        ...mayEdit
          ? [
              { name: 'Duplicate', icon: CopyPlus, keys: 'Ctrl D', run: () => { duplicate(dashboard, ids) } },
              ...ids.length === 1 ? [{ name: 'Full width', icon: Maximize2, run: () => { resize(dashboard, id, COLUMNS, dashboard.layout.get(id)?.h ?? 5) } }] : [],
              null,
              { name: ids.length === 1 ? 'Remove' : `Remove ${ids.length} widgets`, icon: Trash2, keys: 'Delete', run: () => { void remove(dashboard, ids) } }
            ]
          : []
      ]
  return (
    <div
      ref={menu} className='menu context-menu' role='menu' aria-label={id === null ? 'Board' : 'Widget'} onContextMenu={event => { event.preventDefault() }}
      onKeyDown={event => {
        event.stopPropagation()
        const all = [...menu.current?.querySelectorAll<HTMLElement>('[role=menuitem]') ?? []]
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
        if (step !== undefined) all[(all.indexOf(document.activeElement as HTMLElement) + step + all.length) % all.length]?.focus()
        else if (event.key === 'Escape' || event.key === 'Tab') {
          close()
          if (opener instanceof HTMLElement) opener.focus()
        } else return
        event.preventDefault()
      }}
    >
      {items.map((item, n) => item === null
        ? <hr key={n} />
        : (
          <button key={item.name} type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); item.run() }}>
            <item.icon size={15} aria-hidden='true' /> <span className='grow'>{item.name}</span> {item.keys !== undefined && <kbd>{item.keys}</kbd>}
          </button>
          ))}
    </div>
  )
}
