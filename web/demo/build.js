// Bundles the page into ../dist, which is committed: the server embeds it, and nobody needs Node to build ydash.

import { build } from 'esbuild'
import { copyFile, mkdir, rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const dist = new URL('../dist/', import.meta.url)

await rm(dist, { recursive: true, force: true })
await mkdir(dist)
await build({
  absWorkingDir: here,
  entryPoints: ['src/main.js'],
  outfile: '../dist/app.js',
  bundle: true,
  minify: true,
  format: 'iife',
  target: 'es2022',
  charset: 'utf8',
  legalComments: 'none'
})
await build({
  absWorkingDir: here,
  entryPoints: ['src/style.css'],
  outfile: '../dist/style.css',
  minify: true
})
await copyFile(new URL('src/index.html', import.meta.url), new URL('index.html', dist))
