import { useAccess, useFollow, useOthers, usePresence, useSaveState, useStatus, useUndo } from '@ydash/client/react'

const SAVE_STATES = {
  saved: 'saved',
  saving: 'saving',
  'offline-changes': 'kept here until you are back online',
  refused: 'not accepted by the server'
} as const

/** Undo, the link to the server, and who is here. */
export function Header() {
  const { canUndo, canRedo, undo, redo } = useUndo()
  const status = useStatus()
  const saveState = useSaveState()
  const isReadOnly = useAccess() === 'read-only'
  return (
    <header className='bar'>
      <h1>Goals</h1>
      <button disabled={!canUndo} onClick={undo}>Undo</button>
      <button disabled={!canRedo} onClick={redo}>Redo</button>
      <span className='grow' />
      <span className='state' role='status' data-good={status === 'live' && saveState === 'saved'}>
        {status}, {isReadOnly ? 'you may only read' : SAVE_STATES[saveState]}
      </span>
      <People />
    </header>
  )
}

/** A click on somebody follows them: their filters are shown until the next click. */
function People() {
  const { self } = usePresence()
  const others = useOthers()
  const { target, follow, stop } = useFollow()
  return (
    <span className='people'>
      <span className='avatar' style={{ background: self.user.color }} title={`${self.user.name} (you)`}>{self.user.name[0]}</span>
      {others.map(({ clientId, user }) => {
        const isFollowed = target?.clientId === clientId
        return (
          <button
            key={clientId} className='avatar' style={{ background: user.color }} title={`Follow ${user.name}`}
            aria-pressed={isFollowed} onClick={() => { isFollowed ? stop() : follow(clientId) }}
          >{user.name[0]}</button>
        )
      })}
    </span>
  )
}
