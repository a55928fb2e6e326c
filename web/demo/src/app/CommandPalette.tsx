import { useDashboard } from '@ydash/client/react'
import { Search } from 'lucide-react'
import { type ReactNode, useEffect, useMemo, useRef, useState } from 'react'
import { commandsOf, paletteIsOpen } from './commands.js'
import { useMayEdit } from './hooks.js'

const SHOWN_MAX = 12

/** Everything by name: Ctrl K. */
export default function CommandPalette(): ReactNode {
  const dashboard = useDashboard()
  const mayEdit = useMayEdit()
  const dialog = useRef<HTMLDialogElement>(null)
  const [text, setText] = useState('')
  const [at, setAt] = useState(0)
  const all = useMemo(() => commandsOf(dashboard, mayEdit), [dashboard, mayEdit])
  const found = useMemo(() => {
    const words = text.toLowerCase().split(/\s+/).filter(word => word !== '')
    return all.filter(({ name, group }) => words.every(word => `${group} ${name}`.toLowerCase().includes(word))).slice(0, SHOWN_MAX)
  }, [all, text])
  useEffect(() => {
    dialog.current?.showModal()
    return () => { paletteIsOpen.set(false) }
  }, [])
  const close = (): void => { paletteIsOpen.set(false) }
  const run = (n: number): void => {
    const command = found[n]
    if (command === undefined) return
    close()
    // After the dialog has given the focus back.
    setTimeout(command.run, 0)
  }
  return (
    <dialog ref={dialog} className='palette' aria-label='Commands' onClose={close} onCancel={close} onClick={event => { if (event.target === dialog.current) close() }}>
      <div className='palette-search'>
        <Search size={17} aria-hidden='true' />
        <input
          type='text' role='combobox' aria-label='Find a command or a widget' aria-expanded='true' aria-controls='palette-list' aria-activedescendant={found[at] === undefined ? undefined : `command-${at}`}
          placeholder='What would you like to do?' value={text} autoComplete='off' spellCheck={false}
          onChange={event => { setText(event.target.value); setAt(0) }}
          onKeyDown={event => {
            const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
            if (step !== undefined) setAt((at + step + found.length) % Math.max(found.length, 1))
            else if (event.key === 'Enter') run(at)
            else return
            event.preventDefault()
          }}
        />
      </div>
      <ul id='palette-list' role='listbox' aria-label='Commands'>
        {found.map(({ id, name, keys, group }, n) => (
          <li key={id} id={`command-${n}`} role='option' aria-selected={n === at} onPointerMove={() => { setAt(n) }} onClick={() => { run(n) }}>
            <span className='aside'>{group}</span> <span className='grow'>{name}</span> {keys !== undefined && <kbd>{keys}</kbd>}
          </li>
        ))}
      </ul>
      {found.length === 0 && <p className='empty'>Nothing is called that.</p>}
    </dialog>
  )
}
