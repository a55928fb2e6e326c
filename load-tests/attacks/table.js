// Figures as a table of Markdown, and what is right about them.

/** What docs/SECURITY.md promises. */
const ELSE_MAX = 100
const SAME_MAX = 500
const HEALTH_MAX = 500
/** Of all cores: a third of what two workers may use. */
const CORES_MAX = 2 / 3
/** What a process may keep beyond what it had, for what allocators keep. */
const KEPT_MAX = 128

const ms = time => (time >= 10_000 ? `${(time / 1000).toFixed(0)} s` : time >= 1_000 ? `${(time / 1000).toFixed(1)} s` : `${time.toFixed(0)} ms`)
const delays = ({ max, missing }) => `${ms(max)}${missing > 0 ? `, ${missing} never` : ''}`
const sum = (list, one) => list.reduce((total, each) => total + one(each), 0)

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
  if (memory.after > memory.before + Math.max(KEPT_MAX, memory.max / 4)) found.push(`${memory.after.toFixed(0)} MiB`)
  if (looked === null) found.push('does not start again')
  for (const { room, isReadable } of endings) if (!isReadable) found.push(`${room} cannot be read`)
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

  /** `before`: figures of another binary by number, which stand first in each cell. */
  table: (figures, before, elsewhere) => {
    const rows = [
      ['#', 'attack', 'else', 'same', '/healthz', 'cores, worst second', 'MiB at most', 'MiB after 10 s', 'files', 'saved and lost', 'amiss after 10 s, and what it found'],
      Array(11).fill('---')
    ]
    for (const one of figures) {
      const old = before[one.number]
      const both = cell => [old, one].filter(each => each !== undefined).map(each => (each.failed ? 'failed' : cell(each))).join(' → ')
      rows.push([
        one.number,
        `\`${one.name}\`: ${one.what}`,
        both(each => delays(each.else)),
        both(each => delays(each.same)),
        both(each => delays(each.health)),
        both(each => each.coresMax.toFixed(1)),
        both(each => each.memory.max.toFixed(0)),
        both(each => each.memory.after.toFixed(0)),
        both(each => String(each.files.max)),
        both(each => String(lost(each))),
        both(each => [
          ...amiss(each),
          ...(each.newcomers.refused + each.newcomers.missing > 0 ? [`newcomers not let in: ${each.newcomers.refused + each.newcomers.missing} of ${each.newcomers.count}`] : []),
          ...(each.early.refused + each.early.missing > 0 ? [`without a token: ${each.early.refused + each.early.missing} of ${each.early.count} not let in`] : []),
          ...(each.rest.max > 1_000 || each.rest.refused > 0 ? [`REST ${delays(each.rest)}, ${each.rest.refused} refused`] : []),
          ...(refused(each) > 0 ? [`edits refused: ${refused(each)}`] : []),
          ...(each.disk > 100 ? [`disk +${each.disk.toFixed(0)} MiB`] : []),
          ...each.said
        ].join('; ') || 'nothing')
      ])
    }
    for (const one of elsewhere) rows.push([one.number, `\`${one.name}\`: ${one.what}`, ...Array(8).fill(''), 'shown by tests'])
    rows.splice(2, rows.length - 2, ...rows.slice(2).sort((a, b) => a[0] - b[0]))
    return rows.map(row => `| ${row.join(' | ')} |`).join('\n')
  }
}
