import { type ReactNode, useEffect, useId, useRef, useState } from 'react'

interface MenuProps {
  readonly label: string
  readonly button: ReactNode
  readonly className?: string
  readonly align?: 'start' | 'end'
  /** A menu of commands, which arrow keys walk through, or a panel of anything else. */
  readonly kind?: 'menu' | 'panel'
  readonly children: (close: () => void) => ReactNode
}

/** A button that opens something below it. */
export function Menu({ label, button, className = 'icon-button', align = 'end', kind = 'menu', children }: MenuProps): ReactNode {
  const [isOpen, setOpen] = useState(false)
  const root = useRef<HTMLDivElement>(null)
  const opener = useRef<HTMLButtonElement>(null)
  const id = useId()
  const close = (): void => {
    setOpen(false)
    opener.current?.focus()
  }

  useEffect(() => {
    if (!isOpen) return
    root.current?.querySelector<HTMLElement>('.menu button, .menu a, .menu input')?.focus()
    const outside = (event: Event): void => { if (!root.current?.contains(event.target as Node)) setOpen(false) }
    document.addEventListener('pointerdown', outside)
    document.addEventListener('focusin', outside)
    return () => {
      document.removeEventListener('pointerdown', outside)
      document.removeEventListener('focusin', outside)
    }
  }, [isOpen])

  return (
    <div
      className='menu-root' ref={root}
      onKeyDown={event => {
        if (!isOpen) return
        if (event.key === 'Escape') {
          event.stopPropagation()
          close()
        }
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
        if (kind !== 'menu' || step === undefined) return
        event.preventDefault()
        const items = [...root.current?.querySelectorAll<HTMLElement>('[role^=menuitem]') ?? []]
        const at = items.indexOf(document.activeElement as HTMLElement)
        items[(at + step + items.length) % items.length]?.focus()
      }}
    >
      <button
        ref={opener} type='button' className={className} aria-label={label} title={label}
        aria-haspopup={kind === 'menu' ? 'menu' : 'dialog'} aria-expanded={isOpen} aria-controls={isOpen ? id : undefined}
        onClick={() => { setOpen(!isOpen) }}
      >{button}</button>
      {isOpen && <div id={id} className='menu' data-align={align} role={kind === 'menu' ? 'menu' : 'dialog'} aria-label={label}>{children(close)}</div>}
    </div>
  )
}
