// A client id proves nothing: clocks of somebody absent taken, an id squatted.

import { Author, missingIn, stateOf } from '../author.js'
import { awareness, update, updateMessage } from '../bytes.js'

const EDITS = 5

/** A client that has written, and writes on while it is offline. */
async function victim (a, n) {
  const author = new Author(a.port, 'y-websocket', a.same, `victim${n}-`)
  await author.connect()
  for (let n = 0; n < EDITS; n++) author.write()
  for (let left = 100; left > 0 && author.saved < EDITS; left--) await a.sleep(20)
  author.disconnect()
  // Until the server has heard of it.
  await a.sleep(300)
  return author
}

export const identity = [
  {
    number: 3,
    name: 'clocks-taken',
    what: "an update of 20 bytes takes an absent author's next clocks, 5 or 100,000",
    attack: async (a) => {
      let [acked, lost, told, count] = [0, 0, 0, 0]
      while (!a.isOver) {
        const author = await victim(a, count++)
        const attacker = await a.join(a.same)
        const { id } = author
        // More clocks than the author has edits, and just as many.
        const taken = count % 2 === 0 ? 100_000 : EDITS
        attacker.send(updateMessage(update([[id, EDITS, 1, out => out.byte(0x81).uint(id, EDITS - 1, taken)]])))
        await a.sleep(300)
        for (let n = 0; n < EDITS; n++) author.write()
        await author.connect()
        await a.sleep(1_500)
        const state = await stateOf(a.port, a.same)
        acked += author.saved
        told += author.refused > 0 ? 1 : 0
        const gone = missingIn(state, author.label, author.written).filter(n => n < author.saved).length
        lost += gone
        author.disconnect()
        attacker.end()
        a.lose(gone, author.saved)
      }
      a.say(`of ${acked} edits said to be saved ${lost} are gone; ${told} of ${count} authors were told`, lost > 0)
    },
    isCounting: true
  },
  {
    number: 4,
    name: 'id-squatted',
    what: 'a bot announces the id of somebody whose socket broke, and stays',
    attack: async (a) => {
      let [unseen, told, count, slowest] = [0, 0, 0, 0]
      const bots = []
      while (!a.isOver) {
        const author = await victim(a, `squatted${count++}`)
        const bot = await a.join(a.same)
        bots.push(bot)
        bot.send(awareness([[author.id, 1_000, '{"bot":1}']]))
        await a.sleep(100)
        const began = performance.now()
        await author.connect()
        for (let n = 0; n < EDITS; n++) author.write()
        let missing
        do {
          await a.sleep(50)
          missing = missingIn(await stateOf(a.port, a.same), author.label, author.written).length
        } while (missing > 0 && performance.now() - began < 5_000)
        slowest = Math.max(slowest, performance.now() - began)
        unseen += missing
        told += author.refused > 0 ? 1 : 0
        author.disconnect()
      }
      a.say(`of ${count * EDITS} edits after the return ${unseen} are not seen within 5 s, the slowest after ${slowest.toFixed(0)} ms; ${told} of ${count} authors were told`, unseen > 0 && told < count)
    },
    isCounting: true
  }
]
