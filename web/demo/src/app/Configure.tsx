import { useDashboard, useWidget, useWidgetLock } from '@ydash/client/react'
import { X } from 'lucide-react'
import { type CSSProperties, type ReactNode, useEffect, useRef } from 'react'
import { shorten, TITLE_MAX } from '../shared/format.js'
import { METRICS, metricOf } from './feed.js'
import { cssColor, PALETTE, paletteColor } from './palette.js'
import { kindOf } from './widgets/registry.js'

/** A widget's settings. They apply as they are made, for everybody; the widget is locked meanwhile. */
export function Configure({ id, onClose }: { id: string, onClose: () => void }): ReactNode {
  const dashboard = useDashboard()
  const widget = useWidget(id)
  const lock = useWidgetLock(id)
  const dialog = useRef<HTMLDialogElement>(null)

  useEffect(() => {
    const endStep = dashboard.undo.begin()
    dialog.current?.showModal()
    return endStep
  }, [dashboard])
  useEffect(() => { lock.acquire() }, [id])
  // Somebody removed it.
  useEffect(() => { if (widget === undefined) onClose() }, [widget, onClose])
  if (widget === undefined) return null

  const kind = kindOf(widget.type)
  const metrics = METRICS.filter(({ id }) => kind?.metrics === 'all' || kind?.metrics.includes(id))
  const metric = metricOf(widget.options.metric)
  const set = (options: Record<string, string | boolean>): void => { dashboard.widgets.update(id, { options }) }
  return (
    <dialog ref={dialog} className='sheet' aria-labelledby='configure-title' onClose={onClose} onClick={event => { if (event.target === dialog.current) dialog.current.close() }}>
      <form method='dialog'>
        <header>
          <h2 id='configure-title'>{kind?.name ?? 'Widget'}</h2>
          <button className='icon-button' aria-label='Close'><X size={18} aria-hidden='true' /></button>
        </header>
        {lock.isLocked && (
          <p className='warning'>
            {lock.holder?.user.name} is busy with it. Changes merge all the same. <button type='button' className='quiet' onClick={lock.takeOver}>Take over</button>
          </p>
        )}
        <label className='field'>
          <span>Title</span>
          <input value={shorten(widget.title, TITLE_MAX)} maxLength={80} onChange={event => { dashboard.widgets.update(id, { title: event.target.value }) }} />
        </label>
        {metrics.length > 0 && (
          <label className='field'>
            <span>Shows</span>
            <select value={metric.id} onChange={event => { set({ metric: event.target.value }) }}>
              {metrics.map(({ id, name }) => <option key={id} value={id}>{name}</option>)}
            </select>
          </label>
        )}
        {widget.type === 'series' && metric.parts !== undefined && (
          <label className='check'>
            <input type='checkbox' checked={widget.options.split === true} onChange={event => { set({ split: event.target.checked }) }} /> One line for each part
          </label>
        )}
        {kind?.hasColor === true && (
          <fieldset className='colors'>
            <legend>Colour</legend>
            {PALETTE.map(color => (
              <label key={color} style={{ '--who': cssColor(color) } as CSSProperties}>
                <input type='radio' name='widget-color' aria-label={color} checked={paletteColor(widget.options.color) === color} onChange={() => { set({ color }) }} />
              </label>
            ))}
          </fieldset>
        )}
        <footer><button className='button'>Done</button></footer>
      </form>
    </dialog>
  )
}
