// Work: a byte that costs milliseconds, on the task that serves a room or on one of the few workers that serve all.

import { awareness, Cursor, deletedAfterFirst, EMPTY, queryAwareness, rootText, stateVector, syncStep1, textAfter, update, updateMessage } from '../bytes.js'
import { crowd, MIB, strangers, times } from './memory.js'

/** As many of the smallest structs as a message holds: 4 bytes each, all behind the item 1/0. */
const smallest = (client, bytes = 16 * MIB - 100) => updateMessage(update([[client, 0, Math.floor(bytes / 4), deletedAfterFirst]]))

export const first = updateMessage(update([[1, 0, 1, rootText('x')]]))

/** Ids that come and go within one message. */
const flicker = (pairs, first) => awareness(times(pairs * 2, n => (n % 2 === 0 ? [first + (n >> 1), 1, '1'] : [first + (n >> 1), 2, 'null'])))

/** Each item names as its right neighbour a letter further off, so that its place takes a walk: JSON gives up after 2^27 steps. */
const dear = count => updateMessage(update([[1, 0, count + 1, (out, n) => {
  if (n === 0) rootText('e'.repeat(count))(out)
  else out.byte(0x44).uint(1, n - 1).string('x')
}]]))

export const work = [
  {
    number: 1,
    name: 'presence-that-comes-and-goes',
    what: 'presence of 8,000 ids with a state and then none, 136 KB a second, in two rooms',
    attack: async (a) => {
      const sockets = [await a.join(a.same), await a.join(a.own('room'))]
      await a.steadily(1, n => { for (const socket of sockets) socket.send(flicker(8_000, 1_000_000 * (n + 1))) })
    }
  },
  {
    number: 2,
    name: 'created-from-a-list',
    what: 'PUT of a list of 10,000 ones, 20 KB, one after the other',
    attack: async (a) => {
      const body = JSON.stringify({ a: Array(10_000).fill(1) })
      for (let n = 0; !a.isOver; n++) await a.ask('PUT', a.dashboard(a.own(n)), { body })
    }
  },
  {
    number: 15,
    name: 'held-and-read-again',
    what: "an update of 2.5 M deletions waits for a client who makes 20 edits a second",
    setup: async (a) => {
      const holder = await a.join(a.same)
      await holder.send(updateMessage(update([], [[77, 2_500_000, (out, n) => out.uint(n * 2, 1)]])))
      await a.sleep(1_000)
      return holder
    },
    attack: async (a) => {
      const socket = await a.join(a.same)
      await a.steadily(20, n => { socket.send(updateMessage(update([[77, n, 1, n === 0 ? rootText('x') : textAfter(77, n - 1, 'x')]]))) })
    }
  },
  {
    number: 16,
    name: 'held-for-everybody',
    what: '200 sessions hold an update that waits for 131,000 clients, 770 KB each',
    attack: async (a) => {
      const message = updateMessage(update([], times(131_000, n => [1_131_000 - n, 1, out => out.uint(0, 1)])))
      for (let n = 0; n < 200 && !a.isOver; n++) await (await a.join(a.same)).send(message)
    }
  },
  {
    number: 17,
    name: 'presence-asked-for',
    what: '8 sockets in two rooms ask for the presence of 1,024 ids, 4 MB, 500 times a second',
    attack: async (a) => {
      const sockets = []
      for (const room of [a.same, a.own('room')]) {
        await (await a.join(room)).send(strangers)
        for (let n = 0; n < 4; n++) sockets.push(await a.join(room))
      }
      await a.steadily(500, () => { for (const socket of sockets) socket.send(queryAwareness) })
    }
  },
  {
    number: 18,
    name: 'compaction-on-demand',
    what: 'two documents of 62 MB of the smallest structs, a deletion of 20 bytes a second each',
    setup: a => Promise.all(times(2, async n => {
      const socket = await a.join(a.own(n))
      await socket.send(updateMessage(update([[1, 0, 1, rootText('x'.repeat(1_000))]])))
      for (let client = 2; client <= 5; client++) await socket.send(smallest(client, 15.5 * MIB))
      // Until it is taken.
      await a.sleep(12_000)
      return socket
    })),
    attack: (a, sockets) => a.steadily(1, n => { for (const socket of sockets) socket.send(updateMessage(update([], [[1, 1, out => out.uint(2 * n + 1, 1)]]))) })
  },
  {
    number: 19,
    name: 'differences-asked-for',
    what: '20 MB of the smallest structs in the room, of which REST is asked for a difference 4 times a second',
    setup: async (a) => {
      const socket = await a.join(a.same)
      await socket.send(first)
      await socket.send(smallest(2, 15 * MIB))
      await socket.send(smallest(3, 5 * MIB))
      await a.sleep(4_000)
      return socket
    },
    attack: a => a.steadily(4, n => { a.ask('GET', a.dashboard(a.same, `/state?sv=${stateVector([[2, n + 1]]).toString('base64url')}`)) })
  },
  {
    number: 20,
    name: 'smallest-structs',
    what: '2 sessions send messages of 16 MiB of the smallest structs',
    attack: async (a) => {
      const message = smallest(2)
      await Promise.all(times(2, async n => {
        for (let turn = 0; !a.isOver; turn++) {
          const socket = await a.join(a.own(`${n}-${turn}`))
          if (!socket.isOpen) { await a.pause(500); continue }
          await socket.send(first)
          for (let sent = 0; sent < 3 && !a.isOver; sent++) await socket.send(message)
          socket.end()
        }
      }))
    }
  },
  {
    number: 21,
    name: 'json-that-gives-up',
    what: 'JSON of 40 dashboards of 170 KB that take 2^27 steps, asked for 4 times a second',
    setup: async (a) => {
      const message = dear(24_000)
      for (let n = 0; n < 40; n++) {
        const socket = await a.join(a.own(n))
        await socket.send(message)
        await a.sleep(50)
      }
    },
    attack: a => a.steadily(4, n => { a.ask('GET', a.dashboard(a.own(n % 40))) })
  },
  {
    number: 24,
    name: 'deletions-in-parts',
    what: 'a million parted deletions, then 200 edits a second of 16 more each at their front',
    setup: async (a) => {
      const socket = await a.join(a.same)
      await socket.send(updateMessage(update([[1, 0, 1, rootText('x'.repeat(2_100_000))]])))
      await socket.send(updateMessage(update([], [[1, 1_000_000, (out, n) => out.uint(100_000 + n * 2, 1)]])))
      await a.sleep(2_000)
      return socket
    },
    attack: (a, socket) => a.steadily(200, n => { socket.send(updateMessage(update([], [[1, 16, (out, at) => out.uint((n * 16 + at) * 2 % 100_000, 1)]]))) })
  },
  {
    number: 25,
    name: 'tail-rescanned',
    what: '14 MB of letters under a base of 30 MB, then 200 edits of 20 bytes a second',
    setup: async (a) => {
      const socket = await a.join(a.same)
      await socket.send(updateMessage(update([[1, 0, 1, rootText('x')]])))
      const letters = (client, count) => updateMessage(update([[client, 0, count, (out, n) => (n === 0 ? textAfter(1, 0, 'x') : textAfter(1, 0, 'y'))(out)]]))
      await socket.send(letters(2, 3_000_000))
      await socket.send(letters(3, 3_000_000))
      await a.sleep(8_000)
      await socket.send(letters(4, 2_800_000))
      await a.sleep(2_000)
      return socket
    },
    attack: (a, socket) => a.steadily(200, n => { socket.send(updateMessage(update([[1, n + 1, 1, textAfter(1, n, 'z')]]))) })
  },
  {
    number: 26,
    name: 'crowded-room-joined',
    what: 'a room of 131,000 clients, 1.2 MB, that is joined 50 times a second',
    setup: async (a) => {
      const socket = await a.join(a.same)
      await socket.send(crowd(1_000))
      await a.sleep(2_000)
      return socket
    },
    attack: a => a.steadily(50, async () => {
      const socket = await a.join(a.same)
      if (socket.isOpen) socket.send(syncStep1(EMPTY))
      setTimeout(() => socket.end(), 500)
    })
  },
  {
    number: 31,
    name: 'coming-back-again-and-again',
    what: 'one of 1,200 members who are shown comes back 10 times a second',
    setup: async (a) => {
      for (let n = 0; n < 1_200; n++) {
        const socket = await a.join(a.same)
        let clock = 1
        const show = () => socket.send(awareness([[10_000 + n, clock, '{"user":{"name":"somebody"}}']]))
        // As stock clients do: who hears that it is gone says that it is not.
        socket.onMessage = message => {
          if (message[0] !== 1 || message.length > 64 || !message.includes('null')) return
          const entry = new Cursor(message, 3)
          if (entry.uint() !== 10_000 + n) return
          clock = entry.uint() + 1
          show()
        }
        show()
      }
      await a.sleep(1_000)
    },
    attack: a => a.steadily(10, async () => {
      const socket = await a.join(a.same)
      socket.send(awareness([[9_000, 1, '{"user":{"name":"again"}}']]))
      await a.pause(50)
      socket.end()
    })
  }
]
