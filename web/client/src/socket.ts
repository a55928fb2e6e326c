import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import * as Y from 'yjs'

const SYNC = 0
const AWARENESS = 1
const SYNC_STEP_2 = 1
const UPDATE = 2

/** What a connection needs to know of its socket. */
export interface SocketWatcher {
  /** Edits were handed over for sending; they may wait for up to a batch interval. */
  taken(): void
  /** A frame with edits went out: the server answers it with one ack. */
  sent(kind: 'difference' | 'update'): void
  /** The id under which this client announces itself. */
  ownId(): number
}

/**
 * A WebSocket class for y-websocket's provider that sends less and tells more.
 *
 * Updates within one batch interval go as one frame; the first after a quiet moment goes at once. What a stock provider repeats
 * of other people's presence stays here. Everything else passes unchanged and in order.
 */
export function watchingSocket(Base: typeof WebSocket, watcher: SocketWatcher, batchInterval: number): typeof WebSocket {
  return class extends Base {
    #waiting: Uint8Array[] = []
    #timer: ReturnType<typeof setTimeout> | undefined
    #sentAt = -Infinity

    override send(data: string | ArrayBufferLike | Blob | ArrayBufferView): void {
      if (!(data instanceof Uint8Array)) return super.send(data as never)
      if (data[0] === SYNC && data[1] === UPDATE) return this.#update(data)
      if (data[0] === AWARENESS && !announces(data, watcher.ownId())) return
      if (data[0] === SYNC) this.flush()
      super.send(data as never)
      if (data[0] === SYNC && data[1] === SYNC_STEP_2) {
        watcher.taken()
        watcher.sent('difference')
      }
    }

    override close(code?: number, reason?: string): void {
      this.flush()
      super.close(code, reason)
    }

    /** Sends what waits. */
    flush(): void {
      clearTimeout(this.#timer)
      this.#timer = undefined
      const waiting = this.#waiting
      if (waiting.length === 0) return
      this.#waiting = []
      // A socket that broke meanwhile: the next connection's handshake brings everything.
      if (this.readyState !== this.OPEN) return
      this.#sentAt = now()
      super.send((waiting.length === 1 ? waiting[0] : joined(waiting)) as never)
      watcher.sent('update')
    }

    #update(frame: Uint8Array): void {
      if (this.readyState !== this.OPEN) return
      this.#waiting.push(frame)
      watcher.taken()
      if (this.#timer !== undefined) return
      const due = this.#sentAt + batchInterval - now()
      if (due <= 0) this.flush()
      else this.#timer = setTimeout(() => { this.flush() }, due)
    }
  }
}

const now = (): number => performance.now()

function joined(frames: Uint8Array[]): Uint8Array {
  const update = Y.mergeUpdates(frames.map(frame => {
    const decoder = decoding.createDecoder(frame)
    decoder.pos = 2
    return decoding.readVarUint8Array(decoder)
  }))
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, SYNC)
  encoding.writeVarUint(encoder, UPDATE)
  encoding.writeVarUint8Array(encoder, update)
  return encoding.toUint8Array(encoder)
}

/** Whether an awareness frame speaks of `id`. Stock providers also send on what they hear of others. */
function announces(frame: Uint8Array, id: number): boolean {
  const decoder = decoding.createDecoder(frame)
  decoder.pos = 1
  const entries = decoding.createDecoder(decoding.readVarUint8Array(decoder))
  for (let left = decoding.readVarUint(entries); left > 0; left--) {
    const client = decoding.readVarUint(entries)
    decoding.readVarUint(entries)
    decoding.readVarString(entries)
    if (client === id) return true
  }
  return false
}
