// Where one comes first: a sample with company, the list of dashboards, new ones; and addresses that lead there or not.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Server } from '../../../tests/interop/lib/server.js'
import { atEnd } from '../lib/at-end.js'
import { closeBrowser, Person } from '../lib/people.js'
import { eventually } from '../lib/wait.js'

let server

before(async () => { server = await Server.start() })
after(async () => {
  await closeBrowser()
  await server.stop()
})

describe('who comes for the first time', () => {
  test('sees a board that lives, with company that leaves when a real person comes', async t => {
    const own = await Server.start()
    atEnd(t, () => own.stop())
    const ada = await Person.visit(t, `${own.http}/`, { name: 'Ada L' })
    await ada.settled()
    assert.equal(new URL(ada.page.url()).pathname, '/d/default/welcome')
    await ada.page.getByText('A dashboard that everyone edits at once').waitFor()
    await ada.page.getByRole('article', { name: 'Profit this year' }).getByText('106,150').waitFor()
    for (const name of ['Mia (demo)', 'Tom (demo)']) {
      await ada.page.getByRole('button', { name: `Follow ${name}` }).waitFor()
      await ada.page.locator('.cursor', { hasText: name }).waitFor()
    }
    const before = JSON.stringify((await ada.content()).tables.tasks)
    await eventually(async () => JSON.stringify((await ada.content()).tables.tasks) !== before, { what: 'a demo person moves a task on' })
    const bob = await Person.visit(t, `${own.http}/`, { name: 'Bob M' })
    await bob.settled()
    await ada.page.getByText('the demo people have left').waitFor()
    for (const person of [ada, bob]) await person.page.getByRole('button', { name: 'You and 1 more' }).waitFor()
    // Nobody comes back while somebody is alone again.
    await bob.page.close()
    await ada.page.getByRole('button', { name: 'You, alone here' }).waitFor()
  })

  test('finds from there what to begin with: a blank board, their own data, a template', async t => {
    const own = await Server.start()
    atEnd(t, () => own.stop())
    const ada = await Person.visit(t, `${own.http}/`, { name: 'Ada L' })
    await ada.settled()
    for (const [link, choice] of [['Blank board', /^Blank/], ['Templates', /^Sales and team/], ['Paste your data', /^Your data/]]) {
      await ada.page.goto(`${own.http}/d/default/welcome`)
      await ada.page.getByRole('link', { name: link }).click()
      assert.equal(await ada.page.getByRole('radio', { name: choice }).isChecked(), true, link)
    }
    await ada.page.getByLabel('Name', { exact: true }).fill('Thirty seconds')
    await ada.page.getByRole('textbox', { name: 'Data' }).fill('Month,Revenue\nJan,12400\nFeb,15900')
    await ada.button('Create')
    await ada.settled()
    await ada.page.getByRole('article', { name: 'Thirty seconds', exact: true }).getByText('15,900').waitFor()
  })

  test('is told what this is where no sample can be begun', async t => {
    const own = await Server.start({ args: ['--anonymous-access', 'read-only'] })
    atEnd(t, () => own.stop())
    const ada = await Person.visit(t, `${own.http}/`, { name: 'Ada L', expects: problem => /40[34]/.test(problem) })
    await ada.page.getByRole('heading', { name: 'A dashboard that everyone edits at once.' }).waitFor()
    assert.equal(new URL(ada.page.url()).pathname, '/')
  })

  test('finds the way to their phone, and code that runs on this very board', async t => {
    const ada = await Person.open(t, server.http, 'team/for code', { begin: 'sample', name: 'Ada L' })
    await ada.settled()
    await ada.button('Share')
    await ada.page.getByRole('img', { name: /^QR code of http:.*\/d\/team\/for%20code$/ }).waitFor()
    await ada.page.keyboard.press('Escape')
    await ada.menu('More', 'Your code')
    const command = await ada.page.getByRole('region', { name: 'command that reads' }).textContent()
    const answer = await fetch(command.replace('curl ', ''))
    assert.equal((await answer.json()).meta.title, 'Fernwood Coffee')
    for (const [language, holds] of [['Yjs', "'team/for code'"], ['Client', "dashboard('team/for code')"], ['React', "id='team/for code'"], ['Hocuspocus', "/hocuspocus', name: 'team/for code'"]]) {
      await ada.page.locator('.panel').getByRole('button', { name: language, exact: true }).click()
      await ada.page.locator('.panel code').filter({ hasText: holds }).waitFor()
    }
  })
})

