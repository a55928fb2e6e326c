// What the package adds to a page, minified and compressed; fails when a budget is passed.

import { build } from 'esbuild'
import { gzipSync } from 'node:zlib'
import { fileURLToPath } from 'node:url'

const KB = 1024
const here = fileURLToPath(new URL('..', import.meta.url))
const yjs = ['yjs', 'lib0/*', 'y-protocols/*', 'y-websocket', 'y-indexeddb', 'react']

/** Budgets in bytes. `own` leaves out what a Yjs application has anyway. */
const budgets = [
  { name: 'createClient, own code', entry: 'export { createClient } from "./src/index.ts"', external: yjs, max: 10 * KB },
  { name: 'createClient, with Yjs and all', entry: 'export { createClient } from "./src/index.ts"', external: [], max: 42 * KB },
  { name: 'hooks, own code', entry: 'export * from "./src/react/index.ts"', external: yjs, max: 2 * KB },
  { name: 'one hook, shaken', entry: 'export { useSaveState } from "./src/react/index.ts"', external: yjs, max: KB }
]

let isOver = false
for (const { name, entry, external, max } of budgets) {
  const { outputFiles } = await build({
    stdin: { contents: entry, resolveDir: here, loader: 'ts' },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    conditions: ['source', 'module'],
    external,
    write: false
  })
  const { length } = gzipSync(outputFiles[0].contents, { level: 9 })
  isOver ||= length > max
  console.log(`${length > max ? 'OVER' : 'ok  '}  ${(length / KB).toFixed(1).padStart(5)} of ${max / KB} KB  ${name}`)
}
if (isOver) process.exit(1)
