// What can be done with a dashboard without opening it.

import { pathOf } from '../../shared/address.js'
import { shorten, TITLE_MAX } from '../../shared/format.js'
import { apiPath, call, CallError, reasonOf } from '../../shared/rest.js'
import { ask as askServer, tokenOf } from '../../shared/token.js'
import { announce } from '../announce.js'
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
