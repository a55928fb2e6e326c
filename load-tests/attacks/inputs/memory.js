// Memory and disk: much of a little from each of many, none of it read or finished.

import { awareness, Bytes, queryAwareness, rootText, stateVector, syncStep1, update, updateMessage } from '../bytes.js'

export const MIB = 1 << 20
export const times = (count, one) => Array.from({ length: count }, (_, n) => one(n))

/** A text of some MiB as one struct. */
export const text = (client, bytes) => updateMessage(update([[client, 0, 1, rootText('x'.repeat(bytes))]]))

/** A room with a document of `count` texts of 13 MiB. */
export async function fill (a, room, count) {
  const socket = await a.join(room)
  for (let n = 1; n <= count; n++) await socket.send(text(n, 13 * MIB))
  await a.sleep(1_500)
  return socket
}

/** 131,000 clients with a shared type each, 1.3 MB. */
export const crowd = first => updateMessage(update(times(131_000, n => [first + 130_999 - n, 0, 1, out => out.byte(0x07, 1, 1, 114, 0)])))

/** Presence of 1,024 ids that nobody owns. */
export const strangers = awareness(times(1_024, n => [n + 1, 1, JSON.stringify({ s: 'x'.repeat(4_000) })]))

export const memory = [
  {
    number: 7,
    name: 'unfinished-messages',
    what: '100 sockets, a message of 16 MiB each, but for its last byte',
    attack: async (a) => {
      const most = Buffer.alloc(16 * MIB - 1)
      const sockets = await Promise.all(times(100, n => a.join(a.own(n))))
      await Promise.all(sockets.map(socket => socket.begin(most)))
      await a.steadily(0.2, () => sockets.forEach(socket => socket.pong()))
    }
  },
  {
    number: 8,
    name: 'states-for-the-deaf',
    what: '60 sockets that do not read ask for another state each of 39 MiB',
    setup: a => fill(a, a.own('large'), 3),
    attack: async (a) => {
      const sockets = await Promise.all(times(60, () => a.join(a.own('large'), { isDeaf: true })))
      sockets.forEach((socket, n) => socket.send(syncStep1(stateVector([[1, n + 1]]))))
      await a.steadily(0.2, () => sockets.forEach(socket => socket.pong()))
    }
  },
  {
    number: 9,
    name: 'answers-not-read',
    what: '40 requests for a state of 39 MiB each, whose answers are not read',
    setup: a => fill(a, a.own('large'), 3),
    attack: async (a) => {
      for (let n = 0; n < 40; n++) {
        const tcp = await a.plain()
        tcp.pause()
        const vector = stateVector([[1, n + 1]]).toString('base64url')
        tcp.write(`GET ${a.dashboard(a.own('large'), `/state?sv=${vector}`)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`)
      }
    }
  },
  {
    number: 10,
    name: 'plain-connections',
    what: '2,000 connections of one address that say nothing',
    attack: async (a) => {
      const connections = await Promise.all(times(2_000, () => a.plain()))
      await a.pause(1_000)
      a.say(`${connections.filter(tcp => !tcp.isGone).length} of 2,000 are held after a second`)
    }
  },
  {
    number: 11,
    name: 'rooms-of-crowds',
    what: '30 rooms of 131,000 clients with a shared type each, 39 MB in all',
    attack: async (a) => {
      const message = crowd(1)
      for (let n = 0; n < 30 && !a.isOver; n++) await (await a.join(a.own(n))).send(message)
    }
  },
  {
    number: 12,
    name: 'open-rooms-that-grow',
    what: '25 rooms that are opened first, then 30 MiB in each',
    attack: async (a) => {
      const sockets = await Promise.all(times(25, n => a.join(a.own(n))))
      const messages = [text(1, 15 * MIB), text(2, 15 * MIB)]
      await Promise.all(sockets.map(async socket => { for (const message of messages) await socket.send(message) }))
    }
  },
  {
    number: 13,
    name: 'written-and-deleted',
    what: '5 editors write 1 MiB and delete it again, as fast as they may',
    attack: async (a) => {
      const letters = 'x'.repeat(MIB)
      await Promise.all(times(5, async n => {
        const socket = await a.join(a.own(n))
        for (let turn = 0; !a.isOver && !socket.closed; turn++) {
          const deleted = turn === 0 ? [] : [[1, 1, out => out.uint((turn - 1) * MIB, MIB)]]
          await socket.send(updateMessage(update([[1, turn * MIB, 1, rootText(letters)]], deleted)))
        }
      }))
    }
  },
  {
    number: 23,
    name: 'said-before-a-token',
    what: '67 MB said before a token in the Hocuspocus dialect, to the brim',
    attack: async (a) => {
      let n = 0
      for (const [count, size] of [[80, 950_000], [10, 100_000], [15, 10_000], [15, 1_000], [20, 100], [20, 10]]) {
        const message = text(1, size)
        for (let left = count; left > 0 && !a.isOver; left--) {
          await (await a.hocuspocus()).send(Buffer.concat([new Bytes().string(a.own(n++)).end(), message]))
        }
      }
    }
  },
  {
    number: 27,
    name: 'presence-for-the-deaf',
    what: '100 sockets that do not read ask 6 times for the presence of 1,024 ids',
    setup: async (a) => {
      const socket = await a.join(a.same)
      await socket.send(strangers)
      await a.sleep(500)
      return socket
    },
    attack: async (a) => {
      const sockets = await Promise.all(times(100, () => a.join(a.same, { isDeaf: true })))
      for (const socket of sockets) for (let n = 0; n < 6; n++) socket.send(queryAwareness)
    }
  }
]
