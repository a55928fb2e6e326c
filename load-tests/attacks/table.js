// Figures as a table of Markdown, and what is right about them.

/** What docs/SECURITY.md promises. */
const ELSE_MAX = 100
const SAME_MAX = 500
const HEALTH_MAX = 500
/** Of all cores: a third of what two workers may use. */
const CORES_MAX = 2 / 3
/** What a process may keep beyond what it had, for what allocators keep. */
const KEPT_MAX = 128
/** Of lines below the table. */
const COLUMNS_MAX = 140

const ms = time => (time >= 10_000 ? `${(time / 1000).toFixed(0)} s` : time >= 1_000 ? `${(time / 1000).toFixed(1)} s` : `${time.toFixed(0)} ms`)
const delays = ({ max, missing }) => `${ms(max)}${missing > 0 ? `, ${missing} never` : ''}`
const sum = (list, one) => list.reduce((total, each) => total + one(each), 0)

/** Whether more memory is in use ten seconds later than allocators keep. */
const isKept = ({ memory }) => memory.after > memory.before + Math.max(KEPT_MAX, memory.max / 4)

/** What is not as it was, in the last seconds of the time afterwards. */
function amiss ({ settled, memory, hasEnded, endings, looked }) {
  const found = []
  if (hasEnded) found.push('process ended')
  const [elsewhere, same] = settled.pairs
  if (elsewhere.edits.max > SAME_MAX || elsewhere.edits.missing > 0) found.push(`else ${delays(elsewhere.edits)}`)
  if (same.edits.max > 2 * SAME_MAX || same.edits.missing > 0) found.push(`same ${delays(same.edits)}`)
  if (settled.health.max > HEALTH_MAX) found.push(`/healthz ${ms(settled.health.max)}`)
  if (settled.newcomers.refused + settled.newcomers.missing > 0) found.push('newcomers')
  if (settled.rest.refused + settled.rest.missing > 0) found.push('REST')
  if (isKept({ memory })) found.push(`${memory.after.toFixed(0)} MiB`)
  if (looked === null) found.push('does not start again')
  for (const { room, isReadable } of endings) if (!isReadable) found.push(`${room} cannot be read`)
  for (const { room, isReadable } of looked ?? []) if (!isReadable) found.push(`${room} cannot be read after a restart`)
  return found
}

const lost = one => one.lost + sum(one.endings, ending => ending.lost) + sum(one.looked ?? [], ending => ending.lost)
const refused = one => sum(one.endings, ending => ending.refused)

export const format = {
  /** One line for who watches. */
  line: one => `   else ${delays(one.else)}, same ${delays(one.same)}, presence ${delays(one.shown)}, /healthz ${delays(one.health)}, newcomers ${delays(one.newcomers)} (${one.newcomers.refused} refused, ${one.early.refused + one.early.missing} without token), REST ${delays(one.rest)} (${one.rest.refused} refused), ` +
    `cores ${one.cores.toFixed(2)} / ${one.coresMax.toFixed(2)}, MiB ${one.memory.before.toFixed(0)} ${one.memory.max.toFixed(0)} ${one.memory.after.toFixed(0)}, files ${one.files.before} ${one.files.max} ${one.files.after}, disk +${one.disk.toFixed(0)} MiB, lost ${lost(one)}, refused ${refused(one)}, closes ${sum(one.endings, e => e.closes)}, witnesses late ${ms(one.late)}; amiss: ${amiss(one).join(', ') || 'nothing'}` +
    one.said.map(text => `\n   ${text}`).join(''),

  isHarmless: one => !one.failed && !one.hasHarmed && one.else.max < ELSE_MAX && one.same.max < SAME_MAX && one.same.missing + one.else.missing === 0 &&
    one.coresMax <= CORES_MAX && one.newcomers.refused + one.newcomers.missing + one.early.refused + one.early.missing === 0 && lost(one) === 0 && amiss(one).length === 0,

  /** `before`: figures of another binary by number, which stand first in each cell. A figure that misses its goal is bold. */
  table: (figures, before, elsewhere) => {
    const rows = [
      ['#', 'attack', 'else', 'same', '/healthz', 'cores, worst second', 'MiB at most', 'MiB after 10 s', 'files', 'saved and lost'],
      Array(10).fill('---')
    ]
    const list = []
    const sorted = [...figures, ...elsewhere].sort((a, b) => a.number - b.number)
    for (const one of sorted) {
      const { number, name, what } = one
      if (elsewhere.includes(one)) {
        rows.push([number, name, ...Array(7).fill(''), 'shown by tests'])
        list.push(`${number}: ${what}.`)
        continue
      }
      const old = before[number]
      const both = (cell, isMissed = () => false) => [old, one].filter(each => each !== undefined)
        .map(each => (each.failed ? 'failed' : isMissed(each) ? `**${cell(each)}**` : cell(each))).join(' → ')
      rows.push([
        number,
        name,
        both(each => delays(each.else), each => each.else.max >= ELSE_MAX),
        both(each => delays(each.same), each => each.same.max >= SAME_MAX),
        both(each => delays(each.health), each => each.health.max >= HEALTH_MAX),
        both(each => each.coresMax.toFixed(1), each => each.coresMax > CORES_MAX),
        both(each => each.memory.max.toFixed(0)),
        both(each => each.memory.after.toFixed(0), isKept),
        both(each => String(each.files.max)),
        both(each => String(lost(each)), each => lost(each) > 0)
      ])
      list.push([`${number}: ${what}.`, ...(old ? [`Before: ${findings(old)}. Now: ${findings(one)}.`] : [`Found: ${findings(one)}.`])].join(' '))
    }
    return [...rows.map(row => `| ${row.join(' | ')} |`), '', ...list.map(wrap)].join('\n')
  }
}

/** The other effects of an attack, or `nothing`. */
function findings (one) {
  if (one.failed) return `it could not be played (${one.failed.slice(0, 80)})`
  const newcomers = one.newcomers.refused + one.newcomers.missing
  const early = one.early.refused + one.early.missing
  const later = amiss(one)
  return [
    ...(later.length > 0 ? [`ten seconds later not as it was: ${later.join(', ')}`] : []),
    ...(newcomers > 0 ? [`${newcomers} of ${one.newcomers.count} newcomers not let in`] : []),
    ...(early > 0 ? [`${early} of ${one.early.count} who have no token yet not let in`] : []),
    ...(one.rest.max > 1_000 || one.rest.refused > 0 ? [`REST took up to ${delays(one.rest)}, ${one.rest.refused} of ${one.rest.count} refused`] : []),
    ...(refused(one) > 0 ? [`${refused(one)} edits of witnesses refused`] : []),
    ...(one.disk > 100 ? [`${one.disk.toFixed(0)} MiB written to disk`] : []),
    ...one.said
  ].join('; ') || 'nothing'
}

/** An item of a list, in lines of a bounded length. */
function wrap (text) {
  const lines = ['-']
  for (const word of text.split(' ')) {
    if (lines.at(-1).length + 1 + word.length > COLUMNS_MAX) lines.push(' ')
    lines.push(`${lines.pop()} ${word}`)
  }
  return lines.join('\n')
}
