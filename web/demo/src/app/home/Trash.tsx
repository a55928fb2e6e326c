import { RotateCcw, Trash2 } from 'lucide-react'
import { type ReactNode, useCallback, useEffect, useState } from 'react'
import { formatAgo, formatUntil, shorten } from '../../shared/format.js'
import { call, reasonOf } from '../../shared/rest.js'
import { attempt, purge, restore } from './actions.js'

/** A dashboard that was deleted, docs/API.md. */
interface Deleted {
  readonly id: string
  readonly life: number
  readonly at: number
  readonly by: string | null
  readonly until: number
  /** Whether another one has begun under the name since. */
  readonly isTaken: boolean
}

interface Page {
  readonly trash: readonly { readonly dashboard: string, readonly exists: boolean, readonly deleted: readonly { readonly deleted_at: string, readonly deleted_by: string | null, readonly life: number, readonly until: string }[] }[]
  readonly next: string | null
}

const PAGES_MAX = 10

async function trashOf(workspace: string): Promise<Deleted[]> {
  const all: Deleted[] = []
  let after: string | null = null
  for (let n = 0; n < PAGES_MAX; n++) {
    const { json }: { json: Page } = await call('GET', `/api/workspaces/${encodeURIComponent(workspace)}/trash${after === null ? '' : `?${new URLSearchParams({ after }).toString()}`}`)
    for (const { dashboard, deleted, exists } of json.trash) {
      all.push(...deleted.map(({ deleted_at, deleted_by, life, until }) => ({ id: dashboard, life, at: Date.parse(deleted_at), by: deleted_by, until: Date.parse(until), isTaken: exists })))
    }
    after = json.next
    if (after === null) break
  }
  return all
}

/** What was deleted, and can be taken back. */
export function Trash({ workspaces, query, onRestored }: { workspaces: readonly string[], query: string, onRestored: () => void }): ReactNode {
  const [all, setAll] = useState<readonly Deleted[] | null>(null)
  const [problem, setProblem] = useState<string | null>(null)
  const key = workspaces.join('\n')
  const load = useCallback(async (): Promise<void> => {
    try {
      setAll((await Promise.all(key.split('\n').map(trashOf))).flat().sort((a, b) => b.at - a.at))
      setProblem(null)
    } catch (error) {
      setProblem(reasonOf(error))
    }
  }, [key])
  useEffect(() => { void load() }, [load])
  const changed = (): void => {
    void load()
    onRestored()
  }
  const shown = (all ?? []).filter(({ id }) => query.toLowerCase().split(/\s+/).every(word => id.toLowerCase().includes(word)))
  if (problem !== null) return <p className='problem' role='alert'>{problem} <button type='button' className='link' onClick={() => { void load() }}>Try again</button></p>
  if (all === null) return <p className='aside' role='status'>Looking into the trash…</p>
  if (shown.length === 0) {
    const why = all.length === 0
      ? 'The trash is empty. A dashboard that is moved here can be taken back until its time is over.'
      : 'Nothing in the trash is called that.'
    return <div className='empty-board'><Trash2 size={26} aria-hidden='true' /><p>{why}</p></div>
  }
  return (
    <ul className='trash' aria-label='Trash'>
      {shown.map(({ id, life, at, by, until, isTaken }) => (
        <li key={`${id} ${life}`}>
          <div className='grow'><b>{shorten(id, 80)}</b><p className='aside'>Deleted {formatAgo(at)}{by === null ? '' : ` by ${shorten(by, 40)}`}, {formatUntil(until)}{isTaken && '; another dashboard has this name now'}</p></div>
          <button type='button' className='quiet outlined' disabled={isTaken} aria-label={`Take back ${id}`} onClick={() => { void attempt(() => restore(id, changed, life)) }}><RotateCcw size={14} aria-hidden='true' /> Take back</button>
          <button type='button' className='quiet danger-text' aria-label={`Delete ${id} for good`} onClick={() => { void attempt(() => purge(id, life, changed)) }}>Delete for good</button>
        </li>
      ))}
    </ul>
  )
}