describe('home', () => {
  /** A server of this test's own: what is listed is what the test has made. */
  const fresh = async t => {
    const own = await Server.start()
    atEnd(t, () => own.stop())
    return own
  }
  const put = (own, id, body) => fetch(`${own.http}/api/dashboards/${id}`, { method: 'PUT', body: JSON.stringify(body) })
  const names = person => person.page.locator('.card-name').allTextContents()
  const becomes = (person, expected) => eventually(async () => assert.deepEqual(await names(person), expected) ?? true, { what: `the list is ${expected}` })

  test('lists what there is, finds it, keeps favourites first, and begins new ones', async t => {
    const own = await fresh(t)
    const ada = await Person.visit(t, `${own.http}/d/default/first?new=sample`, { name: 'Ada L' })
    await ada.settled()
    await ada.page.goto(`${own.http}/d/team/second?new=operations`)
    await ada.settled()
    await ada.page.getByRole('link', { name: 'All dashboards' }).click()
    await becomes(ada, ['Live operations', 'Fernwood Coffee'])
    await ada.page.locator('.card', { hasText: 'default/first' }).locator('.preview span').nth(5).waitFor()
    await ada.page.getByRole('button', { name: 'Fernwood Coffee is a favourite' }).click()
    await becomes(ada, ['Fernwood Coffee', 'Live operations'])
    await ada.page.getByRole('button', { name: 'Favourites' }).click()
    await becomes(ada, ['Fernwood Coffee'])
    await ada.button('All')
    await ada.page.getByLabel('Workspace').selectOption('team')
    await becomes(ada, ['Live operations'])
    await ada.page.getByLabel('Workspace').selectOption('')
    await ada.page.getByLabel('Find a dashboard').fill('team op')
    await becomes(ada, ['Live operations'])

    for (const path of ['/d/default/käse-brot-2026', '/d/default/käse-brot-2026-2']) {
      await ada.page.goto(`${own.http}/?home`)
      await ada.button('New')
      await ada.page.getByLabel('Name', { exact: true }).fill('Käse & Brot 2026')
      await ada.button('Create')
      await ada.settled()
      // Of the same name there is another one.
      assert.equal(decodeURIComponent(new URL(ada.page.url()).pathname), path)
      assert.equal(await ada.page.getByLabel('Title of the dashboard').inputValue(), 'Käse & Brot 2026')
      await ada.page.getByText('Put something on this board').waitFor()
    }
  })

  test('shows whoever comes what others have made, and who is there', async t => {
    const own = await fresh(t)
    const ada = await Person.visit(t, `${own.http}/d/acme/plan?new=sample`, { name: 'Ada L' })
    await ada.settled()
    const bob = await Person.visit(t, `${own.http}/`, { name: 'Bob M' })
    await bob.page.getByRole('heading', { name: 'A dashboard that everyone edits at once.' }).waitFor()
    await becomes(bob, ['Fernwood Coffee'])
    const card = bob.page.locator('.card', { hasText: 'acme/plan' })
    await card.getByText('here now').waitFor()
    await card.getByText(/Edited (just now|\d+ s ago)/).waitFor()
    await bob.page.getByRole('button', { name: 'Blank board' }).click()
    assert.equal(await bob.page.getByRole('radio', { name: /^Blank/ }).isChecked(), true)
  })

  test('renames a dashboard while others have it open', async t => {
    const own = await fresh(t)
    await put(own, 'acme/plan', { meta: { title: 'Plan' }, widgets: {} })
    const ada = await Person.visit(t, `${own.http}/d/acme/plan`, { name: 'Ada L' })
    await ada.settled()
    const bob = await Person.visit(t, `${own.http}/?home`, { name: 'Bob M' })
    await bob.page.getByRole('button', { name: 'Actions for Plan' }).click()
    await bob.page.getByRole('menuitem', { name: 'Rename' }).click()
    await bob.page.getByLabel('New title').fill('Plan for spring')
    await bob.page.keyboard.press('Enter')
    await ada.page.getByRole('heading', { name: 'Plan for spring' }).waitFor({ state: 'attached' })
    await becomes(bob, ['Plan for spring'])
  })

  test('moves a dashboard to the trash and back, and deletes it for good', async t => {
    const own = await fresh(t)
    await put(own, 'acme/plan', { meta: { title: 'Plan' }, widgets: { a: { type: 'text', title: 'Kept', options: { text: 'still here' } } } })
    const ada = await Person.visit(t, `${own.http}/d/acme/plan`, { name: 'Ada L', expects: problem => /Permission denied|status of 4/.test(problem) })
    await ada.settled()
    const bob = await Person.visit(t, `${own.http}/?home`, { name: 'Bob M', expects: problem => /status of 4/.test(problem) })
    const remove = async () => {
      await bob.page.getByRole('button', { name: 'Actions for Plan' }).click()
      await bob.page.getByRole('menuitem', { name: 'Move to trash' }).click()
    }
    await bob.page.getByText('1 here now').waitFor()
    await remove()
    // Somebody is at work in it.
    await bob.page.getByRole('alertdialog', { name: 'Move “Plan” to the trash?' }).getByRole('button', { name: 'Move to trash' }).click()
    await ada.page.getByRole('heading', { name: 'This dashboard was deleted' }).waitFor()
    await bob.page.getByText('“Plan” is in the trash').waitFor()
    await bob.button('Undo')
    await becomes(bob, ['Plan'])
    await ada.button('Try again')
    await ada.page.getByText('still here').waitFor()
    await ada.page.goto('about:blank')

    await eventually(async () => {
      await bob.page.reload()
      await bob.page.getByRole('button', { name: 'Actions for Plan' }).waitFor()
      return await bob.page.getByText('1 here now').count() === 0
    }, { what: 'Ada has left' })
    await remove()
    await becomes(bob, [])
    await bob.button('Trash')
    await bob.button('Take back acme/plan')
    await bob.button('All')
    await becomes(bob, ['Plan'])
    await remove()
    await bob.button('Trash')
    await bob.button('Delete acme/plan for good')
    await bob.page.getByRole('alertdialog').getByRole('button', { name: 'Delete for good' }).click()
    await bob.page.getByText('The trash is empty').waitFor()
  })

  test('says so when the server does not answer, and shows what was opened here', async t => {
    const own = await fresh(t)
    const ada = await Person.visit(t, `${own.http}/d/acme/plan?new=sample`, { name: 'Ada L' })
    await ada.settled()
    await put(own, 'acme/unseen', { meta: { title: 'Unseen' } })
    let isAway = true
    await ada.context.route(/\/api\/dashboards\?/, route => isAway ? route.abort() : route.fallback())
    await ada.page.goto(`${own.http}/?home`)
    await ada.page.getByText('The server does not answer').waitFor()
    await becomes(ada, ['Fernwood Coffee'])
    isAway = false
    await ada.button('Try again')
    await ada.page.getByRole('link', { name: 'Unseen' }).first().waitFor()
    assert.equal(await ada.page.getByRole('alert').count(), 0)
  })

  test('begins with what is pasted: rows, or a whole dashboard as JSON', async t => {
    const own = await fresh(t)
    const ada = await Person.visit(t, `${own.http}/?home`, { name: 'Ada L' })
    await ada.page.getByLabel('Name', { exact: true }).fill('From rows')
    await ada.page.getByRole('radio', { name: /^Your data/ }).check()
    await ada.page.getByRole('textbox', { name: 'Data' }).fill('Month,Revenue\nJan,12400\nFeb,15900')
    await ada.button('Create')
    await ada.settled()
    await ada.page.getByRole('article', { name: 'From rows', exact: true }).getByText('15,900').waitFor()
    const json = await (await fetch(`${own.http}/api/dashboards/default/from-rows`)).text()

    await ada.page.goto(`${own.http}/?home`)
    await ada.button('New')
    await ada.page.getByLabel('Name', { exact: true }).fill('From JSON')
    await ada.page.getByRole('radio', { name: /^Your data/ }).check()
    await ada.page.getByRole('textbox', { name: 'Data' }).fill('{')
    await ada.button('Create')
    await ada.page.getByText('neither a dashboard’s JSON nor rows').waitFor()
    await ada.page.getByRole('textbox', { name: 'Data' }).fill(json)
    await ada.button('Create')
    await ada.settled()
    await ada.page.getByRole('article', { name: 'From rows', exact: true }).getByText('15,900').waitFor()
    assert.equal(await ada.page.getByLabel('Title of the dashboard').inputValue(), 'From JSON')
    // A table that REST made is one to type into.
    await ada.page.getByRole('button', { name: 'Revenue, row 1: 12,400' }).click()
    await ada.page.keyboard.type('1')
    await ada.page.keyboard.press('Enter')
    await ada.page.getByRole('article', { name: 'From rows', exact: true }).locator('li', { hasText: 'Jan' }).getByText('1', { exact: true }).waitFor()
  })

  test('begins with a dashboard that Grafana exported: its panels where they were, its queries asked of Prometheus', async t => {
    const own = await fresh(t)
    const ada = await Person.visit(t, `${own.http}/?home&begin=pasted`, { name: 'Ada L' })
    await ada.page.getByRole('textbox', { name: 'Data' }).fill(JSON.stringify({
      title: 'Node', schemaVersion: 39, templating: { list: [{ name: 'instance', current: { value: 'web:9100' } }] },
      panels: [
        { id: 1, type: 'row', title: 'Load', gridPos: { x: 0, y: 0, w: 24, h: 1 }, collapsed: true, panels: [{
          id: 2, type: 'stat', title: 'Load 1m', gridPos: { x: 0, y: 1, w: 6, h: 4 }, targets: [{ expr: 'node_load1{instance="$instance"}' }],
          fieldConfig: { defaults: { decimals: 2, thresholds: { steps: [{ color: 'green', value: null }, { color: 'red', value: 4 }] } } }
        }] },
        { id: 3, type: 'timeseries', title: 'Network', gridPos: { x: 12, y: 1, w: 12, h: 8 }, targets: [{ expr: 'rate(node_network_receive_bytes_total[$__rate_interval])' }], fieldConfig: { defaults: { unit: 'Bps' } } },
        { id: 4, type: 'text', title: 'Read me', gridPos: { x: 0, y: 9, w: 12, h: 4 }, options: { content: 'Of the **web** servers' } },
        { id: 5, type: 'news', title: 'Elsewhere', gridPos: { x: 12, y: 9, w: 12, h: 4 } }
      ]
    }))
    await ada.page.getByText('A dashboard from Grafana').waitFor()
    await ada.page.getByLabel('Address of Prometheus').fill(own.http)
    await ada.button('Create')
    await ada.settled()
    assert.equal(await ada.page.getByLabel('Title of the dashboard').inputValue(), 'Node')
    for (const name of ['Load 1m', 'Network', 'Read me', 'Elsewhere']) await ada.page.getByRole('article', { name }).waitFor()
    const { widgets, layout } = await ada.content()
    const byTitle = Object.fromEntries(Object.entries(widgets).map(([id, widget]) => [widget.title, { ...widget, box: layout[id] }]))
    assert.deepEqual(byTitle['Load 1m'].options, { source: 'prometheus', url: own.http, query: 'node_load1{instance="web:9100"}', decimals: 2, warn: 4 })
    assert.deepEqual(byTitle.Network.options, { source: 'prometheus', url: own.http, query: 'rate(node_network_receive_bytes_total[5m])', unit: 'B/s' })
    assert.deepEqual(byTitle.Network.box, { x: 6, y: 1, w: 6, h: 5 })
    assert.equal(byTitle['Read me'].options.text, 'Of the **web** servers')
  })

  test('duplicates a dashboard with all that is in it', async t => {
    const own = await fresh(t)
    const ada = await Person.visit(t, `${own.http}/d/default/original?new=sample`, { name: 'Ada L' })
    await ada.settled()
    const content = await ada.content()
    await ada.page.goto(`${own.http}/?home`)
    await ada.page.getByRole('button', { name: 'Actions for Fernwood Coffee' }).click()
    await ada.page.getByRole('menuitem', { name: 'Duplicate' }).click()
    await ada.page.waitForURL(/original-copy/)
    await ada.settled()
    assert.deepEqual((await ada.content()).tables, content.tables)
    assert.deepEqual((await ada.content()).widgets.note, content.widgets.note)
    await ada.edit(dashboard => dashboard.meta.set({ title: 'Mine' }))
    await ada.settled()
    assert.equal((await (await fetch(`${own.http}/api/dashboards/default/original`)).json()).meta.title, 'Fernwood Coffee')
  })
})

