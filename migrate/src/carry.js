// One document after the other, from a source to a target: written if something is missing, then read back and compared.
//
// What is there already is left alone, so a run that was broken off is repeated, and goes on where it was.

import { contains, join, print } from './content.js'
import { toDashboard } from './names.js'

/**
 * What became of a document.
 *   moved    written, read back, and the same
 *   there    nothing had to be written
 *   empty    nobody ever wrote to it
 *   missing  a check found that the target lacks something
 *   failed   and why
 */
export const OUTCOMES = ['moved', 'there', 'empty', 'missing', 'failed']

/**
 * Carries the documents of `source`, at most `jobs` at once, and tells `report` about each.
 * With `target` null nothing is compared; with `writes` false nothing is written.
 */
export async function carry (source, { target, writes, rule, workspace, jobs, report }) {
  const running = new Set()
  for await (const document of source) {
    const task = one(document, { target, writes, rule, workspace }).then(report)
    running.add(task)
    task.finally(() => running.delete(task)).catch(() => {})
    if (running.size >= jobs) await Promise.race(running)
  }
  await Promise.all(running)
}

async function one (document, { target, writes, rule, workspace }) {
  const told = { name: document.dashboard ?? document.name }
  try {
    if (document.failure) throw new Error(document.failure)
    const dashboard = document.dashboard ?? toDashboard(document.name, rule, workspace)
    told.name = dashboard
    const updates = document.updates ?? await document.read()
    let { update, pending, isEmpty } = readable(updates)
    Object.assign(told, { bytes: update.length, pending })
    if (isEmpty && pending === 0) return { ...told, outcome: 'empty' }
    if (target === null) return { ...told, outcome: 'there', update }
    const before = await target.state(dashboard)
    if (pending > 0) {
      // Perhaps what they wait for came earlier.
      ({ update, pending } = readable([before, ...updates]))
      Object.assign(told, { pending })
    }
    if (contains(before, update)) return { ...told, outcome: 'there', ...compare(before, update) }
    if (!writes) return { ...told, outcome: 'missing' }
    await target.add(dashboard, before, update)
    const after = await target.state(dashboard)
    if (!contains(after, update)) throw new Error('it was taken, but is not there')
    return { ...told, outcome: 'moved', ...compare(after, update) }
  } catch (error) {
    return { ...told, outcome: 'failed', why: error.message }
  }
}

function readable (updates) {
  try {
    return join(updates)
  } catch (error) {
    throw new Error(`not a Yjs update v1 (${error.message})`)
  }
}

/** Whether the target has more, and if it has not, whether it shows the same. */
function compare (state, update) {
  const hasMore = !contains(update, state)
  if (!hasMore && print(state) !== print(update)) throw new Error('it is there, but shows something else')
  return { hasMore }
}
