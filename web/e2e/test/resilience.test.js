// Networks that break, servers that die, sessions that may only look, and a crowd.

import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { Server, temporaryStore } from '../../../tests/interop/lib/server.js'
import { atEnd } from '../lib/at-end.js'
import { eventually } from '../lib/wait.js'
import { Network } from '../lib/network.js'
import { agreed, closeBrowser, launch, Person } from '../lib/people.js'

after(closeBrowser)

async function serverOf (t, options) {
  const server = await Server.start(options)
  atEnd(t, () => server.stop())
  return server
}

describe('without a network', () => {
  test('edits go on, and merge when it is back', async t => {
    const server = await serverOf(t)
    const network = await Network.to(t, server)
    const ada = await Person.open(t, network.http, 'cut', { name: 'Ada L' })
    await ada.settled()
    const bob = await Person.open(t, server.http, 'cut', { name: 'Bob M' })
    await bob.settled()

    network.cut()
    await ada.becomes('offline saved')
    await ada.page.getByRole('alert').getByText('No connection').waitFor()
    await ada.drag('moves-now', 340, 0)
    await ada.editor('note').locator('h3').click()
    await ada.page.keyboard.press('End')
    await ada.page.keyboard.type(' offline')
    await ada.becomes('offline offline-changes')
    await bob.remove('requests')
    await bob.settled()
    assert.equal(await bob.page.getByText('Try it offline').count(), 0)

    network.mend()
    await ada.settled(30_000)
    await bob.page.getByText('Try it offline').waitFor()
    await ada.tile('requests').waitFor({ state: 'detached' })
    await agreed([ada, bob])
    assert.equal(await ada.page.getByRole('alert').count(), 0)
  })

  test('edits of a tab that was closed meanwhile go out when the page is opened again', async t => {
    const server = await serverOf(t)
    const network = await Network.to(t, server)
    // What comes with the first chart on the screen may still be on its way; without a worker nothing keeps it.
    const ada = await Person.open(t, network.http, 'closed', { expects: problem => problem.includes('dynamically imported module') })
    await ada.settled()
    network.cut()
    await ada.becomes('offline saved')
    await ada.drag('note', -800, 0)
    await ada.becomes('offline offline-changes')
    const content = await ada.content()
    await ada.keptInBrowser()
    await ada.page.close()
    network.mend()
    ada.page = await ada.context.newPage()
    await ada.page.goto(`${network.http}/#closed`)
    await ada.settled()
    await eventually(async () => {
      const answer = await fetch(`${server.http}/api/dashboards/default/closed`)
      assert.deepEqual((await answer.json()).layout, content.layout)
      return true
    })
  })
})

describe('a server that is killed', () => {
  test('has what was called saved when it is back, and gets the rest', async t => {
    const store = await temporaryStore(t)
    const server = await serverOf(t, { store })
    const ada = await Person.open(t, server.http, 'killed')
    await ada.settled()
    await ada.drag('note', -300, 0)
    await ada.settled()
    const saved = await ada.content()

    await server.stop('SIGKILL')
    await ada.becomes('offline saved')
    await ada.drag('moves-now', 340, 0)
    await ada.becomes('offline offline-changes')
    await server.restart()
    const answer = await fetch(`${server.http}/api/dashboards/default/killed`)
    const restored = await answer.json()
    // The page may have been faster than this test.
    const expected = [saved.layout, (await ada.content()).layout]
    assert.ok(expected.some(layout => JSON.stringify(sorted(layout)) === JSON.stringify(sorted(restored.layout))))
    await ada.settled(30_000)
    const bob = await Person.open(t, server.http, 'killed')
    await bob.settled()
    await agreed([ada, bob])
  })

  test('in the middle of a storm of edits is never said to have what it has not', async t => {
    const store = await temporaryStore(t)
    const server = await serverOf(t, { store })
    const ada = await Person.open(t, server.http, 'storm')
    await ada.settled()
    await ada.edit(dashboard => {
      window.n = 0
      window.savedAt = 0
      dashboard.saveState.subscribe(() => { if (dashboard.saveState.get() === 'saved') window.savedAt = window.n })
      window.storm = setInterval(() => {
        // In bursts: between them there is time to be saved.
        if (Date.now() % 300 > 150) return
        dashboard.meta.set({ [`key${window.n}`]: window.n })
        window.n++
      }, 4)
    })
    await eventually(() => ada.page.evaluate(() => window.savedAt > 40))
    await server.stop('SIGKILL')
    await ada.becomes('offline offline-changes')
    const { saved, written } = await ada.edit(() => {
      clearInterval(window.storm)
      return { saved: window.savedAt, written: window.n }
    })
    // Nobody else brings it back: this is what the disk has.
    await ada.page.close()
    await server.restart()
    const { meta } = await (await fetch(`${server.http}/api/dashboards/default/storm`)).json()
    for (let key = 0; key < saved; key++) assert.equal(meta[`key${key}`], key)
    t.diagnostic(`${saved} of ${written} edits were called saved, ${Object.keys(meta).filter(key => key.startsWith('key')).length} were`)
  })
})

