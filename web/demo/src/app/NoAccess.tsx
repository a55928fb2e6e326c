import { useDashboard, useReadable } from '@ydash/client/react'
import { History, Lock, Trash2 } from 'lucide-react'
import { type FormEvent, type ReactNode, useEffect, useState } from 'react'
import { pastOf, pathOf } from '../shared/address.js'
import { shorten, TITLE_MAX } from '../shared/format.js'
import { forgetLink, isByLink, tokenName } from '../shared/token.js'

/** The close code for whoever shows no token, or one that is not taken. */
const UNAUTHENTICATED = 4401
/** And for whoever has a dashboard open that is moved to the trash. */
export const DELETED = 4404

/** What stands in the place of a dashboard that this browser is not let into: why, and what can be done about it. */
export function NoAccess(): ReactNode {
  const dashboard = useDashboard()
  const why = useReadable(dashboard.refusal)
  const [link, setLink] = useState('')
  const [isWrong, setWrong] = useState(false)
  // A link that was revoked is in the way of whoever may come in by who they are.
  useEffect(() => { if (isByLink && forgetLink()) location.reload() }, [])
  const isAccess = why?.reason === 'forbidden' || why?.code === UNAUTHENTICATED || why?.code === 4403
  const open = (event: FormEvent): void => {
    event.preventDefault()
    const target = targetOf(link.trim())
    setWrong(target === null)
    if (target === null) return
    location.href = target
    // A link to this very dashboard differs in its secret alone.
    if (new URL(target).pathname === location.pathname) location.reload()
  }
  if (why?.code === DELETED) {
    return (
      <main className='no-access'>
        <Trash2 size={30} aria-hidden='true' />
        <h2>This dashboard was deleted</h2>
        <p>It is in the trash for a while: whoever may delete it can take it back from there.</p>
        <p className='row'><a className='button' href='/?home'>All dashboards</a><button type='button' className='quiet outlined' onClick={() => { dashboard.connect() }}>Try again</button></p>
        <p className='aside'>{shorten(dashboard.id, TITLE_MAX)}</p>
      </main>
    )
  }
  const past = pastOf(dashboard.id)
  if (isAccess && past !== null) {
    return (
      <main className='no-access'>
        <History size={30} aria-hidden='true' />
        <h2>This version cannot be shown</h2>
        <p>Nothing is kept of that time, the dashboard was not there yet, or you may not edit it: versions are for those who may.</p>
        <p className='row'><a className='button' href={pathOf(past.id)}>Back to now</a></p>
        <p className='aside'>{shorten(past.id, TITLE_MAX)}</p>
      </main>
    )
  }
  return (
    <main className='no-access'>
      <Lock size={30} aria-hidden='true' />
      {isAccess
        ? (
          <>
            <h2>You have no access to this dashboard</h2>
            <p>
              {isByLink && 'The link that was good for it has ended, or was revoked. '}
              {!isByLink && tokenName !== null && <>You are here as <b>{shorten(tokenName, 60)}</b>, who may not open it. </>}
              {!isByLink && tokenName === null && why?.code === UNAUTHENTICATED && 'This server lets in people who have a link. '}
              Ask one of its owners to share it with you, or open a link that somebody gave you.
            </p>
            <form className='row' onSubmit={open}>
              <label className='visually-hidden' htmlFor='access-link'>A link that you were given</label>
              <input id='access-link' type='text' value={link} placeholder='Paste a link' autoComplete='off' spellCheck={false}
                aria-invalid={isWrong} aria-describedby={isWrong ? 'access-link-wrong' : undefined}
                onChange={event => { setLink(event.target.value); setWrong(false) }} />
              <button type='submit' className='button' disabled={link.trim() === ''}>Open</button>
            </form>
            {isWrong && <p id='access-link-wrong' className='problem' role='alert'>This is no link to a dashboard here.</p>}
          </>
          )
        : (
          <>
            <h2>The server refused this dashboard</h2>
            <p>{shorten(why?.reason ?? '', 300) || `It gave no reason but the code ${why?.code}.`}</p>
          </>
          )}
      <p className='aside'>{shorten(dashboard.id, TITLE_MAX)} · <a className='link' href='/?home'>All dashboards</a></p>
    </main>
  )
}

/** Where a link leads, or the secret alone: on this server, to a dashboard. */
function targetOf(text: string): string | null {
  if (/^yd_[\w-]+$/.test(text)) return `${location.origin}${location.pathname}#token=${text}`
  try {
    const url = new URL(text, location.origin)
    return url.origin === location.origin && (url.pathname.startsWith('/d/') || url.hash.length > 1) ? url.href : null
  } catch {
    return null
  }
}
