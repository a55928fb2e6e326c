// Data of one's own: pasted, typed, pushed by a program, fetched from elsewhere, worked out.

import assert from 'node:assert/strict'
import { exec } from 'node:child_process'
import { createServer } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import * as Y from 'yjs'
import { Server } from '../../../tests/interop/lib/server.js'
import { atEnd } from '../lib/at-end.js'
import { Mallory } from '../lib/mallory.js'
import { agreed, closeBrowser, Person } from '../lib/people.js'
import { eventually } from '../lib/wait.js'

const run = promisify(exec)
let server
let n = 0
const fresh = () => `own-data-${++n}`

before(async () => { server = await Server.start() })
after(async () => {
  await closeBrowser()
  await server.stop()
})

/** One or two people on a board with nothing on it. */
async function blank (t, names = ['Ada L'], options = {}) {
  const dashboard = fresh()
  const people = []
  for (const name of names) people.push(await (await Person.open(t, server.http, dashboard, { name, begin: 'blank', ...options })).settled())
  return [...people, dashboard]
}

/** Somebody else's server, which lets pages read it unless it is told not to. */
async function elsewhere (t, answer) {
  const asked = []
  const other = createServer((request, response) => {
    asked.push({ url: request.url, headers: request.headers })
    response.setHeader('access-control-allow-origin', '*')
    const { type = 'application/json', body } = answer(new URL(request.url, 'http://x'))
    response.setHeader('content-type', type)
    response.end(typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body))
  })
  await new Promise(resolve => other.listen(0, '127.0.0.1', resolve))
  atEnd(t, () => {
    other.closeAllConnections()
    other.close()
  })
  return { origin: `http://127.0.0.1:${other.address().port}`, asked }
}

const value = (person, title) => person.page.getByRole('article', { name: title, exact: true }).locator('.value')

describe('a table of the dashboard', () => {
  test('comes from a paste onto the board, with a chart of it, and is edited by all', async t => {
    const [ada, bob] = await blank(t, ['Ada L', 'Bob M'])
    await ada.paste('Month\tRevenue\nJan\t12,400\nFeb\t15,900\n')
    for (const person of [ada, bob]) {
      const bars = person.page.getByRole('article', { name: 'Pasted data', exact: true })
      await bars.getByText('15,900').waitFor()
      await person.page.getByRole('article', { name: 'Pasted data: rows' }).getByRole('button', { name: 'Revenue, row 2: 15,900' }).waitFor()
    }
    await bob.page.getByRole('button', { name: 'Revenue, row 2: 15,900' }).click()
    await bob.page.keyboard.type('20000')
    await ada.page.getByRole('button', { name: 'Revenue, row 1: 12,400' }).click()
    await ada.page.keyboard.type('13000')
    await Promise.all([ada.page.keyboard.press('Enter'), bob.page.keyboard.press('Enter')])
    for (const person of [ada, bob]) {
      const bars = person.page.getByRole('article', { name: 'Pasted data', exact: true })
      await bars.getByText('20,000').waitFor()
      await bars.getByText('13,000').waitFor()
    }
    // A row below the last one, and undo of it.
    await ada.page.getByRole('button', { name: 'Month, row 3: empty' }).click()
    await ada.page.keyboard.type('Mar')
    await ada.page.keyboard.press('Tab')
    await ada.page.keyboard.type('9')
    await ada.page.keyboard.press('Enter')
    await bob.page.getByRole('article', { name: 'Pasted data', exact: true }).getByText('Mar').waitFor()
    await ada.page.locator('header.bar').click({ position: { x: 400, y: 5 } })
    await ada.button('Undo')
    await ada.button('Undo')
    await bob.page.getByRole('article', { name: 'Pasted data', exact: true }).getByText('Mar').waitFor({ state: 'detached' })
    await agreed([ada, bob])
  })

  test('comes into a new widget by its settings, and is shown by a second one', async t => {
    const [ada] = await blank(t)
    await ada.menu('Add a widget', 'Chart')
    const paste = ada.page.getByLabel('Paste CSV, or cells of a spreadsheet')
    await paste.focus()
    await ada.paste('day;visits;orders\n2026-01-01;100;7\n2026-01-02;150;9\n2026-01-03;90;"1.234,5"\n')
    await ada.page.getByRole('article', { name: 'Chart' }).getByText('orders').waitFor()
    await ada.page.getByRole('article', { name: 'Chart' }).getByRole('img', { name: /visits 90, orders 1,235/ }).waitFor()
    await ada.page.getByRole('checkbox', { name: 'orders' }).uncheck()
    await ada.page.getByRole('article', { name: 'Chart' }).getByRole('img', { name: /Latest: visits 90$/ }).waitFor()
    await ada.button('Done')
    await ada.menu('Add a widget', 'Number')
    await ada.page.getByRole('combobox', { name: 'Table', exact: true }).selectOption({ index: 1 })
    await ada.page.getByLabel('Of the column').selectOption('sum')
    await ada.page.getByLabel('Unit').fill('€')
    await ada.page.getByLabel('Goal').fill('680')
    await eventually(async () => await value(ada, 'Number').textContent() === '€340')
    await ada.page.getByText('50% of €680').waitFor()
    await ada.page.getByLabel('Warn at').fill('400')
    await ada.page.getByLabel('Alert at').fill('350')
    await ada.page.locator('.figure[data-tone=bad]').waitFor()
  })

  test('keeps what is not a table out, and says why', async t => {
    const [ada] = await blank(t)
    await ada.menu('Add a widget', 'Table')
    await ada.page.getByLabel('Paste CSV, or cells of a spreadsheet').fill('   \n')
    await ada.page.getByLabel('Paste CSV, or cells of a spreadsheet').fill('\n,,\n')
    await ada.page.getByLabel('Title', { exact: true }).focus()
    await ada.page.getByText('There are no rows in this').waitFor()
  })
})

