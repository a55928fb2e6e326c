import { useSyncExternalStore, type ReactNode } from 'react'

let said: readonly { id: number, text: string, isShown: boolean }[] = []
let next = 1
const listeners = new Set<() => void>()

function tell(): void {
  for (const listener of listeners) listener()
}

/** Says something to screen readers, and shows it for a while if `isShown`. */
export function announce(text: string, isShown = false): void {
  const id = next++
  said = [...said.slice(-3), { id, text, isShown }]
  tell()
  setTimeout(() => {
    said = said.filter(one => one.id !== id)
    tell()
  }, 4_000)
}

/** Where what is announced appears. */
export function Announcements(): ReactNode {
  const all = useSyncExternalStore(listener => {
    listeners.add(listener)
    return () => { listeners.delete(listener) }
  }, () => said)
  return (
    <div className='toasts' role='status' aria-live='polite'>
      {all.map(({ id, text, isShown }) => <p key={id} className={isShown ? 'toast' : 'visually-hidden'}>{text}</p>)}
    </div>
  )
}
