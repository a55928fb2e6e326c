// A dashboard that is spoilt for good: nobody may write to it any more, not even what makes room.

import { Author } from '../author.js'
import { deletedAfterFirst, rootText, update, updateMessage } from '../bytes.js'
import { first } from './work.js'
import { MIB } from './memory.js'

/** Whether an owner may still delete what is there, and then write. */
async function check (a, ranges) {
  const owner = new Author(a.port, 'y-websocket', a.same, 'owner-')
  await owner.connect()
  const say = async message => {
    let answer
    const { session } = owner
    if (!session) return 'not connected'
    const hear = session.onMessage
    const answered = new Promise(resolve => { session.onMessage = frame => { hear(frame); if (frame[0] === 8) resolve(frame[1] === 1 ? 'taken' : 'refused') } })
    session.send(message)
    answer = await Promise.race([answered, a.sleep(10_000).then(() => 'not answered')])
    session.onMessage = hear
    return answer
  }
  await a.sleep(1_000)
  const deletion = await say(updateMessage(update([], ranges)))
  await a.sleep(2_500)
  const edit = await say(updateMessage(update([[owner.id, 0, 1, rootText('after')]])))
  a.say(`the owner's deletion of everything is ${deletion}, an edit after it ${edit}`, deletion !== 'taken')
  owner.disconnect()
}

const X = 2 ** 52
const LETTERS = 3_200_000

export const spoiling = [
  {
    number: 5,
    name: 'grows-when-compacted',
    what: '3 messages, 11 MB: letters under an 8-byte id, every other one deleted, which grow to 85 MB',
    attack: async (a) => {
      const socket = await a.join(a.same)
      await socket.send(updateMessage(update([[X - 1, 0, 1, rootText('ab')]])))
      await socket.send(updateMessage(update([[X, 0, 1, out => out.byte(0xc4).uint(X - 1, 0, X - 1, 1).string('x'.repeat(LETTERS))]])))
      await socket.send(updateMessage(update([], [[X, LETTERS / 2, (out, n) => out.uint(n * 2, 1)]])))
    },
    check: a => check(a, [[X, 1, out => out.uint(0, LETTERS)], [X - 1, 1, out => out.uint(0, 2)]])
  },
  {
    number: 6,
    name: 'full-of-what-is-deleted',
    what: '67 MB of deleted items, 4 bytes each, from one session',
    attack: async (a) => {
      const socket = await a.join(a.same)
      await socket.send(first)
      for (let client = 2; client <= 5; client++) {
        await socket.send(updateMessage(update([[client, 0, 4 * MIB - 50, deletedAfterFirst]])))
      }
      // To the brim.
      for (let bytes = 512; bytes > 8; bytes /= 2) await socket.send(updateMessage(update([[6, 1_024 - 2 * bytes, 1, rootText('x'.repeat(bytes))]])))
    },
    check: a => check(a, [[1, 1, out => out.uint(0, 1)]])
  }
]
