import type { ReactNode } from 'react'
import { shorten } from '../../shared/format.js'
import type { WidgetProps } from './registry.js'

/** A text as it is written in the widget's settings. */
export function Text({ widget: { options } }: WidgetProps): ReactNode {
  const { text, value, body } = options
  const shown = [text, body, value].find(one => typeof one === 'string')
  return typeof shown === 'string' && shown !== ''
    ? <div className='plain-text' tabIndex={0} role='region' aria-label='Text, scrolls'>{shorten(shown, 20_000)}</div>
    : <p className='empty'>No text yet.</p>
}
