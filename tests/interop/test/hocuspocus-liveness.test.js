// A provider without presence closes its socket itself when it hears nothing for 30 s: with any server but one that sends heartbeats, for
// ever and again.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { freshRoom } from '../lib/clients.js'
import { Line, providers } from '../lib/hocuspocus.js'
import { Server } from '../lib/server.js'
import { sleep } from '../lib/wait.js'

/** More than twice what a provider waits for, and than the server does. */
const WATCHED = 70_000

let server
before(async () => { server = await Server.shared() })
after(() => server.stop())

describe('for 70 s of silence', { concurrency: providers.length * 3 }, () => {
  for (const version of providers) {
    const watch = async (t, options) => {
      const line = Line.open(t, version, `${server.origin}/hocuspocus`)
      const member = line.join(freshRoom(), options)
      await member.saved()
      if (options.awareness === undefined) member.show(null)
      await sleep(WATCHED)
      assert.deepEqual([line.opened, line.closes], [1, []])
      assert.ok(line.heartbeats >= 3, `${line.heartbeats} heartbeats`)
      member.map.set('still', 'here')
      await member.saved()
    }
    test(`${version.name} with awareness: null stays connected`, t => watch(t, { awareness: null }))
    test(`${version.name} that shows nothing of itself stays connected`, t => watch(t, {}))
  }
})
