// The examples as a reader runs them: started by their command, in two browsers, against a server.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { build } from '../../../examples/node_modules/esbuild/lib/main.js'
import { Server } from '../../../tests/interop/lib/server.js'
import { eventually } from '../../../tests/interop/lib/wait.js'
import { atEnd } from '../lib/at-end.js'
import { run, visit } from '../lib/example.js'
import { closeBrowser } from '../lib/people.js'

const file = path => new URL(`../../../${path}`, import.meta.url)

/** A machine that does other things as well is slow, and no less right. */
const PATIENCE = { timeout: 20_000 }

let server
let listen

before(async () => {
  server = await Server.start()
  listen = new URL(server.http).host
})
after(async () => {
  await closeBrowser()
  await server.stop()
})

/** Two who have an example open, both live. */
async function two (t, name, live = '#state[data-good=true]') {
  const url = await run(t, name, listen)
  const pages = await Promise.all([visit(t, url, listen), visit(t, url, listen)])
  await Promise.all(pages.map(page => page.locator(live).waitFor(PATIENCE)))
  return pages
}

describe('the twelve lines', () => {
  const lines = 'examples/twelve-lines/main.js'

  test('are those of the README', async () => {
    const readme = await readFile(file('README.md'), 'utf8')
    const code = /^```js\n(.*?)^```$/ms.exec(readme)?.[1]
    assert.equal(code, await readFile(file(lines), 'utf8'), `the README's first JavaScript differs from ${lines}`)
    assert.equal(code.trimEnd().split('\n').length, 12)
  })

  test('do what they say, in two browsers', async t => {
    const { outputFiles } = await build({ entryPoints: [file(lines).pathname], bundle: true, format: 'esm', write: false })
    const page = createServer((request, answer) => {
      const isScript = request.url === '/main.js'
      answer.setHeader('content-type', isScript ? 'text/javascript' : 'text/html')
      answer.end(isScript ? outputFiles[0].contents : '<!doctype html><link rel="icon" href="data:,"><script type="module" src="main.js"></script>')
    })
    await new Promise(resolve => page.listen(0, '127.0.0.1', resolve))
    atEnd(t, () => page.close())
    const url = `http://127.0.0.1:${page.address().port}/`
    const said = await Promise.all([0, 1].map(async () => {
      const lines = []
      const tab = await visit(t, 'about:blank', listen)
      tab.on('console', async message => { lines.push(await message.args()[0]?.jsonValue().catch(() => null)) })
      await tab.goto(url)
      return lines
    }))
    await eventually(() => said.every(lines => lines.some(line => line?.sales?.options?.value === 1200)), { within: PATIENCE.timeout, what: 'the widget is there' })
    await eventually(() => said.every(lines => lines.some(line => Array.isArray(line) && line.length === 2 && line.every(({ user }) => user?.name === 'Ada'))), { within: PATIENCE.timeout, what: 'both see two people' })
    const answer = await fetch(`${server.http}/api/dashboards/default/my-room`)
    assert.deepEqual(await answer.json(), { widgets: { sales: { type: 'number', title: 'Sales', options: { value: 1200, unit: '€' } } } })
  })
})