describe('a pushed value', () => {
  test('moves a widget in another browser by the command that is shown, as it stands', async t => {
    const [ada, bob] = await blank(t, ['Ada L', 'Bob M'])
    await ada.menu('Add a widget', 'Number')
    await ada.page.getByLabel('Comes from').selectOption('push')
    await bob.page.getByText('Waiting for the first value').waitFor()
    const command = await ada.page.getByRole('region', { name: 'command', exact: true }).textContent()
    await run(command)
    for (const person of [ada, bob]) await eventually(async () => await value(person, 'Number').textContent() === '42')
    await run(command.replace("'42'", "'43.5'"))
    await eventually(async () => await value(bob, 'Number').textContent() === '43.5')
    // Who comes later sees what was pushed before.
    const cem = await Person.visit(t, bob.page.url(), { name: 'Cem Y' })
    await eventually(async () => await value(cem, 'Number').textContent() === '43.5')
  })

  test('draws a line for each of its values, and a state for each word', async t => {
    const [ada, dashboard] = await blank(t)
    await ada.edit(dashboard => {
      dashboard.widgets.add({ id: 'load', type: 'chart', title: 'Load', options: { source: 'push', unit: '%' } }, { x: 0, y: 0, w: 6, h: 5 })
      dashboard.widgets.add({ id: 'up', type: 'status', title: 'Up', options: { source: 'push' } }, { x: 6, y: 0, w: 4, h: 5 })
    })
    const push = (id, body) => fetch(`${server.http}/api/dashboards/default/${dashboard}/widgets/${id}/data`, { method: 'POST', body: JSON.stringify(body) })
    const now = Date.now()
    assert.equal((await push('load', [1, 2, 3].map(n => ({ at: now - 9_000 + n * 1_000, web: n * 10, db: n })))).status, 202)
    await push('up', { Shop: 'up', Mail: 'down' })
    await ada.tile('load').getByRole('img', { name: 'Load, last 5 minutes. Latest: db 3%, web 30%' }).waitFor()
    await ada.tile('up').locator('[data-tone=good]', { hasText: 'Shop' }).waitFor()
    await ada.tile('up').locator('[data-tone=bad]', { hasText: 'Mail' }).waitFor()
    const refused = await push('load', { a: null })
    assert.equal(refused.status, 400)
    assert.match((await refused.json()).message, /a push is a number/)
  })

  test('is said to be stale when the server is away', async t => {
    const own = await Server.start()
    atEnd(t, () => own.stop())
    const ada = await Person.open(t, own.http, 'stale', { begin: 'status' })
    await ada.settled()
    await fetch(`${own.http}/api/dashboards/default/stale/widgets/errors/data`, { method: 'POST', body: '3' })
    await eventually(async () => await value(ada, 'Errors per minute').textContent() === '3')
    await own.stop('SIGKILL')
    await ada.tile('errors').getByText('Stale since').waitFor()
    await own.restart()
  })
})

