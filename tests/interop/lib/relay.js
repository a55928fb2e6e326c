// A TCP relay in front of a server that counts what a client uploads, and how often it connects.

import { connect, createServer } from 'node:net'

/** Relays to `server` until test `t` ends. */
export async function openRelay (t, server) {
  const target = new URL(server.http)
  const sockets = new Set()
  const relay = { uploaded: 0, connects: 0 }
  const listener = createServer(client => {
    relay.connects++
    const upstream = connect(Number(target.port), target.hostname)
    client.on('data', data => { relay.uploaded += data.length })
    for (const [from, into] of [[client, upstream], [upstream, client]]) {
      sockets.add(from)
      from.pipe(into)
      from.on('error', () => into.destroy())
      from.on('close', () => { into.destroy(); sockets.delete(from) })
    }
  })
  await new Promise(resolve => listener.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    listener.close()
  })
  relay.origin = `ws://127.0.0.1:${listener.address().port}`
  relay.ws = `${relay.origin}/ws/default`
  return relay
}