describe('a session that may only look', () => {
  test('sees everything, and its controls say so', async t => {
    const store = await temporaryStore(t)
    const workshop = await Server.start({ store })
    const author = await Person.open(t, workshop.http, 'public')
    await author.settled()
    await author.page.close()
    await workshop.stop()
    const server = await serverOf(t, { store, args: ['--anonymous-access', 'read-only'] })
    const ada = await Person.open(t, server.http, 'public', { name: 'Ada L' })
    const bob = await Person.open(t, server.http, 'public', { name: 'Bob M' })
    await ada.settled()
    await bob.settled()
    await ada.page.getByText('You can view this dashboard, and not change it').waitFor()
    await ada.page.getByText('View only').waitFor()
    await ada.page.getByText('Write here at the same time').waitFor()
    for (const name of ['Add a widget', /^Move /, /^Configure /, 'Bold']) {
      assert.equal(await ada.page.getByRole('button', { name }).count(), 0, String(name))
    }
    for (const name of ['Undo', 'Redo']) assert.equal(await ada.page.getByRole('button', { name, exact: true }).isDisabled(), true, name)
    for (const name of ['Share with everyone']) assert.equal(await ada.page.getByRole('button', { name }).count(), 0, name)
    assert.equal(await ada.page.getByLabel('Title of the dashboard').getAttribute('readonly'), '')
    assert.equal(await ada.editor('note').getAttribute('contenteditable'), 'false')
    const before = await ada.content()
    await ada.drag('note', -400, 0)
    assert.deepEqual(await ada.content(), before)
    // What needs no right to edit works: presence, filters of one's own, following.
    await ada.page.getByRole('button', { name: '15 min', exact: true }).click()
    await ada.page.getByText('Only you see this').waitFor()
    assert.equal(await ada.page.getByRole('button', { name: 'Share with everyone' }).count(), 0)
    await ada.tile('note').hover()
    await bob.page.locator('.cursor', { hasText: 'Ada L' }).waitFor()
    assert.equal(await ada.status(), 'live saved')
  })

  test('a dashboard that is nobody’s to enter is refused in words', async t => {
    const server = await serverOf(t)
    const ada = await Person.open(t, server.http, '~somebody', { expects: problem => /Permission denied/.test(problem) })
    await ada.page.getByText('You have no access to this dashboard').waitFor()
  })
})

test('thirty tabs on one dashboard see each other and the same', async t => {
  const server = await serverOf(t)
  const ada = await Person.open(t, server.http, 'crowd', { name: 'Ada L' })
  await ada.settled()
  // Charts of thirty pages would measure the machine and not the page: one note, one number.
  await ada.edit(dashboard => dashboard.widgets.remove(...Object.keys(dashboard.widgets.all.get()).filter(id => !['note', 'edits-now'].includes(id))))
  await ada.settled()
  const context = await (await launch()).newContext({ viewport: { width: 700, height: 500 }, reducedMotion: 'reduce' })
  atEnd(t, () => context.close())
  const pages = []
  const problems = []
  for (let tab = 0; tab < 29; tab++) {
    const page = await context.newPage()
    pages.push(page)
    page.on('pageerror', error => problems.push(error.stack ?? error.message))
    await page.goto(`${server.http}/#crowd`)
  }
  await Promise.all(pages.map(page => page.locator('.save-state[data-status=live]').waitFor({ timeout: 60_000 })))
  await ada.page.getByRole('button', { name: 'You and 29 more' }).waitFor({ timeout: 30_000 })
  const began = Date.now()
  await ada.edit(dashboard => dashboard.widgets.update('edits-now', { title: 'Seen by all' }))
  await Promise.all(pages.map(page => page.getByRole('article', { name: 'Seen by all' }).waitFor({ timeout: 30_000 })))
  t.diagnostic(`29 tabs showed an edit within ${Date.now() - began} ms`)
  await Promise.all(pages.map((page, tab) => page.evaluate(tab => {
    const { dashboard } = window.ydash
    for (let n = 0; n < 10; n++) dashboard.meta.set({ [`tab${tab}.${n}`]: n })
  }, tab)))
  await eventually(async () => {
    const contents = await Promise.all([ada.page, ...pages].map(page => page.evaluate(() => window.ydash.dashboard.meta.shared.get())))
    for (const content of contents) assert.deepEqual(content, contents[0])
    assert.equal(Object.keys(contents[0]).filter(key => key.startsWith('tab')).length, 290)
    return true
  }, { within: 30_000, what: 'thirty tabs agree' })
  await context.close()
  await ada.page.getByRole('button', { name: 'You, alone here' }).waitFor({ timeout: 10_000 })
  assert.deepEqual(problems, [])
})

const sorted = value => typeof value === 'object' && value !== null
  ? Object.fromEntries(Object.keys(value).sort().map(key => [key, sorted(value[key])]))
  : value