describe('data from elsewhere', () => {
  test('is fetched after its reader has allowed it, and by nobody before', async t => {
    const { origin, asked } = await elsewhere(t, ({ pathname }) => pathname === '/rows' ? { body: { data: { items: [{ name: 'a', amount: 3 }, { name: 'b', amount: 4 }] } } } : { type: 'text/csv', body: 'name,amount\nc,5\n' })
    const [ada, bob] = await blank(t, ['Ada L', 'Bob M'])
    await ada.edit((dashboard, origin) => {
      dashboard.widgets.add({ id: 'rows', type: 'bar', title: 'Rows', options: { source: 'url', url: `${origin}/rows`, path: 'data.items' } }, { x: 0, y: 0, w: 4, h: 5 })
      dashboard.widgets.add({ id: 'lines', type: 'bar', title: 'Lines', options: { source: 'url', url: `${origin}/lines` } }, { x: 4, y: 0, w: 4, h: 5 })
    }, origin)
    await bob.tile('rows').getByText('wants to load data from').waitFor()
    await bob.tile('lines').getByText('wants to load data from').waitFor()
    assert.equal(asked.length, 0)
    await bob.tile('rows').getByRole('button', { name: 'Allow' }).click()
    await bob.tile('rows').locator('li', { hasText: 'b' }).getByText('4').waitFor()
    await bob.tile('lines').locator('li', { hasText: 'c' }).getByText('5').waitFor()
    assert.ok(asked.every(({ headers }) => headers.cookie === undefined && headers.referer === undefined))
    await ada.tile('rows').getByText('wants to load data from').waitFor()
    // It is remembered, by this browser.
    await bob.page.reload()
    await bob.tile('rows').locator('li', { hasText: 'b' }).getByText('4').waitFor()
  })

  test('may be a Prometheus query', async t => {
    const { origin, asked } = await elsewhere(t, ({ searchParams }) => {
      const end = Number(searchParams.get('end'))
      return { body: { status: 'success', data: { resultType: 'matrix', result: [{ metric: { job: 'api' }, values: [[end - 60, '1'], [end, '2.5']] }] } } }
    })
    const [ada] = await blank(t)
    await ada.menu('Add a widget', 'Chart')
    await ada.page.getByLabel('Comes from').selectOption('prometheus')
    await ada.page.getByRole('textbox', { name: 'Prometheus server' }).fill(origin)
    await ada.page.getByRole('textbox', { name: 'Query' }).fill('sum(up)')
    await ada.page.getByRole('button', { name: 'Allow' }).click()
    await ada.page.getByRole('img', { name: /job=api 2.5$/ }).waitFor()
    const { pathname, searchParams } = new URL(asked.at(-1).url, origin)
    assert.deepEqual([pathname, searchParams.get('query')], ['/api/v1/query_range', 'sum(up)'])
  })

  test('that cannot be read says why, and a broken address is none', async t => {
    const { origin } = await elsewhere(t, () => ({ body: '{"a"' }))
    const [ada] = await blank(t)
    await ada.edit((dashboard, origin) => {
      for (const [n, url] of [`${origin}/x`, 'javascript:alert(1)', 'http://127.0.0.1:1/'].entries()) {
        dashboard.widgets.add({ id: `w${n}`, type: 'bar', title: `W${n}`, options: { source: 'url', url } }, { x: n * 4, y: 0, w: 4, h: 5 })
      }
    }, origin)
    await ada.tile('w1').getByText('not an http or https address').waitFor()
    await ada.tile('w0').getByRole('button', { name: 'Allow' }).click()
    await ada.tile('w0').getByText('the answer is not JSON').waitFor()
    await ada.tile('w2').getByRole('button', { name: 'Allow' }).click()
    await ada.tile('w2').getByText('no answer').waitFor()
  })

  test('an image and a page come in when they are allowed, and a page can do nothing to this one', async t => {
    const picture = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64')
    const { origin, asked } = await elsewhere(t, ({ pathname }) => pathname === '/a.png' ? { type: 'image/png', body: picture } : { type: 'text/html', body: '<h1>Inside</h1><script>try { top.document.title = "taken" } catch {}</script>' })
    const [ada] = await blank(t)
    await ada.paste(`${origin}/a.png`)
    await ada.paste(`${origin}/page`)
    await ada.page.getByText('wants to show an image').waitFor()
    await ada.page.getByText('wants to show a page').waitFor()
    assert.equal(asked.length, 0)
    await ada.page.getByRole('button', { name: 'Allow' }).first().click()
    await eventually(() => ada.page.locator('.picture').evaluate(image => image.naturalWidth === 1))
    await ada.page.frameLocator('.embed').getByText('Inside').waitFor()
    assert.notEqual(await ada.page.title(), 'taken')
    await ada.edit(dashboard => dashboard.widgets.add({ id: 'self', type: 'embed', title: 'Self', options: { url: location.origin } }, { x: 0, y: 20, w: 4, h: 4 }))
    await ada.tile('self').getByText('cannot be embedded here').waitFor()
  })
})

