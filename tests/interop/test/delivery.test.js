// Whoever delivers an edit makes nobody its author: relays, meshes, shared templates, shared ids and pages mounted twice, as users of
// other servers have reported them, with every published provider of both dialects.

import { after, before, describe, test } from 'node:test'
import { histories } from '../lib/histories.js'
import { Server } from '../lib/server.js'
import { addresses, versions } from '../lib/users.js'

let server
before(async () => { server = await Server.shared() })
after(() => server.stop())

for (const version of versions) {
  describe(version.name, { concurrency: true }, () => {
    for (const [name, play] of Object.entries(histories)) test(name, t => play(t, addresses(server), version))
  })
}
