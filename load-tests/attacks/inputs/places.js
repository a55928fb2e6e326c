// Places that all share: bodies, connections, descriptors, the pages of others, the disk of others.

import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { rootText, update } from '../bytes.js'
import { MIB, times } from './memory.js'

export const places = [
  {
    number: 22,
    name: 'bodies-not-finished',
    what: '9 bodies of 16 MiB, but for the last byte',
    attack: async (a) => {
      const most = Buffer.alloc(16 * MIB - 1)
      for (let n = 0; n < 9; n++) {
        const tcp = await a.plain()
        tcp.write(`POST ${a.dashboard(a.own(n), '/updates')} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${16 * MIB}\r\n\r\n`)
        tcp.write(most)
      }
    }
  },
  {
    number: 28,
    name: 'foreign-pages',
    what: 'a page of another origin opens a socket, sends simple requests, and reads by DNS rebinding; default settings',
    attack: async (a) => {
      const Origin = 'https://evil.example'
      const body = update([[5, 0, 1, rootText('x')]])
      const socket = await a.join(a.own('page'), { headers: { Origin } })
      const local = await a.join(a.own('page'), { headers: { Origin: 'http://localhost:5173' } })
      const post = await a.ask('POST', a.dashboard(a.own('page'), '/updates'), { headers: { Origin, 'Content-Type': 'text/plain' }, body })
      const stateless = await a.ask('POST', a.dashboard(a.own('page'), '/stateless'), { headers: { Origin, 'Content-Type': 'text/plain' }, body: 'x' })
      const rebound = await a.ask('GET', a.dashboard(a.same), { headers: { Host: 'evil.example' } })
      const metrics = await a.ask('GET', '/metrics', { headers: { Host: 'evil.example' } })
      a.say(`socket ${socket.isOpen ? 'opens' : socket.refusal}; POST updates ${post}, stateless ${stateless}; GET under another Host ${rebound}, /metrics ${metrics}; a developer's own page ${local.isOpen ? 'opens' : local.refusal}`,
        socket.isOpen || !local.isOpen || [post, stateless, rebound, metrics].some(status => status < 400))
    }
  },
  {
    number: 29,
    name: 'descriptors',
    what: '1,200 connections of one address to a process that may have 1,000 descriptors',
    files: 1_000,
    attack: async (a) => {
      await Promise.race([Promise.all(times(1_200, () => a.plain())), a.pause(3_000)])
      const ready = await Promise.race([fetch(`http://127.0.0.1:${a.port}/readyz`).then(answer => answer.status, () => 'refused'), a.sleep(4_000).then(() => 'hangs')])
      a.say(`/readyz ${ready}`, ready !== 200)
    }
  },
  {
    number: 34,
    name: 'read-by-local-users',
    what: 'the modes of the store under umask 022',
    attack: async (a) => {
      const open = []
      let count = 0
      const look = path => {
        count++
        const stat = statSync(path)
        if ((stat.mode & 0o077) !== 0) open.push(path)
        if (stat.isDirectory()) readdirSync(path).forEach(name => look(join(path, name)))
      }
      look(join(a.folder, 'store'))
      a.say(`${open.length} of ${count} files and folders may be read by others`, open.length > 0)
    }
  }
]
