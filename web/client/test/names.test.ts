import { describe, expect, it } from 'vitest'
import { createClient } from '../src/index.js'

const id = (name: string, workspace?: string): string =>
  createClient({ url: 'ws://memory', WebSocket: null, persist: false, ...(workspace === undefined ? {} : { workspace }) })
    .dashboard(name, { connect: false }).id

describe('a name', () => {
  it('means the dashboard that it means to every other client', () => {
    for (const [name, expected] of [
      ['sales', 'default/sales'],
      ['team/sales', 'team/sales'],
      ['default/team/sales', 'team/sales'],
      ['my project/board', 'default/my project/board'],
      ['user:1/notes', 'default/user:1/notes'],
      ['/q83v=', 'default//q83v='],
      ['q83v//ASN/', 'q83v//ASN/'],
      ['team/', 'default/team/'],
      ['__proto__', 'default/__proto__'],
      ['a\\b', 'default/a\\b']
    ] as const) expect(id(name)).toBe(expected)
  })

  it('is in the workspace of the client, unless it says another one', () => {
    expect(id('sales', 'acme')).toBe('acme/sales')
    expect(id('team/sales', 'acme')).toBe('team/sales')
    expect(id('default/sales', 'acme')).toBe('default/sales')
    expect(id('my project/board', 'acme')).toBe('acme/my project/board')
  })

  it('that no URL can say throws', () => {
    for (const name of ['', '..', 'a/../b', 'a/.']) expect(() => id(name)).toThrow(RangeError)
  })
})

describe('an address', () => {
  it('with a dashboard or a workspace in it throws: what is meant would be looked for elsewhere', () => {
    for (const url of ['ws://host/ws/acme', 'ws://host/ws', 'wss://host/ws/', 'localhost:1234', 'host', '']) {
      expect(() => createClient({ url }), url).toThrow('workspace the workspace')
    }
    for (const url of ['ws://host', 'http://host:1/', 'https://host/app', 'https://host/app/ws']) expect(() => createClient({ url }), url).not.toThrow()
  })
})
