import type { LockHolder, Other, User, Widget } from '@ydash/client'
import { useDashboard, useOthers, useReadable, useWidget, useWidgetLock } from '@ydash/client/react'
import { Ellipsis, GripVertical, Lock, MessageSquare, Scaling, Settings2 } from 'lucide-react'
import { type KeyboardEvent, memo, type PointerEvent as ReactPointerEvent, type ReactNode, useCallback, useEffect, useRef, useState } from 'react'
import { Boundary } from '../shared/Boundary.js'
import { plural, shorten, TITLE_MAX } from '../shared/format.js'
import { styleOf } from './Board.js'
import { useOpenComments } from './comments.js'
import { openContextMenu } from './ContextMenu.js'
import { select, selection } from './board/selection.js'
import type { Rect } from './grid.js'
import { useIsVisible } from './hooks.js'
import { showPanel } from './panel/shown.js'
import { Signal } from './signal.js'
import { kindOf } from './widgets/registry.js'
import { Unknown } from './widgets/Unknown.js'

interface TileProps {
  readonly id: string
  readonly rect: Rect
  readonly isHeld: boolean
  /** Anywhere, or past the one above and the one below. */
  readonly isMovable: 'freely' | 'stacked' | false
  readonly mayEdit: boolean
  readonly onGrab: (event: ReactPointerEvent, id: string, kind: 'move' | 'resize') => void
  readonly onNudge: (id: string, by: { x?: number, y?: number, w?: number, h?: number }) => void
  readonly onTakeOver: (id: string) => void
}

const STEPS: Readonly<Record<string, readonly [x: number, y: number]>> = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]
}

/** Names of those who look at a widget that have room on its frame. */
const WATCHERS_MAX = 3

/** The widget whose title is being written in its place. */
export const renaming = new Signal<string | null>(null)

/** A widget in its frame. Whatever breaks it breaks nothing else. */
export const Tile = memo(function Tile(props: TileProps): ReactNode {
  const widget = useWidget(props.id)
  return widget !== undefined && (
    <Boundary
      attempt={widget}
      fallback={() => <article className='tile' aria-label='Broken widget' data-widget={props.id} style={styleOf(props.rect)}><p className='empty'>This widget cannot be shown.</p></article>}
    >
      <Frame widget={widget} {...props} />
    </Boundary>
  )
})

