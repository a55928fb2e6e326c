// A network that can be cut: a TCP relay in front of the server.

import { connect, createServer } from 'node:net'
import { atEnd } from './at-end.js'

export class Network {
  #sockets = new Set()
  #server
  #target
  isCut = false

  /** A relay to `server`, gone when test `t` ends. */
  static async to (t, server) {
    const network = new Network()
    network.#target = Number(new URL(server.http).port)
    network.#server = createServer(socket => network.#relay(socket))
    await new Promise(resolve => network.#server.listen(0, '127.0.0.1', resolve))
    atEnd(t, () => {
      network.cut()
      network.#server.close()
    })
    return network
  }

  get http () {
    return `http://127.0.0.1:${this.#server.address().port}`
  }

  /** Every connection breaks, and no other comes about. */
  cut () {
    this.isCut = true
    for (const socket of this.#sockets) socket.destroy()
  }

  mend () {
    this.isCut = false
  }

  #relay (socket) {
    if (this.isCut) return socket.destroy()
    const upstream = connect(this.#target, '127.0.0.1')
    for (const [one, other] of [[socket, upstream], [upstream, socket]]) {
      this.#sockets.add(one)
      one.setNoDelay(true)
      one.on('error', () => other.destroy())
      one.on('close', () => {
        this.#sockets.delete(one)
        other.destroy()
      })
      one.pipe(other)
    }
  }
}
