// A WebSocket client without a library: it can say half a message, read nothing, and costs the machine little. Its mask is zero, so that
// one buffer serves any number of sockets.

import { connect } from 'node:net'

const frameHead = (length, first) => {
  const head = length < 126 ? Buffer.alloc(6) : length < 65_536 ? Buffer.alloc(8) : Buffer.alloc(14)
  head[0] = first
  if (length < 126) {
    head[1] = 0x80 | length
  } else if (length < 65_536) {
    head[1] = 0x80 | 126
    head.writeUInt16BE(length, 2)
  } else {
    head[1] = 0x80 | 127
    head.writeBigUInt64BE(BigInt(length), 2)
  }
  return head
}

const BINARY = 0x82
const UNFINISHED = 0x02
const PONG = 0x8a

/** A server that does not answer is given up. */
const OPENS_WITHIN = 5_000

export class Socket {
  /** The address from which this process connects: shares of the server are by address. */
  static from = '127.0.0.1'

  isOpen = false
  closed = false
  /** The status line of an answer that is not 101. */
  refusal = null
  onMessage = () => {}
  onClose = () => {}
  #waiting = Buffer.alloc(0)
  #chunks = []
  #missing = 0

  /** Resolves once the server answered: `isOpen` says how. `isDeaf`: nothing behind the answer's head is read. */
  static open (port, path, { headers = {}, isDeaf = false } = {}) {
    const socket = new Socket()
    return new Promise(resolve => {
      const tcp = socket.tcp = connect({ port, host: '127.0.0.1', localAddress: Socket.from })
      tcp.setNoDelay(true)
      tcp.on('error', () => {})
      tcp.on('connect', () => {
        const lines = { Host: `127.0.0.1:${port}`, Upgrade: 'websocket', Connection: 'Upgrade', 'Sec-WebSocket-Version': 13, 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==', ...headers }
        tcp.write(`GET ${path} HTTP/1.1\r\n${Object.entries(lines).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`)
      })
      const late = setTimeout(() => tcp.destroy(), OPENS_WITHIN)
      let head = Buffer.alloc(0)
      tcp.on('data', chunk => {
        if (socket.isOpen) return socket.#take(chunk)
        head = Buffer.concat([head, chunk])
        const end = head.indexOf('\r\n\r\n')
        if (end < 0) return
        clearTimeout(late)
        socket.isOpen = head.subarray(0, 13).toString() === 'HTTP/1.1 101 '
        if (!socket.isOpen) socket.refusal = head.subarray(0, head.indexOf('\r\n')).toString()
        if (isDeaf) tcp.pause()
        resolve(socket)
        if (socket.isOpen) socket.#take(head.subarray(end + 4))
      })
      tcp.on('close', () => {
        clearTimeout(late)
        socket.closed = true
        socket.isOpen = false
        resolve(socket)
        socket.onClose()
      })
    })
  }

  /** Resolves once the kernel has it. */
  send (payload) {
    return this.#write(frameHead(payload.length, BINARY), payload)
  }

  /** The beginning of a message that may be continued for ever. */
  begin (payload) {
    return this.#write(frameHead(payload.length, UNFINISHED), payload)
  }

  pong () {
    return this.#write(frameHead(0, PONG))
  }

  end () {
    this.tcp.destroy()
  }

  #write (...parts) {
    if (this.closed) return Promise.resolve()
    this.tcp.cork()
    const last = parts.pop()
    for (const part of parts) this.tcp.write(part)
    // Settled by the close, too: Node calls back with an error.
    const written = new Promise(resolve => this.tcp.write(last, () => resolve()))
    this.tcp.uncork()
    return written
  }

  #take (chunk) {
    this.#chunks.push(chunk)
    this.#missing -= chunk.length
    if (this.#missing > 0) return
    let buffer = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks)
    this.#chunks = []
    for (;;) {
      if (buffer.length < 2) { this.#missing = 2 - buffer.length; break }
      const short = buffer[1] & 127
      const headLength = short < 126 ? 2 : short === 126 ? 4 : 10
      if (buffer.length < headLength) { this.#missing = headLength - buffer.length; break }
      const length = short < 126 ? short : short === 126 ? buffer.readUInt16BE(2) : Number(buffer.readBigUInt64BE(2))
      if (buffer.length < headLength + length) { this.#missing = headLength + length - buffer.length; break }
      const payload = buffer.subarray(headLength, headLength + length)
      const opcode = buffer[0] & 15
      if (opcode === 9) this.#write(frameHead(payload.length, PONG), payload)
      else if (opcode === 8) { this.code = payload.length >= 2 ? payload.readUInt16BE(0) : 1005; this.tcp.end() }
      else if (opcode <= 2) this.onMessage(payload)
      buffer = buffer.subarray(headLength + length)
    }
    if (buffer.length > 0) this.#chunks.push(buffer)
  }
}
