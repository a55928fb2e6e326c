import { useSyncExternalStore, type ReactNode } from 'react'

interface Said {
  readonly id: number
  readonly text: string
  readonly isShown: boolean
  readonly action?: { readonly name: string, readonly run: () => void }
}

/** How long a toast stays, in milliseconds; one that offers something, longer. */
const STAYS = 4_000
const STAYS_WITH_ACTION = 9_000

let said: readonly Said[] = []
let next = 1
const listeners = new Set<() => void>()

function tell(all: readonly Said[]): void {
  said = all
  for (const listener of listeners) listener()
}

/** Says something to screen readers, and shows it for a while if `isShown`; with `action`, something can be done about it meanwhile. */
export function announce(text: string, isShown = false, action?: Said['action']): void {
  const id = next++
  tell([...said.slice(-3), { id, text, isShown, ...action !== undefined && { action } }])
  setTimeout(() => { tell(said.filter(one => one.id !== id)) }, action === undefined ? STAYS : STAYS_WITH_ACTION)
}

/** Where what is announced appears. */
export function Announcements(): ReactNode {
  const all = useSyncExternalStore(listener => {
    listeners.add(listener)
    return () => { listeners.delete(listener) }
  }, () => said)
  return (
    <div className='toasts' role='status' aria-live='polite'>
      {all.map(({ id, text, isShown, action }) => (
        <div key={id} className={isShown ? 'toast' : 'visually-hidden'}>
          <span>{text}</span>
          {action !== undefined && <button type='button' onClick={() => { action.run(); tell(said.filter(one => one.id !== id)) }}>{action.name}</button>}
        </div>
      ))}
    </div>
  )
}
