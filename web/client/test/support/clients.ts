import { afterEach } from 'vitest'
import WebSocket from 'ws'
import { type Client, type ClientOptions, type Dashboard, createClient } from '../../src/index.js'
import { MemoryServer } from './memory.js'
import { eventually } from './wait.js'

const clients: Client[] = []

afterEach(() => {
  for (const client of clients.splice(0)) client.destroy()
})

/** A client that the test's end destroys. */
export function client(options: Partial<ClientOptions> & { readonly server?: MemoryServer } = {}): Client {
  const { server, ...rest } = options
  const made = createClient({
    url: 'http://memory',
    persist: false,
    storage: null,
    WebSocket: server?.WebSocket ?? WebSocket,
    ...rest
  })
  clients.push(made)
  return made
}

/** A dashboard on a server within this process. */
export function joined(server: MemoryServer, options: Partial<ClientOptions> = {}): Dashboard {
  return client({ server, ...options }).dashboard('test')
}

export function live(...dashboards: Dashboard[]): Promise<unknown> {
  return eventually(() => dashboards.every(({ status }) => status.get() === 'live'), 'all are live')
}

/** Every value that a readable takes, the first included. */
export function history<T>(readable: { get: () => T, subscribe: (listener: () => void) => unknown }): T[] {
  const values = [readable.get()]
  readable.subscribe(() => values.push(readable.get()))
  return values
}
