// Where documents go: a running ydash over its REST API, or, on the way back, another server over WebSocket.

import { missing } from './content.js'
import { fromDashboard } from './names.js'
import { connect, namesAt } from './wire.js'

const EMPTY = Uint8Array.of(0, 0)

/** How often a request is tried that the server could not serve just then. */
const ATTEMPTS = 8

/** The target behind `url`. */
export function target (url, options) {
  return /^https?:/.test(url) ? new Ydash(url, options) : new Peer(url, options)
}

class Ydash {
  #base
  #headers

  constructor (url, { headers = {} } = {}) {
    this.#base = `${url.replace(/\/+$/, '')}/api/dashboards/`
    this.#headers = headers
  }

  /** All of a dashboard, as one Yjs update v1. */
  async state (dashboard) {
    const response = await this.#request(dashboard, 'state')
    return new Uint8Array(await response.arrayBuffer())
  }

  /** Adds what `state` lacks of `update`, and returns when it is durable. */
  async add (dashboard, state, update) {
    await this.#request(dashboard, 'updates', { method: 'POST', body: missing(state, update) })
  }

  async #request (dashboard, what, init = {}) {
    // An encoded slash is one of the name, and never ends in a route.
    const slash = dashboard.indexOf('/')
    const [workspace, name] = [dashboard.slice(0, slash), dashboard.slice(slash + 1)].map(encodeURIComponent)
    const url = `${this.#base}${workspace}/${name}/${what}`
    for (let attempt = 1; ; attempt++) {
      const { response, failure } = await fetch(url, { ...init, headers: this.#headers }).then(
        response => ({ response }),
        error => ({ failure: `ydash cannot be reached: ${error.cause?.message || error.cause?.code || error.message}` })
      )
      if (response?.ok) return response
      const mayPass = failure !== undefined || response.status === 503 || response.status === 408 || response.status === 429
      if (!mayPass || attempt === ATTEMPTS) throw new Error(failure ?? await refusal(response))
      const after = Number(response?.headers.get('retry-after')) * 1000
      await new Promise(resolve => setTimeout(resolve, after || Math.min(100 * 2 ** attempt, 5_000)))
    }
  }
}

async function refusal (response) {
  const text = await response.text()
  try {
    const { error, message, limit } = JSON.parse(text)
    return `${error}: ${message}${limit ? ` (${limit.name} is ${limit.value})` : ''}`
  } catch {
    return `${response.status} ${text.slice(0, 200)}`
  }
}

/** Any server that clients can write to. It says nothing of what is on its disk. */
class Peer {
  #url
  #access
  #workspace

  constructor (url, { token, protocol, workspace } = {}) {
    if (!/^(hocuspocus\+)?wss?:/.test(url)) throw new Error(`--to takes http://, ws:// or hocuspocus+ws://, not ${url}`)
    this.#url = url
    this.#access = { token, protocol }
    this.#workspace = workspace
  }

  async state (dashboard) {
    return await this.#with(dashboard, wire => wire.pull()) ?? EMPTY
  }

  async add (dashboard, state, update) {
    await this.#with(dashboard, wire => wire.push(update))
  }

  async #with (dashboard, what) {
    const name = fromDashboard(dashboard, namesAt(this.#url), this.#workspace)
    const wire = await connect(this.#url, name, this.#access)
    try {
      return await what(wire)
    } finally {
      wire.close()
    }
  }
}
