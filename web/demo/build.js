// Bundles the pages into ../dist, which is committed: the server embeds it, and nobody needs Node to build ydash.
//
// The same sources and lock file give the same bytes on every machine: scripts/test builds again and compares.

import { build } from 'esbuild'
import { createHash } from 'node:crypto'
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const dist = new URL('../dist/', import.meta.url)

const pages = [
  { name: 'app', path: '/', html: 'index.html' },
  { name: 'inspector', path: '/inspector', html: 'inspector.html' }
]

const types = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  woff2: 'font/woff2',
  svg: 'image/svg+xml'
}

await rm(dist, { recursive: true, force: true })
await mkdir(dist)
const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: pages.map(({ name }) => ({ in: `src/${name}/main.tsx`, out: name })),
  outdir: '../dist',
  entryNames: '[name]',
  chunkNames: 'chunk-[hash]',
  assetNames: 'chunk-[name]-[hash]',
  loader: { '.woff2': 'file' },
  bundle: true,
  splitting: true,
  minify: true,
  metafile: true,
  format: 'esm',
  target: 'es2022',
  charset: 'utf8',
  jsx: 'automatic',
  conditions: ['source', 'module'],
  define: { 'process.env.NODE_ENV': '"production"' },
  legalComments: 'none'
})

for (const { name, html } of pages) {
  const output = Object.entries(metafile.outputs).find(([path]) => path === `../dist/${name}.js`)?.[1]
  const chunks = output.imports.filter(({ kind }) => kind === 'import-statement').map(({ path }) => path.replace('../dist', ''))
  const preloads = chunks.sort().map(path => `<link rel="modulepreload" href="${path}">`)
  const source = await readFile(new URL(`src/${html}`, import.meta.url), 'utf8')
  await writeFile(new URL(html, dist), source.replace('<!-- preloads -->', preloads.join('\n  ')))
}
await writeFile(new URL('icon.svg', dist), await readFile(new URL('src/icon.svg', import.meta.url)))

// What a reload without a network needs; another build is another cache.
const cached = (await readdir(dist)).filter(file => !file.startsWith('inspector') && file !== 'index.html').sort()
const version = createHash('sha256')
for (const file of [...cached, 'index.html']) version.update(await readFile(new URL(file, dist)))
const worker = await readFile(new URL('src/sw.js', import.meta.url), 'utf8')
await writeFile(new URL('sw.js', dist), worker.replace('/* version */', version.digest('hex').slice(0, 16)).replace('/* files */', cached.map(file => `'/${file}'`).join(', ')))

const assets = []
for (const file of (await readdir(dist)).sort()) {
  const hash = createHash('sha256').update(await readFile(new URL(file, dist))).digest('hex').slice(0, 16)
  const path = pages.find(({ html }) => html === file)?.path ?? `/${file}`
  assets.push(`    Asset {
        path: "${path}",
        content_type: "${types[file.split('.').at(-1)]}",
        tag: "\\"${hash}\\"",
        is_hashed: ${file.startsWith('chunk-')},
        bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/${file}")),
    },`)
  // What browsers ask for that were not told of any icon.
  if (file === 'icon.svg') assets.push(assets.at(-1).replace('"/icon.svg"', '"/favicon.ico"'))
}
await writeFile(new URL('assets.rs', dist), `// Made by web/demo/build.js.\n&[\n${assets.join('\n')}\n]\n`)