describe('an address', () => {
  test('of old leads to the same dashboard, and one without a workspace to the default one', async t => {
    const ada = await Person.visit(t, `${server.http}/#team/old one`, { name: 'Ada L' })
    await ada.settled()
    assert.equal(new URL(ada.page.url()).pathname, '/d/team/old%20one')
    await ada.edit(dashboard => dashboard.meta.set({ title: 'Old' }))
    await ada.settled()
    assert.equal((await (await fetch(`${server.http}/api/dashboards/team/old%20one`)).json()).meta.title, 'Old')
    for (const [path, to] of [['/#plain', '/d/default/plain'], ['/d/plain', '/d/default/plain'], ['/d/default/a%2Fb', '/d/a/b'], ['/plain', '/d/default/plain']]) {
      await ada.page.goto('about:blank')
      await ada.page.goto(`${server.http}${path}`)
      await ada.settled()
      assert.equal(new URL(ada.page.url()).pathname, to, path)
    }
  })

  test('that cannot be says why, and offers one that can', async t => {
    const ada = await Person.visit(t, `${server.http}/#a/../b`, { name: 'Ada L' })
    await ada.page.getByRole('heading', { name: 'No dashboard can be called that' }).waitFor()
    await ada.page.getByText('A part of it is “.” or “..”').waitFor()
    await ada.page.goto('about:blank')
    await ada.page.goto(`${server.http}/#${'x'.repeat(300)}`)
    await ada.page.getByText('It is longer than 255 bytes').waitFor()
    await ada.page.getByRole('link', { name: 'All dashboards' }).waitFor()
    await ada.page.getByRole('link', { name: /^Open x/ }).click()
    await ada.settled()
  })
})

