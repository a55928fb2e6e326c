import type { LockHolder, Other, User, Widget } from '@ydash/client'
import { useDashboard, useOthers, useReadable, useWidget } from '@ydash/client/react'
import { GripVertical, Lock, Scaling, Settings2, Trash2 } from 'lucide-react'
import { memo, type PointerEvent as ReactPointerEvent, type ReactNode, useCallback, useRef } from 'react'
import { Boundary } from '../shared/Boundary.js'
import { shorten, TITLE_MAX } from '../shared/format.js'
import { announce } from './announce.js'
import { styleOf } from './Board.js'
import type { Rect } from './grid.js'
import { useIsVisible } from './hooks.js'
import { kindOf } from './widgets/registry.js'

interface TileProps {
  readonly id: string
  readonly rect: Rect
  readonly isHeld: boolean
  /** Anywhere, or past the one above and the one below. */
  readonly isMovable: 'freely' | 'stacked' | false
  readonly mayEdit: boolean
  readonly onGrab: (event: ReactPointerEvent, id: string, kind: 'move' | 'resize') => void
  readonly onNudge: (id: string, by: { x?: number, y?: number, w?: number, h?: number }) => void
  readonly onConfigure: (id: string) => void
  readonly onTakeOver: (id: string) => void
}

const STEPS: Readonly<Record<string, readonly [x: number, y: number]>> = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]
}

/** Names of those who look at a widget that have room on its frame. */
const WATCHERS_MAX = 3

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
function Frame({ id, widget, rect, isHeld, isMovable, mayEdit, onGrab, onNudge, onConfigure, onTakeOver }: TileProps & { readonly widget: Widget }): ReactNode {
  const dashboard = useDashboard()
  const element = useRef<HTMLElement>(null)
  const isVisible = useIsVisible(element)
  const holder = useReadable(dashboard.locks.holders, useCallback((all: Readonly<Record<string, LockHolder>>) => all[id] ?? null, [id]))
  const lockedBy = holder !== null && !holder.isSelf ? holder.user : null
  const watchers = useOthers(useCallback((others: readonly Other[]) => others.filter(({ selection }) => selection === id).map(({ user }) => user), [id]))
  const isSelected = useReadable(dashboard.presence.self, useCallback(({ selection }: { selection: string | null }) => selection === id, [id]))
  const kind = kindOf(widget.type)
  const title = shorten(widget.title || kind?.name || 'Widget', TITLE_MAX)
  const remove = (): void => {
    dashboard.undo.cut()
    dashboard.widgets.remove(id)
    announce(`${title} removed`)
  }

  return (
    <article
      ref={element} className='tile' aria-label={title} data-widget={id} data-type={kind?.type} data-held={isHeld} data-selected={isSelected}
      style={{ ...styleOf(rect), ...(lockedBy ?? watchers[0] ? { '--who': (lockedBy ?? watchers[0])?.color } : {}) }}
      data-watched={watchers.length > 0} data-locked={lockedBy !== null}
      onPointerDown={() => { dashboard.presence.setSelection(id) }}
      onFocus={() => { dashboard.presence.setSelection(id) }}
    >
      <header
        className='tile-head'
        onPointerDown={event => {
          const target = event.target as Element
          // A finger on the head of a stacked one wants to scroll.
          if (isMovable === 'freely' ? !target.closest('[data-action]') : isMovable && target.closest('.grip')) onGrab(event, id, 'move')
        }}
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
        <h2>{title}</h2>
        {mayEdit && (
          <div className='tile-actions' data-action>
            <button type='button' className='icon-button small' aria-label={`Configure ${title}`} title='Configure' onClick={() => { onConfigure(id) }}>
              <Settings2 size={15} aria-hidden='true' />
            </button>
            <button type='button' className='icon-button small' aria-label={`Remove ${title}`} title='Remove' onClick={remove}>
              <Trash2 size={15} aria-hidden='true' />
            </button>
          </div>
        )}
      </header>
      <div className='tile-body'>
        {kind === undefined
          ? <p className='empty'>This page does not know “{shorten(widget.type, 40)}” widgets. It is kept as it is.</p>
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

function LockBadge({ user, mayEdit, onTakeOver }: { user: User, mayEdit: boolean, onTakeOver: () => void }): ReactNode {
  return (
    <p className='lock' data-action>
      <Lock size={12} aria-hidden='true' /> <span>{user.name}</span>
      {mayEdit && <button type='button' onClick={onTakeOver}>Take over</button>}
    </p>
  )
}
