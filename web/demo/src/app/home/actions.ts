// What can be done with a dashboard without opening it.

import { pathOf } from '../../shared/address.js'
import { shorten, TITLE_MAX } from '../../shared/format.js'
import { apiPath, call, CallError, reasonOf } from '../../shared/rest.js'
import { ask as askServer, tokenOf } from '../../shared/token.js'
import { announce } from '../announce.js'
import { ask } from '../Question.js'
import { forget } from './dashboards.js'
import type { Entry } from './listing.js'

export const nameOf = ({ id, title }: Pick<Entry, 'id' | 'title'>): string => shorten(title || id.split('/').slice(1).join('/'), TITLE_MAX)

/** A name that no dashboard has yet. */
export async function freeId(wanted: string): Promise<string> {
  for (let n = 1; n < 100; n++) {
    const id = n === 1 ? wanted : `${wanted}-${n}`
    try {
      await call('GET', `${apiPath(id)}?at=/meta`)
    } catch (error) {
      if (error instanceof CallError && error.code === 'no_dashboard') return id
      if (!(error instanceof CallError && ['nothing_there', 'deleted'].includes(error.code))) throw error
    }
  }
  throw new Error('There are too many dashboards of that name.')
}

/** Does something and says what went wrong with it. */
export async function attempt(what: () => Promise<void>): Promise<void> {
  try {
    await what()
  } catch (error) {
    announce(reasonOf(error), true)
  }
}

/** The whole document under another name, with what it was made of. */
export async function duplicate(entry: Entry): Promise<void> {
  const id = await freeId(`${entry.id}-copy`)
  const state = await askServer(`${apiPath(entry.id)}/state`, {}, tokenOf(entry.id))
  if (!state.ok) throw new Error(`The server answered ${state.status}.`)
  await call('POST', `${apiPath(id)}/updates`, await state.arrayBuffer())
  location.href = `${pathOf(id)}?copied`
}

export async function rename(entry: Entry, title: string): Promise<void> {
  await call('PATCH', apiPath(entry.id), { meta: { title } }, { 'content-type': 'application/merge-patch+json' }, tokenOf(entry.id))
  announce(`Renamed to ${shorten(title, 60)}`, true)
}

/** Moves a dashboard to the trash, and offers to take it back. */
export async function moveToTrash(entry: Entry, refresh: () => void): Promise<void> {
  const here = entry.members
  const explanation = `${here === 1 ? 'Somebody has' : `${here} people have`} it open, and will be sent away. It can be taken back from the trash.`
  if (here > 0 && !await ask({ question: `Move “${nameOf(entry)}” to the trash?`, explanation, yes: 'Move to trash' })) return
  await call('DELETE', apiPath(entry.id), undefined, {}, tokenOf(entry.id))
  forget(entry.id)
  refresh()
  announce(`“${nameOf(entry)}” is in the trash`, true, { name: 'Undo', run: () => { void attempt(() => restore(entry.id, refresh)) } })
}

export async function restore(id: string, refresh: () => void, life?: number): Promise<void> {
  await call('POST', `${apiPath(id)}/restore-deleted${life === undefined ? '' : `?life=${life}`}`)
  announce(`${id} is back`, true)
  refresh()
}

export async function purge(id: string, life: number, refresh: () => void): Promise<void> {
  if (!await ask({ question: `Delete ${id} for good?`, explanation: 'Nobody can bring it back then.', yes: 'Delete for good' })) return
  await call('DELETE', `${apiPath(id)}?purge=true&life=${life}`)
  announce(`${id} is gone for good`, true)
  refresh()
}
