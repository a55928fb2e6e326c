// Mixed honest load with all attackers at once, one each, for some minutes: what was acknowledged is there, memory and descriptors are flat.

import { Server } from './server.js'

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
/** An attack ends after this long, and begins anew when all attackers have had the time. */
const TURN = 20
const SETUP_WITHIN = 60_000
const PAIRS = 6
const QUIET = 10_000
const WARM_UP = 60_000
/** Growth from the first third to the last that counts as flat, in parts of one. */
const FLAT = 1.2
/** MiB and descriptors below which nothing is said of growth. */
const SMALL = { memory: 64, files: 50 }

/** Plays on `binary` for `seconds`, and says whether all was well. `files`: attacks that need flags of their own do not take part. */
export async function soak (binary, seconds, attacks, Helper) {
  const server = await Server.start(binary)
  const { port } = server
  const taking = attacks.filter(({ flags, files }) => !flags && !files)
  const pairs = Array.from({ length: PAIRS * 2 }, (_, n) => ({ room: `honest-${n}`, dialect: n % 2 === 0 ? 'y-websocket' : 'hocuspocus' }))
  const witnesses = new Helper('witnesses.js', { port, pairs, cuts: true })
  let isOver = false
  let lost = 0
  const attacking = async attack => {
    for (let turn = 0; !isOver; turn++) {
      // Each in the room of an honest pair of its own, another each time.
      const room = `attacked-${attack.name}-${turn}`
      const beside = new Helper('witnesses.js', { port, pairs: [{ room, dialect: turn % 2 === 0 ? 'y-websocket' : 'hocuspocus' }] })
      const attacker = new Helper('attacker.js', { name: attack.name, port, seconds: TURN, room, folder: server.folder, from: `127.0.1.${attack.number}` })
      try {
        if (await attacker.ready(SETUP_WITHIN)) await attacker.asks({ attack: true }, 'over', (TURN + 20) * 1000)
        attacker.kill()
        const { endings = [] } = await beside.asks({ end: true }, 'endings', 30_000) ?? {}
        const gone = attacker.lost + endings.reduce((sum, ending) => sum + ending.lost, 0)
        if (gone > 0) console.log(`   ${attack.name}: ${gone} edits said to be saved are gone`)
        lost += gone
      } finally {
        attacker.kill()
        beside.kill()
      }
    }
  }
  try {
    await witnesses.ready(10_000)
    await sleep(3_000)
    const began = performance.now()
    witnesses.tell({ begin: 'soak' })
    const running = taking.map(attacking)
    // Some attackers take a while to prepare.
    await sleep(Math.min(WARM_UP, seconds * 1000 / 5))
    const figures = []
    for (let turn = 1; turn <= 3; turn++) {
      const from = performance.now()
      await sleep(seconds * 1000 / 3)
      figures.push({ ...server.between(from, performance.now()), memory: server.last.memory, files: server.last.files })
      const { cores, memory, memoryMax, files, filesMax } = figures.at(-1)
      console.log(`   after ${Math.round((performance.now() - began) / 1000)} s: ${cores.toFixed(2)} cores, ${memory.toFixed(0)} MiB (most ${memoryMax.toFixed(0)}), ${files} descriptors (most ${filesMax}), disk ${server.disk().toFixed(0)} MiB`)
    }
    isOver = true
    const seen = await witnesses.asks({ report: 'soak' }, 'pairs', 20_000)
    await Promise.all(running)
    await sleep(QUIET)
    const { memory, files } = server.last
    console.log(`   ${QUIET / 1000} s after the attackers left: ${memory.toFixed(0)} MiB, ${files} descriptors`)
    const { endings } = await witnesses.asks({ end: true }, 'endings', 60_000) ?? {}
    await server.kill()
    // It has a lot to read by now.
    await server.spawn({ within: 120_000 })
    const { looked } = await witnesses.asks({ look: endings?.filter(({ saved }) => saved > 0) ?? [] }, 'looked', 120_000) ?? {}
    if (!seen || !endings || !looked) {
      console.log(`   the witnesses did not tell what they ${seen ? endings ? 'found after a restart' : 'wrote' : 'saw'}`)
      return false
    }
    for (const pair of seen.pairs) console.log(`   ${pair.room} ${pair.dialect}: edits p99 ${pair.edits.p99.toFixed(0)} ms, at most ${pair.edits.max.toFixed(0)} ms, ${pair.edits.missing} never; presence at most ${pair.shown.max.toFixed(0)} ms`)
    const total = list => list.reduce((sum, ending) => sum + ending.lost, 0)
    lost += total(endings) + total(looked)
    const count = key => endings.reduce((sum, ending) => sum + ending[key], 0)
    console.log(`   honest edits: ${count('written')} written, ${count('saved')} said to be saved, ${count('refused')} refused, ${count('closes')} reconnects; /healthz at most ${seen.health.max.toFixed(0)} ms; REST at most ${seen.rest.max.toFixed(0)} ms, ${seen.rest.refused} of ${seen.rest.count} refused; newcomers ${seen.newcomers.refused + seen.newcomers.missing} of ${seen.newcomers.count} not let in`)
    const unreadable = [...endings, ...looked].filter(({ isReadable }) => !isReadable)
    for (const { room } of unreadable) console.log(`   ${room} cannot be read`)
    const [first, , third] = figures
    const isFlat = key => third[`${key}Max`] <= Math.max(first[`${key}Max`] * FLAT, first[`${key}Max`] + SMALL[key])
    console.log(`   ${lost} edits said to be saved are gone; memory ${isFlat('memory') ? 'flat' : 'GROWS'}, descriptors ${isFlat('files') ? 'flat' : 'GROW'}`)
    return lost === 0 && unreadable.length === 0 && isFlat('memory') && isFlat('files')
  } finally {
    witnesses.kill()
    await server.kill()
    server.remove()
  }
}