test('a name and a colour stay with the browser, and a newcomer of the same colour gives way', async t => {
  const ada = await Person.visit(t, `${server.http}/d/default/colours`)
  await ada.settled()
  const self = person => person.edit(dashboard => dashboard.presence.self.get().user)
  const me = await self(ada)
  const second = await ada.context.newPage()
  await second.goto(ada.page.url())
  await second.locator('.save-state[data-status=live]').waitFor()
  assert.deepEqual(await second.evaluate(() => window.ydash.dashboard.presence.self.get().user), me)
  await second.close()
  const bob = await Person.visit(t, 'about:blank', { name: 'Bob M' })
  await bob.context.addInitScript(color => { if (sessionStorage.getItem('begun') === null) localStorage.setItem('ydash:color', color), sessionStorage.setItem('begun', 'yes') }, me.color)
  await bob.page.goto(ada.page.url())
  await bob.settled()
  await eventually(async () => (await self(bob)).color !== me.color)
  assert.deepEqual(await self(ada), me)
})

describe('a part of the page that does not load', () => {
  const failing = async (ada, isFailing) => {
    await ada.context.route(/\/chunk-.*\.js$/, route => isFailing() ? route.abort() : route.fallback())
  }

  test('is tried again without a word when the network hiccups', async t => {
    const ada = await Person.open(t, server.http, 'hiccup', { name: 'Ada L', expects: problem => /dynamically imported/.test(problem) })
    await ada.settled()
    let left = 1
    await failing(ada, () => left-- > 0)
    await ada.menu('More', 'Your code')
    await ada.page.getByRole('region', { name: 'command that reads' }).waitFor()
    assert.ok(left < 0, 'it was refused once')
  })

  test('says so when it stays away, and comes when it is asked for again', async t => {
    const ada = await Person.open(t, server.http, 'no parts', { name: 'Ada L', expects: problem => /dynamically imported/.test(problem) })
    await ada.settled()
    let isAway = true
    await failing(ada, () => isAway)
    await ada.menu('More', 'Your code')
    const alert = ada.page.locator('.stage > [role=alert]', { hasText: 'This part of the page did not load' })
    await alert.waitFor()
    isAway = false
    await alert.getByRole('button', { name: 'Try again' }).click()
    await ada.page.getByRole('region', { name: 'command that reads' }).waitFor()
  })
})

test('the page comes again after a reload without a network', { skip: process.env.E2E_DIST ? 'the pages come from the binary here' : false }, async t => {
  const own = await Server.start()
  atEnd(t, () => own.stop())
  const ada = await Person.open(t, own.http, 'reload', { begin: 'sample', name: 'Ada L', serviceWorkers: 'allow', expects: () => true })
  await ada.settled()
  await ada.page.evaluate(() => navigator.serviceWorker.ready)
  await eventually(() => ada.page.evaluate(async () => (await caches.keys()).length === 1 && navigator.serviceWorker.controller !== null))
  await own.stop()
  await ada.becomes('offline saved')
  await ada.edit(dashboard => dashboard.meta.set({ title: 'Kept' }))
  await ada.becomes('offline offline-changes')
  await ada.keptInBrowser()
  await ada.page.reload()
  await ada.page.getByRole('article', { name: 'Best sellers' }).waitFor()
  assert.equal(await ada.page.getByLabel('Title of the dashboard').inputValue(), 'Kept')
  await own.restart()
  await ada.settled()
})
