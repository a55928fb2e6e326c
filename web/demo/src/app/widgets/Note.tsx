import { lazy, type ReactNode, Suspense, useState } from 'react'
import type { WidgetProps } from './registry.js'

// The editor is half of the page's code, and not every dashboard has a note.
const Editor = lazy(() => import('./NoteEditor.js'))

/** Rich text that all write at the same time. */
export function Note({ widget, title, isVisible }: WidgetProps): ReactNode {
  // Once there it stays: whoever scrolls past comes back to their caret.
  const [isOpen, setOpen] = useState(isVisible)
  if (isVisible && !isOpen) setOpen(true)
  return (
    <Suspense fallback={<p className='empty'>…</p>}>
      {isOpen && <Editor id={widget.id} label={title} />}
    </Suspense>
  )
}
