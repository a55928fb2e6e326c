// One of several @hocuspocus/server nodes that talk over Redis, as its documentation starts it: no persistence.
import { Redis } from '@hocuspocus/extension-redis'
import { Server } from '@hocuspocus/server'

const server = new Server({
  address: process.env.HOST ?? '127.0.0.1',
  port: Number(process.env.PORT ?? 1234),
  quiet: true,
  extensions: [new Redis({ host: '127.0.0.1', port: Number(process.env.REDIS_PORT ?? 6379) })]
})

await server.listen()
