// The package as somebody else gets it: packed, and installed where nothing else of this repository is.

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const run = promisify(execFile)
const here = fileURLToPath(new URL('..', import.meta.url))
const modules = fileURLToPath(new URL('../../node_modules', import.meta.url))

let project: string
let packed: string[]

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'ydash-package-'))
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', project], { cwd: here })
  // What the build prints comes first.
  const [{ filename, files }] = JSON.parse(stdout.slice(stdout.search(/^\[/m))) as [{ filename: string, files: { path: string }[] }]
  packed = files.map(({ path }) => path)
  const installed = join(project, 'node_modules/@ydash/client')
  await mkdir(installed, { recursive: true })
  await run('tar', ['xzf', join(project, filename), '-C', installed, '--strip-components=1'])
  // Everything but this package, as it is installed here.
  for (const name of await readdir(modules)) {
    if (name !== '@ydash') await symlink(join(modules, name), join(project, 'node_modules', name))
  }
  await writeFile(join(project, 'package.json'), '{ "type": "module" }')
}, 60_000)

afterAll(() => rm(project, { recursive: true, force: true }))

/** What the compiler has to say about `files`. */
async function compile(module: string, moduleResolution: string, files: Record<string, string>): Promise<string> {
  const compilerOptions = {
    module,
    moduleResolution,
    target: 'es2022',
    lib: ['es2022', 'dom', 'dom.iterable'],
    types: ['react'],
    jsx: 'react-jsx',
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    // Also what the package itself declares.
    skipLibCheck: false,
    noEmit: true
  }
  for (const [name, text] of Object.entries(files)) await writeFile(join(project, name), text)
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: Object.keys(files) }))
  const compiler = join(modules, 'typescript/bin/tsc')
  return run(process.execPath, [compiler, '-p', project]).then(({ stdout }) => stdout, ({ stdout }: { stdout: string }) => stdout)
}

const PAGE = `
import { COLORS, createClient, ReadOnlyError, type Dashboard, type Json, type Readable } from '@ydash/client'
import { DashboardProvider, useAwareness, useFilters, useReadable, useSaveState, useWidget, useWidgets } from '@ydash/client/react'
import type { Awareness } from 'y-protocols/awareness'
import type * as Y from 'yjs'

const client = createClient({ url: 'wss://dash.example', token: async () => 'secret' })
const dashboard: Dashboard = client.dashboard('team/sales')
export const doc: Y.Doc = dashboard.doc
export const title: Readable<Json | undefined> = { get: () => dashboard.meta.effective.get().title, subscribe: dashboard.meta.effective.subscribe }
export const isReadOnly = (error: unknown): boolean => error instanceof ReadOnlyError
function Count() {
  const count: number = useWidgets(all => Object.keys(all).length)
  const projects: readonly string[] | undefined = useFilters().values.projects
  const awareness: Awareness | null = useAwareness()
  return <p style={{ color: COLORS[0] }}>{count} {projects} {useWidget('a')?.title} {useSaveState()} {useReadable(title) as string} {awareness?.clientID}</p>
}
export const Page = () => <DashboardProvider client={client} id='team/sales'><Count /></DashboardProvider>
// @ts-expect-error What is internal is not there.
client.hold(dashboard)
`

describe('the package', () => {
  it('holds what is built, its sources and licences, and no tests', () => {
    expect(packed).toEqual(expect.arrayContaining(['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'dist/index.js', 'dist/index.d.ts', 'dist/react/index.js', 'dist/react/index.d.ts', 'src/index.ts']))
    expect(packed.filter(path => path.includes('test'))).toEqual([])
  })

  it.each([['esnext', 'bundler'], ['node16', 'node16'], ['nodenext', 'nodenext']])('has types for module %s, moduleResolution %s', async (module, resolution) => {
    expect(await compile(module, resolution, { 'page.tsx': PAGE })).toBe('')
  })

  it('has the names and types that the READMEs show', async () => {
    const files: Record<string, string> = {}
    for (const path of ['README.md', '../../README.md']) {
      const readme = await readFile(join(here, path), 'utf8')
      for (const [, type, code] of readme.matchAll(/^```(tsx?)\n(.*?)^```$/gms)) files[`${Object.keys(files).length}.${type}`] = `${code}\nexport {}\n`
    }
    expect(Object.keys(files)).toEqual(['0.ts', '1.tsx', '2.ts'])
    expect(await compile('esnext', 'bundler', files)).toBe('')
  })

  it('can be imported without a browser, and keeps no process', async () => {
    await writeFile(join(project, 'server.js'), `
      import { createElement } from 'react'
      import { renderToString } from 'react-dom/server'
      import { createClient } from '@ydash/client'
      import { DashboardProvider, useStatus } from '@ydash/client/react'
      const client = createClient({ url: 'http://127.0.0.1:1' })
      const Status = () => useStatus()
      console.log(renderToString(createElement(DashboardProvider, { client, id: 'a' }, createElement(Status))))
      client.dashboard('b', { connect: false }).meta.set({ title: 'made on a server' })
    `)
    const { stdout, stderr } = await run(process.execPath, ['server.js'], { cwd: project, timeout: 15_000 })
    expect([stdout, stderr]).toEqual(['connecting\n', ''])
  })
})
