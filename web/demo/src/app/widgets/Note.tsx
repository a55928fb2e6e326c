import { type ReactNode, useState } from 'react'
import { lazily } from '../../shared/lazily.js'
import type { WidgetProps } from './registry.js'

// The editor is half of the page's code, and not every dashboard has a note.
const Editor = lazily(() => import('./NoteEditor.js'), { waiting: <p className='empty'>…</p> })

/** Rich text that all write at the same time. */
export function Note({ widget, title, isVisible }: WidgetProps): ReactNode {
  // Once there it stays: whoever scrolls past comes back to their caret.
  const [isOpen, setOpen] = useState(isVisible)
  if (isVisible && !isOpen) setOpen(true)
  return isOpen ? <Editor id={widget.id} label={title} /> : <p className='empty'>…</p>
}
