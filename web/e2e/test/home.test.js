// Where one comes first: a sample with company, the list of dashboards, new ones; and addresses that lead there or not.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Server } from '../../../tests/interop/lib/server.js'
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
    t.after(() => own.stop())
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
    const ada = await Person.visit(t, `${server.http}/`, { name: 'Ada L' })
    await ada.settled()
    for (const [link, choice] of [['Blank board', /^Blank/], ['Templates', /^Sales and team/], ['Paste your data', /^Your data/]]) {
      await ada.page.goto(`${server.http}/d/default/welcome`)
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
    t.after(() => own.stop())
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
  test('lists what was opened, finds it, keeps favourites first, and begins new ones', async t => {
    const ada = await Person.visit(t, `${server.http}/d/default/first?new=sample`, { name: 'Ada L' })
    await ada.settled()
    await ada.page.goto(`${server.http}/d/team/second?new=operations`)
    await ada.settled()
    await ada.page.getByRole('link', { name: 'All dashboards' }).click()
    const cards = ada.page.locator('.card-name')
    await eventually(async () => assert.deepEqual(await cards.allTextContents(), ['Live operations', 'Fernwood Coffee']) ?? true)
    await ada.page.locator('.card', { hasText: 'default/first' }).locator('.preview span').nth(5).waitFor()
    await ada.page.getByRole('button', { name: 'Fernwood Coffee is a favourite' }).click()
    await eventually(async () => (await cards.allTextContents())[0] === 'Fernwood Coffee')
    await ada.page.getByLabel('Find a dashboard').fill('team op')
    await eventually(async () => assert.deepEqual(await cards.allTextContents(), ['Live operations']) ?? true)

    await ada.button('New')
    await ada.page.getByLabel('Name', { exact: true }).fill('Käse & Brot 2026')
    await ada.button('Create')
    await ada.settled()
    assert.equal(decodeURIComponent(new URL(ada.page.url()).pathname), '/d/default/käse-brot-2026')
    assert.equal(await ada.page.getByLabel('Title of the dashboard').inputValue(), 'Käse & Brot 2026')
    await ada.page.getByText('Put something on this board').waitFor()
    // Of the same name there is another one.
    await ada.page.goto(`${server.http}/?home`)
    await ada.button('New')
    await ada.page.getByLabel('Name', { exact: true }).fill('Käse & Brot 2026')
    await ada.button('Create')
    await ada.settled()
    assert.equal(decodeURIComponent(new URL(ada.page.url()).pathname), '/d/default/käse-brot-2026-2')
  })

  test('begins with what is pasted: rows, or a whole dashboard as JSON', async t => {
    const ada = await Person.visit(t, `${server.http}/?home`, { name: 'Ada L' })
    await ada.page.getByLabel('Name', { exact: true }).fill('From rows')
    await ada.page.getByRole('radio', { name: /^Your data/ }).check()
    await ada.page.getByRole('textbox', { name: 'Data' }).fill('Month,Revenue\nJan,12400\nFeb,15900')
    await ada.button('Create')
    await ada.settled()
    await ada.page.getByRole('article', { name: 'From rows', exact: true }).getByText('15,900').waitFor()
    const json = await (await fetch(`${server.http}/api/dashboards/default/from-rows`)).text()

    await ada.page.goto(`${server.http}/?home`)
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
    // A table that REST made is one to type into.
    await ada.page.getByRole('button', { name: 'Revenue, row 1: 12,400' }).click()
    await ada.page.keyboard.type('1')
    await ada.page.keyboard.press('Enter')
    await ada.page.getByRole('article', { name: 'From rows', exact: true }).locator('li', { hasText: 'Jan' }).getByText('1', { exact: true }).waitFor()
  })

  test('duplicates a dashboard with all that is in it', async t => {
    const ada = await Person.visit(t, `${server.http}/d/default/original?new=sample`, { name: 'Ada L' })
    await ada.settled()
    const content = await ada.content()
    await ada.page.goto(`${server.http}/?home`)
    await ada.page.getByRole('button', { name: 'Actions for Fernwood Coffee' }).click()
    await ada.page.getByRole('menuitem', { name: 'Duplicate' }).click()
    await ada.page.waitForURL(/original-copy/)
    await ada.settled()
    assert.deepEqual((await ada.content()).tables, content.tables)
    assert.deepEqual((await ada.content()).widgets.note, content.widgets.note)
    await ada.edit(dashboard => dashboard.meta.set({ title: 'Mine' }))
    await ada.settled()
    assert.equal((await (await fetch(`${server.http}/api/dashboards/default/original`)).json()).meta.title, 'Fernwood Coffee')
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
  t.after(() => own.stop())
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