/** Who looks at a widget, who holds it, and what can be done with it. */
function Frame({ id, widget, rect, isHeld, isMovable, mayEdit, onGrab, onNudge, onTakeOver }: TileProps & { readonly widget: Widget }): ReactNode {
  const dashboard = useDashboard()
  const element = useRef<HTMLElement>(null)
  const isVisible = useIsVisible(element)
  const holder = useReadable(dashboard.locks.holders, useCallback((all: Readonly<Record<string, LockHolder>>) => all[id] ?? null, [id]))
  const lockedBy = holder !== null && !holder.isSelf ? holder.user : null
  const watchers = useOthers(useCallback((others: readonly Other[]) => others.filter(({ selection }) => selection === id).map(({ user }) => user), [id]))
  const isSelected = useReadable(selection, useCallback((all: ReadonlySet<string>) => all.has(id), [id]))
  const isRenaming = useReadable(renaming, useCallback((one: string | null) => one === id, [id]))
  const comments = useOpenComments(id)
  const kind = kindOf(widget)
  const title = shorten(widget.title || kind?.name || 'Widget', TITLE_MAX)
  const menu = (event: { clientX: number, clientY: number, preventDefault: () => void }): void => {
    event.preventDefault()
    openContextMenu(event.clientX, event.clientY, id)
  }

  return (
    <article
      ref={element} className='tile' aria-label={title} data-widget={id} data-type={kind?.type} data-held={isHeld} data-selected={isSelected}
      style={{ ...styleOf(rect), ...(lockedBy ?? watchers[0] ? { '--who': (lockedBy ?? watchers[0])?.color } : {}) }}
      data-watched={watchers.length > 0} data-locked={lockedBy !== null}
      onPointerDown={event => {
        // A right click on one of several is about all of them.
        if (event.button === 0 || !selection.get().has(id)) select(id, event.shiftKey || event.ctrlKey || event.metaKey)
        dashboard.presence.setSelection(id)
      }}
      onFocus={() => {
        if (!selection.get().has(id)) select(id)
        dashboard.presence.setSelection(id)
      }}
      onContextMenu={event => { if (!(event.target as Element).closest('input, textarea, .ProseMirror')) menu(event) }}
    >
      <header
        className='tile-head'
        onPointerDown={event => {
          const target = event.target as Element
          // A finger on the head of a stacked one wants to scroll.
          if (!isRenaming && (isMovable === 'freely' ? !target.closest('[data-action]') : isMovable && target.closest('.grip'))) onGrab(event, id, 'move')
        }}
        onDoubleClick={event => { if (mayEdit && !(event.target as Element).closest('[data-action]')) renaming.set(id) }}
      >
        {isMovable && (
          <button
            type='button' className='grip' data-only={isMovable === 'stacked'} aria-label={`Move ${title}. Arrow keys move, with Shift they resize.`}
            onKeyDown={event => {
              const step = STEPS[event.key]
              if (step === undefined) return
              event.preventDefault()
              onNudge(id, event.shiftKey ? { w: step[0], h: step[1] } : { x: step[0], y: step[1] })
            }}
          ><GripVertical size={15} aria-hidden='true' /></button>
        )}
        {isRenaming ? <Rename id={id} title={widget.title} label={title} /> : <h2>{title}</h2>}
        {comments > 0 && (
          <button type='button' className='comment-count' data-action aria-label={`${plural(comments, 'comment')} on ${title}`} title='Comments' onClick={() => { showPanel({ kind: 'comments', id }) }}>
            <MessageSquare size={13} aria-hidden='true' /> {comments}
          </button>
        )}
        <div className='tile-actions' data-action>
          {mayEdit && (
            <button type='button' className='icon-button small' aria-label={`Configure ${title}`} title='Settings' onClick={() => { showPanel({ kind: 'widget', id }) }}>
              <Settings2 size={15} aria-hidden='true' />
            </button>
          )}
          <button
            type='button' className='icon-button small' aria-label={`Actions for ${title}`} title='Actions' aria-haspopup='menu'
            onClick={event => {
              const { right, bottom } = event.currentTarget.getBoundingClientRect()
              openContextMenu(right - 190, bottom + 4, id)
            }}
          ><Ellipsis size={16} aria-hidden='true' /></button>
        </div>
      </header>
      <div className='tile-body'>
        {kind === undefined
          ? <Unknown widget={widget} />
          : (
            <Boundary attempt={widget} fallback={() => <p className='empty'>This widget cannot be shown as it is configured.</p>}>
              <kind.Component widget={widget} title={title} isVisible={isVisible} />
            </Boundary>
            )}
      </div>
      {isMovable === 'freely' && (
        <span className='resize' title='Resize' aria-hidden='true' onPointerDown={event => { onGrab(event, id, 'resize') }}>
          <Scaling size={13} />
        </span>
      )}
      {lockedBy !== null
        ? <LockBadge user={lockedBy} mayEdit={mayEdit} onTakeOver={() => { onTakeOver(id) }} />
        : watchers.length > 0 && (
          <p className='watchers'>
            <span>{watchers.slice(0, WATCHERS_MAX).map(({ name }) => name).join(', ')}</span>
            {watchers.length > WATCHERS_MAX && <span className='rest'> and {watchers.length - WATCHERS_MAX} more</span>}
          </p>
        )}
    </article>
  )
}

/** The title, being written. One at a time: whoever comes later sees whose it is. */
function Rename({ id, title, label }: { id: string, title: string, label: string }): ReactNode {
  const dashboard = useDashboard()
  const lock = useWidgetLock(id)
  const [draft, setDraft] = useState(title)
  const input = useRef<HTMLInputElement>(null)
  const isOver = useRef(false)
  useEffect(() => {
    if (!lock.acquire()) {
      renaming.set(null)
      return
    }
    input.current?.select()
    return () => { lock.release() }
  }, [])
  const end = (isKept: boolean): void => {
    if (isOver.current) return
    isOver.current = true
    if (isKept && draft.trim() !== title) {
      dashboard.undo.cut()
      dashboard.widgets.update(id, { title: draft.trim() })
    }
    renaming.set(null)
  }
  const key = (event: KeyboardEvent): void => {
    if (event.key === 'Enter') end(true)
    else if (event.key === 'Escape') end(false)
    event.stopPropagation()
  }
  return (
    <input
      ref={input} className='rename' data-action type='text' aria-label={`Title of ${label}`} value={draft} maxLength={80} autoFocus
      onChange={event => { setDraft(event.target.value) }} onKeyDown={key} onBlur={() => { end(true) }}
    />
  )
}

function LockBadge({ user, mayEdit, onTakeOver }: { user: User, mayEdit: boolean, onTakeOver: () => void }): ReactNode {
  return (
    <p className='lock' data-action>
      <Lock size={12} aria-hidden='true' /> <span>{user.name}</span>
      {mayEdit && <button type='button' onClick={onTakeOver}>Take over</button>}
    </p>
  )
}
