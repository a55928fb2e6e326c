// An example, started as its README says, and people who have its page open.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { eventually } from '../../../tests/interop/lib/wait.js'
import { atEnd } from './at-end.js'
import { launch } from './people.js'

/** Where the examples look for their server. */
const ADDRESS = '127.0.0.1:1234'

const RUN = fileURLToPath(new URL('../../../examples/run', import.meta.url))

/** Runs an example; ended when test `t` ends. Returns the page's address. */
export async function run (t, name, listen, environment = {}) {
  const child = spawn(process.execPath, [RUN, name, '--serve=127.0.0.1:0'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, YDASH_LISTEN: listen, ...environment }
  })
  let output = ''
  let isOver = false
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => { output += chunk })
  const over = new Promise(resolve => {
    child.once('close', () => {
      isOver = true
      resolve()
    })
  })
  const kill = () => { child.kill('SIGKILL') }
  process.once('exit', kill)
  atEnd(t, async () => {
    child.kill('SIGTERM')
    // What serves the page ends with its input.
    child.stdin.end()
    await over
    process.off('exit', kill)
  })
  const url = await eventually(() => {
    if (isOver) return 'over'
    return /Local:\s+(http:\S+)/.exec(output.replaceAll(/\x1b\[\d+m/g, ''))?.[1]
  }, { within: 60_000, what: `${name} serves its page` })
  assert.notEqual(url, 'over', `${name} ended at once:\n${output}`)
  return url
}

/** Somebody in a browser of their own who has a page open that looks for its server at the address of the README. */
export async function visit (t, url, listen, options = {}) {
  const context = await (await launch()).newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: 'reduce', ...options })
  // The page stays as it is; its sockets go to the server under test.
  await context.addInitScript(({ from, to }) => {
    window.WebSocket = class extends WebSocket {
      constructor (url, ...rest) {
        super(String(url).replace(from, to), ...rest)
      }
    }
  }, { from: `//${ADDRESS}`, to: `//${listen}` })
  const page = await context.newPage()
  const problems = []
  page.on('pageerror', error => problems.push(error.stack ?? error.message))
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type())) problems.push(message.text())
  })
  atEnd(t, async () => {
    await context.close()
    assert.deepEqual(problems, [], 'the page complained')
  })
  await page.goto(url)
  return page
}
