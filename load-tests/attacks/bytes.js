// Messages and updates byte by byte, as no stock client writes them: docs/PROTOCOL.md, "Messages", and Yjs' update v1.

/** Bytes that grow. */
export class Bytes {
  #buffer
  #length = 0

  constructor (capacity = 256) {
    this.#buffer = Buffer.allocUnsafe(capacity)
  }

  #room (more) {
    if (this.#length + more <= this.#buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + more))
    this.#buffer.copy(larger, 0, 0, this.#length)
    this.#buffer = larger
  }

  get length () {
    return this.#length
  }

  byte (...values) {
    this.#room(values.length)
    for (const value of values) this.#buffer[this.#length++] = value
    return this
  }

  /** Each value as lib0 writes a `varUint`, up to 2^53 - 1. */
  uint (...values) {
    for (let value of values) {
      this.#room(8)
      while (value > 127) {
        this.#buffer[this.#length++] = (value % 128) | 128
        value = Math.floor(value / 128)
      }
      this.#buffer[this.#length++] = value
    }
    return this
  }

  raw (bytes) {
    this.#room(bytes.length)
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
    return this
  }

  bytes (bytes) {
    return this.uint(bytes.length).raw(bytes)
  }

  string (string) {
    return this.bytes(Buffer.from(string))
  }

  end () {
    return this.#buffer.subarray(0, this.#length)
  }
}

/** Reads what `Bytes` writes. */
export class Cursor {
  constructor (buffer, at = 0) {
    this.buffer = buffer
    this.at = at
  }

  get isAtEnd () {
    return this.at >= this.buffer.length
  }

  uint () {
    let [value, factor] = [0, 1]
    for (;;) {
      if (this.isAtEnd) throw new RangeError('ends within a number')
      const byte = this.buffer[this.at++]
      value += (byte & 127) * factor
      if (byte < 128) return value
      factor *= 128
    }
  }

  bytes () {
    const length = this.uint()
    return this.buffer.subarray(this.at, (this.at += length))
  }
}

const sync = kind => body => new Bytes(body.length + 16).uint(0, kind).bytes(body).end()

export const syncStep1 = sync(0)
export const syncStep2 = sync(1)
export const updateMessage = sync(2)
export const EMPTY = Buffer.from([0])
export const queryAwareness = Buffer.from([3])

/** `entries`: `[client, clock, JSON]`. */
export function awareness (entries) {
  const body = new Bytes(64).uint(entries.length)
  for (const [client, clock, state] of entries) body.uint(client, clock).string(state)
  return new Bytes(body.length + 16).uint(1).bytes(body.end()).end()
}

export function stateVector (clocks) {
  const body = new Bytes().uint(clocks.length)
  for (const [client, clock] of clocks) body.uint(client, clock)
  return body.end()
}

/**
 * An update v1. `sections`: `[client, first clock, how many structs, (out, n) => writes struct n]`; `deleted`: `[client, how many ranges,
 * (out, n) => writes clock and length of range n]`.
 */
export function update (sections, deleted = []) {
  const out = new Bytes(1024).uint(sections.length)
  for (const [client, clock, count, write] of sections) {
    out.uint(count, client, clock)
    for (let n = 0; n < count; n++) write(out, n)
  }
  out.uint(deleted.length)
  for (const [client, count, write] of deleted) {
    out.uint(client, count)
    for (let n = 0; n < count; n++) write(out, n)
  }
  return out.end()
}

/** Text at the front of the root "r". */
export const rootText = text => out => out.byte(0x04).uint(1).string('r').string(text)
/** Text behind the item `client`/`clock`. */
export const textAfter = (client, clock, text) => out => out.byte(0x84).uint(client, clock).string(text)
/** One deleted item behind the item 1/0: with small ids the smallest there is, 4 bytes. */
export const deletedAfterFirst = out => out.byte(0x81, 1, 0, 1)
/** The value `text` of `key` in the root map "w". */
export const entry = (key, text) => out => out.byte(0x28).uint(1).string('w').string(key).uint(1).byte(119).string(text)
