import { X } from 'lucide-react'
import { type ReactNode, useEffect, useId, useRef } from 'react'

interface PanelProps {
  readonly title: string
  readonly icon?: ReactNode
  readonly onClose: () => void
  /** Another one takes the focus anew. */
  readonly subject: string
  readonly footer?: ReactNode
  readonly children: ReactNode
}

/** What stands beside the board, which stays sharp and usable; on a phone, a sheet from below. */
export function Panel({ title, icon, onClose, subject, footer, children }: PanelProps): ReactNode {
  const root = useRef<HTMLElement>(null)
  const before = useRef<Element | null>(null)
  const id = useId()
  const close = (): void => {
    onClose()
    if (before.current instanceof HTMLElement && before.current.isConnected) before.current.focus()
  }
  useEffect(() => {
    before.current = document.activeElement
    const first = root.current?.querySelector<HTMLElement>('[data-autofocus]') ?? root.current?.querySelector<HTMLElement>('.panel-body input, .panel-body textarea, .panel-body button')
    first?.focus({ preventScroll: true })
    if (first instanceof HTMLInputElement && first.type === 'text') first.select()
  }, [subject])
  return (
    <aside
      ref={root} className='panel' role='complementary' aria-labelledby={id}
      onKeyDown={event => {
        if (event.key !== 'Escape' || event.defaultPrevented) return
        event.preventDefault()
        event.stopPropagation()
        close()
      }}
    >
      <header>
        {icon}
        <h2 id={id}>{title}</h2>
        <button type='button' className='icon-button' aria-label='Close' onClick={close}><X size={18} aria-hidden='true' /></button>
      </header>
      <div className='panel-body'>{children}</div>
      {footer !== undefined && <footer>{footer}</footer>}
    </aside>
  )
}

/** A part of a panel, with a heading that folds it. */
export function Section({ title, children, isOpen = true }: { title: string, children: ReactNode, isOpen?: boolean }): ReactNode {
  return <details className='section' open={isOpen}><summary>{title}</summary><div>{children}</div></details>
}