describe('the example', () => {
  test('starts a server when there is none', async t => {
    const probe = createServer().listen(0, '127.0.0.1')
    await new Promise(resolve => probe.once('listening', resolve))
    const { port } = probe.address()
    await new Promise(resolve => probe.close(resolve))
    const url = await run(t, 'y-websocket', `127.0.0.1:${port}`, { YDASH_STORE: 'memory:' })
    assert.ok((await fetch(`http://127.0.0.1:${port}/readyz`)).ok)
    assert.match(await (await fetch(url)).text(), /<h1>Sketch<\/h1>/)
  })

  test('y-websocket: what one draws the other sees, undo takes back only one’s own', async t => {
    const [ada, bob] = await two(t, 'y-websocket')
    const draw = async (page, y) => {
      const box = await page.locator('#board').boundingBox()
      await page.mouse.move(box.x + 100, box.y + y)
      await page.mouse.down()
      await page.mouse.move(box.x + 400, box.y + y + 60, { steps: 8 })
      await page.mouse.up()
    }
    const strokes = page => page.locator('.stroke').evaluateAll(all => all.map(line => line.getAttribute('points')))
    const agree = count => eventually(async () => {
      const [one, other] = await Promise.all([strokes(ada), strokes(bob)])
      assert.equal(one.length, count)
      assert.deepEqual(one, other)
      return true
    }, { within: PATIENCE.timeout, what: `both see ${count} strokes` })
    await draw(ada, 100)
    await agree(1)
    await bob.locator('.pen').waitFor(PATIENCE)
    await draw(bob, 300)
    await agree(2)
    const [, theirs] = await strokes(ada)
    await ada.getByRole('button', { name: 'Undo' }).click()
    await agree(1)
    assert.deepEqual(await strokes(ada), [theirs])
  })

  test('hocuspocus: cells merge, the total is everybody’s, and saved means saved', async t => {
    const [ada, bob] = await two(t, 'hocuspocus')
    const cells = page => page.locator('#lines input').evaluateAll(inputs => inputs.map(input => input.value))
    await ada.getByRole('button', { name: 'Add a line' }).click()
    await ada.getByLabel('What').fill('Servers')
    await bob.getByLabel('Cost').fill('1200')
    await ada.getByLabel('Who').fill('Ada')
    await eventually(async () => {
      for (const page of [ada, bob]) assert.deepEqual(await cells(page), ['Servers', 'Ada', '1200'])
      return true
    }, { within: PATIENCE.timeout, what: 'both have the line' })
    await ada.getByTitle('is here').waitFor(PATIENCE)
    assert.equal(await ada.locator('#total').textContent(), '1,200')
    for (const page of [ada, bob]) await page.getByText('saved', { exact: true }).waitFor(PATIENCE)
    const answer = await fetch(`${server.http}/api/dashboards/default/budget`)
    assert.equal((await answer.json()).lines[0].cost, 1200)
    await bob.getByTitle('Remove this line').click()
    await ada.locator('#lines tr').waitFor({ state: 'detached', ...PATIENCE })
  })

  test('tiptap: two write in one text and see each other’s carets', async t => {
    const [ada, bob] = await two(t, 'tiptap')
    const [hers, his] = [ada.getByLabel('Notes'), bob.getByLabel('Notes')]
    await hers.click()
    await ada.getByRole('button', { name: 'H1' }).click()
    await ada.keyboard.type('Decided')
    await bob.getByRole('heading', { name: 'Decided' }).waitFor(PATIENCE)
    await bob.locator('.collaboration-carets__label').waitFor(PATIENCE)
    await his.click()
    await bob.keyboard.press('Control+End')
    await bob.keyboard.press('Enter')
    await Promise.all([ada.keyboard.type(' today'), bob.keyboard.type('To ship it')])
    const text = page => page.locator('.tiptap').evaluate(editor => {
      const copy = editor.cloneNode(true)
      for (const caret of copy.querySelectorAll('.collaboration-carets__caret')) caret.remove()
      return [...copy.children].map(({ textContent }) => textContent.replaceAll('\u2060', ''))
    })
    await eventually(async () => {
      for (const page of [ada, bob]) assert.deepEqual(await text(page), ['Decided today', 'To ship it'])
      return true
    }, { within: PATIENCE.timeout, what: 'both have both lines' })
  })

  test('react: goals, locks, filters and undo show at the other', async t => {
    const [ada, bob] = await two(t, 'react', '.state[data-good=true]')
    const goal = (page, name) => page.getByRole('article', { name })
    await ada.getByRole('button', { name: 'Begin with three' }).click()
    await goal(bob, 'Works in a tunnel').waitFor(PATIENCE)

    // A drag: locked while it lasts, then one step of undo.
    const head = await goal(ada, 'Sign up in one minute').locator('h2').boundingBox()
    await ada.mouse.move(head.x + 20, head.y + 8)
    await ada.mouse.down()
    await ada.mouse.move(head.x + 20, head.y + 8 + 3 * 96, { steps: 6 })
    await goal(bob, 'Sign up in one minute').getByText('is at it').waitFor(PATIENCE)
    await ada.mouse.up()
    await goal(bob, 'Sign up in one minute').getByText('is at it').waitFor({ state: 'detached', ...PATIENCE })
    const row = page => goal(page, 'Sign up in one minute').evaluate(element => element.style.gridRow)
    await eventually(async () => (await row(bob)).startsWith('4'), { within: PATIENCE.timeout, what: 'the goal is in the fourth row' })
    await bob.locator('.cursor').waitFor(PATIENCE)

    await goal(bob, 'Search that finds').getByLabel('Percent').fill('90')
    await goal(ada, 'Search that finds').getByText('90 %').waitFor(PATIENCE)
    await ada.getByRole('button', { name: 'Undo' }).click()
    await eventually(async () => (await row(bob)).startsWith('1'), { within: PATIENCE.timeout, what: 'the drag is undone' })
    assert.equal(await goal(bob, 'Search that finds').locator('output').textContent(), '90 %', 'undo took back what the other did')

    // A filter is one's own until it is shared.
    await ada.getByRole('button', { name: 'App', exact: true }).click()
    await goal(ada, 'Search that finds').waitFor({ state: 'detached' })
    assert.equal(await bob.getByRole('article').count(), 3)
    await ada.getByRole('button', { name: 'Show everybody' }).click()
    await goal(bob, 'Search that finds').waitFor({ state: 'detached', ...PATIENCE })
  })
})
