// @hocuspocus/server as its documentation starts it: no persistence, its default batching.
import { Server } from '@hocuspocus/server'

const server = new Server({
  address: process.env.HOST ?? '127.0.0.1',
  port: Number(process.env.PORT ?? 1234),
  quiet: true
})

await server.listen()
