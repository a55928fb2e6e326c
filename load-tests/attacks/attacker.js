// Plays one attack in a process of its own, which gives way to the witnesses. Tells its parent: ready (to begin), said (what it found).

import { request } from 'node:http'
import { connect } from 'node:net'
import { setPriority } from 'node:os'
import { attacks } from './inputs/list.js'
import { Session } from './author.js'
import { Socket } from './socket.js'

const { name, port, seconds, room, folder, from } = JSON.parse(process.argv[2])
setPriority(10)
// One attacker is one address, and another one than that of the witnesses.
Socket.from = from

let [isOver, finish] = [false, null]
const over = new Promise(resolve => { finish = resolve })
const endAttack = () => {
  isOver = true
  finish()
}

const a = {
  port,
  seconds,
  folder,
  /** The room in which a pair of witnesses works. */
  same: room,
  /** A room of the attacker's own. */
  own: hint => `${room}-${name}-${hint}`,
  /** What it found, and whether that is harm. */
  say: (text, isHarm = false) => process.send({ said: isHarm ? `**${text}**` : text, isHarm }),
  /** Edits of an honest client that were said to be saved and are gone. */
  lose: (lost, of) => process.send({ lost, of }),
  get isOver () { return isOver },
  /** Resolves early when the attack ends. */
  pause: ms => new Promise(resolve => {
    const timer = setTimeout(resolve, ms)
    over.then(() => { clearTimeout(timer); resolve() })
  }),
  sleep: ms => new Promise(resolve => setTimeout(resolve, ms)),
  /** A session that speaks the y-websocket dialect and ignores what it hears. */
  join: (room, options) => Socket.open(port, `/ws/default/${room}`, options),
  hocuspocus: () => Socket.open(port, '/hocuspocus'),
  session: (room, dialect = 'y-websocket', options) => Session.open(port, dialect, room, options),
  plain: () => new Promise(resolve => {
    const tcp = connect({ port, host: '127.0.0.1', localAddress: from })
    tcp.on('connect', () => resolve(tcp))
    tcp.on('error', () => {})
    tcp.on('close', () => { tcp.isGone = true; resolve(tcp) })
  }),
  /** The status of a request, or 0. */
  ask: (method, path, { headers, body } = {}) => new Promise(resolve => {
    const asked = request({ host: '127.0.0.1', port, localAddress: from, method, path, headers, agent: false }, answer => {
      answer.resume()
      answer.on('close', () => resolve(answer.statusCode))
    })
    asked.on('error', () => resolve(0))
    asked.end(body)
  }),
  dashboard: (room, rest = '') => `/api/dashboards/default/${room}${rest}`,
  /** Calls `act` at a steady rate until the attack ends. */
  steadily: async (perSecond, act) => {
    const began = performance.now()
    for (let n = 0; !isOver; n++) {
      const wait = began + n * 1000 / perSecond - performance.now()
      if (wait > 1) await a.pause(wait)
      if (isOver) return
      await act(n)
    }
  }
}

const attack = attacks.find(one => one.name === name)
process.on('disconnect', () => process.exit())
process.on('message', async message => {
  if (message.attack) {
    setTimeout(endAttack, seconds * 1000)
    try {
      // One that counts what it finds may end its last turn.
      const found = await Promise.race([attack.attack(a, kept), attack.isCounting ? over.then(() => a.sleep(10_000)) : over])
      await over
      if (attack.check) await Promise.race([attack.check(a, kept, found), a.sleep(25_000)])
    } catch (error) {
      a.say(`attacker failed: ${error.message}`)
    }
    process.send({ over: true })
  } else if (message.leave) {
    process.exit()
  }
})
let kept
try {
  kept = await attack.setup?.(a)
} catch (error) {
  a.say(`setup failed: ${error.message}`)
}
process.send({ ready: true })
