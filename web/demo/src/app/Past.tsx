import { useDashboard } from '@ydash/client/react'
import { CopyPlus, History } from 'lucide-react'
import { type ReactNode, useEffect, useState } from 'react'
import { pastOf, pathOf } from '../shared/address.js'
import { shorten } from '../shared/format.js'
import { apiPath, call, CallError, reasonOf } from '../shared/rest.js'
import { announce } from './announce.js'
import { showPanel } from './panel/shown.js'

/** Above an earlier version: which it is, and the way back. */
export function PastBanner(): ReactNode {
  const { id } = useDashboard()
  const [isBusy, setBusy] = useState(false)
  const past = pastOf(id)
  const kept = useKept(past)
  if (past === null) return null
  const copy = async (): Promise<void> => {
    setBusy(true)
    try {
      for (let n = 1; n < 50; n++) {
        const name = `${past.id}-as-it-was${n === 1 ? '' : `-${n}`}`
        try {
          await call('POST', `${apiPath(past.id)}/at/${encodeURIComponent(past.version)}/copy`, { name })
          location.href = pathOf(name)
          return
        } catch (error) {
          if (!(error instanceof CallError && error.status === 409)) throw error
        }
      }
      announce('There are 49 dashboards of this one as it was. Delete one you do not need, then try again.', true)
    } catch (error) {
      announce(reasonOf(error), true)
    } finally {
      setBusy(false)
    }
  }
  return (
    <div className='banner past' data-tone='info' role='status'>
      <History size={16} aria-hidden='true' />
      <p>This is <b>{shorten(past.id, 60)}</b> as it was {kept ?? whenOf(past.version)}. Nothing can be changed here.</p>
      <div className='row'>
        <a className='button' href={pathOf(past.id)}>Back to now</a>
        <button type='button' className='quiet outlined' onClick={() => { showPanel({ kind: 'history' }) }}>Another time</button>
        <button type='button' className='quiet outlined' disabled={isBusy} onClick={() => { void copy() }}><CopyPlus size={14} aria-hidden='true' /> Make a dashboard of it</button>
      </div>
    </div>
  )
}

/** When a kept version was made, and its name; `null` for others, and until the server has said it. */
function useKept(past: ReturnType<typeof pastOf>): string | null {
  const [kept, setKept] = useState<string | null>(null)
  const [id, version] = [past?.id, past?.version]
  useEffect(() => {
    if (id === undefined || version === undefined || !isKept(version)) return
    let isOver = false
    call<{ readonly versions: readonly { readonly id: string, readonly at: string, readonly name: string }[] }>('GET', `${apiPath(id)}/versions`).then(({ json }) => {
      const found = json.versions.find(one => one.id === version)
      if (found !== undefined && !isOver) setKept(`${whenOf(found.at)}${found.name === '' ? '' : `, “${shorten(found.name, 60)}”`}`)
    }, () => { /* The version is shown all the same. */ })
    return () => { isOver = true }
  }, [id, version])
  return kept
}

/** Whether a version is the id of one that is kept. */
function isKept(version: string): boolean {
  return /^v[0-9a-f]{16}$/.test(version)
}

const UNITS: Readonly<Record<string, string>> = { s: 'second', m: 'minute', h: 'hour', d: 'day' }

/** A version in words. */
function whenOf(version: string): string {
  const [, count, unit] = /^-(\d+)([smhd])$/.exec(version) ?? []
  if (count !== undefined && unit !== undefined) return `${count} ${UNITS[unit] ?? ''}${count === '1' ? '' : 's'} ago`
  if (isKept(version)) return 'when this version was kept'
  const at = Date.parse(version)
  return /^\d+$/.test(version) || !Number.isFinite(at) ? `at position ${version}` : `on ${new Date(at).toLocaleString('en', { dateStyle: 'medium', timeStyle: 'short' })}`
}