describe('a formula', () => {
  test('works with tables, with columns and with other widgets, and follows them', async t => {
    const [ada, bob] = await blank(t, ['Ada L', 'Bob M'])
    await ada.edit(dashboard => {
      dashboard.tables.add({ id: 'sales', title: 'Sales', columns: ['Month', 'Revenue', 'Net costs'], rows: [{ Month: 'Jan', Revenue: 10, 'Net costs': 4 }, { Month: 'Feb', Revenue: 20, 'Net costs': 5 }] })
      dashboard.widgets.add({ id: 'profit', type: 'number', title: 'Profit', options: { formula: 'sum(Sales.Revenue - Sales.[Net costs])' } }, { x: 0, y: 0, w: 3, h: 3 })
      dashboard.widgets.add({ id: 'double', type: 'number', title: 'Double', options: { formula: 'Profit * 2 + 2 ^ 3' } }, { x: 3, y: 0, w: 3, h: 3 })
      dashboard.widgets.add({ id: 'self', type: 'number', title: 'Self', options: { formula: 'Self + 1' } }, { x: 6, y: 0, w: 3, h: 3 })
    })
    await eventually(async () => await value(bob, 'Profit').textContent() === '21')
    await eventually(async () => await value(bob, 'Double').textContent() === '50')
    await bob.tile('self').getByText('needs itself').waitFor()
    await ada.edit(dashboard => dashboard.tables.setCell('sales', 1, 'Revenue', 21))
    await eventually(async () => await value(bob, 'Double').textContent() === '52')
    await bob.tile('double').hover()
    await bob.button('Configure Double')
    for (const [formula, why] of [['sum(', 'missing at the end'], ['Nothing', 'Nothing here is called “Nothing”'], ['Sales.Loss', 'no column “Loss”'], ['foo(1)', 'no function “foo”'], ['1 2', 'not expected here'], ['{', 'not understood']]) {
      await bob.page.getByRole('textbox', { name: 'Formula' }).fill(formula)
      await bob.page.locator('.panel .problem').getByText(why).waitFor()
    }
  })
})

test('widgets of somebody’s own code are drawn by their plain options', async t => {
  const [ada, dashboard] = await blank(t)
  const mallory = await Mallory.join(t, server, dashboard)
  const put = (id, type, options, x, y) => mallory.widget(id, { ...type !== undefined && { type }, title: id, options: new Y.Map(Object.entries(options)) }, { x, y, w: 3, h: 4 })
  mallory.doc.transact(() => {
    put('a number', 'number', { value: 1234.5, unit: 'kg' }, 0, 0)
    put('a chart', 'chart', { data: [3, 1, 2] }, 3, 0)
    put('labelled', 'chart', { labels: ['Mon', 'Tue'], series: [{ name: 'in', data: [1, 2] }, { name: 'out', data: [3, 4] }] }, 6, 0)
    put('a text', 'text', { text: 'plain words' }, 9, 0)
    put('untyped', undefined, { value: 7 }, 0, 4)
    put('rows', 'table', { rows: [{ name: 'a', n: 1 }] }, 3, 4)
    put('foreign', 'kanban', { columns: ['todo', 'done'], limit: 3 }, 6, 4)
    put('empty', 'chart', {}, 9, 4)
  })
  await eventually(async () => await value(ada, 'a number').textContent() === '1,235 kg')
  await ada.tile('a chart').getByRole('img', { name: 'a chart. Latest: Value 2' }).waitFor()
  await ada.tile('labelled').getByRole('img', { name: 'labelled. Latest: in 2, out 4' }).waitFor()
  await ada.tile('a text').getByText('plain words').waitFor()
  await eventually(async () => await value(ada, 'untyped').textContent() === '7')
  await ada.tile('rows').getByRole('cell', { name: 'a', exact: true }).waitFor()
  await ada.tile('foreign').getByText('“kanban”').waitFor()
  await ada.tile('foreign').getByText('["todo","done"]').waitFor()
  await ada.tile('empty').getByRole('button', { name: 'Add data' }).waitFor()
})
