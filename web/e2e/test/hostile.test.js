// Somebody writes and announces with plain Yjs what no page of ours would. Nobody's page breaks, stalls, runs or changes it.

import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { Server } from '../../../tests/interop/lib/server.js'
import { atEnd } from '../lib/at-end.js'
import { closeBrowser, Person } from '../lib/people.js'
import { element, Mallory, nonsense, text } from '../lib/mallory.js'
import { eventually } from '../lib/wait.js'
import * as Y from 'yjs'

after(closeBrowser)

const MARKUP = '"><img src=x onerror=alert(1)>'
const WIDE = '﷽'.repeat(64)

async function meet (t, dashboard, options) {
  const server = await Server.start()
  atEnd(t, () => server.stop())
  const ada = await Person.open(t, server.http, dashboard, { name: 'Ada L', ...options })
  await ada.settled()
  ada.page.on('dialog', dialog => {
    ada.problems.push(`it asked ${dialog.message()}`)
    return dialog.dismiss()
  })
  return { server, ada, mallory: await Mallory.join(t, server, dashboard) }
}

/** Everything stays in its box, and the page in the window. */
async function assertContained (page) {
  const { escaped, size } = await page.evaluate(() => ({
    size: [document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight],
    // What sticks out is cut off by something between it and its widget.
    escaped: [...document.querySelectorAll('[data-widget]')].filter(tile => {
      const box = tile.getBoundingClientRect()
      return [...tile.querySelectorAll('*')].some(inner => {
        const { left, right, bottom, width } = inner.getBoundingClientRect()
        if (width === 0 || left >= box.left - 14 && right <= box.right + 14 && bottom <= box.bottom + 14) return false
        for (let at = inner.parentElement; at !== tile; at = at.parentElement) if (getComputedStyle(at).overflow !== 'visible') return false
        return true
      })
    }).map(tile => tile.dataset.widget)
  }))
  assert.deepEqual(escaped, [], 'widgets stick out of their boxes')
  assert.ok(size[0] <= 0, `the page is ${size[0]} pixels wider than its window`)
  assert.ok(size[1] < 100_000, `the page is ${size[1]} pixels high`)
}

describe('a document full of nonsense', { timeout: 120_000 }, () => {
  test('is shown as far as it can be, stays as it is, and others go on', async t => {
    const { server, ada, mallory } = await meet(t, 'nonsense')
    const { doc } = mallory
    doc.transact(() => {
      nonsense().forEach((value, n) => doc.getMap('widgets').set(`is ${n}`, value))
      for (const id of ['__proto__', 'constructor', MARKUP, 'x'.repeat(10_000)]) mallory.widget(id, { type: 'number', title: MARKUP }, { x: 0, y: 0, w: 3, h: 3 })
      for (const key of ['type', 'title', 'options', 'content']) {
        nonsense().forEach((value, n) => mallory.widget(`${key} ${n}`, { type: key === 'content' ? 'note' : 'number', [key]: value }, new Y.Map([['x', 1]])))
      }
      const [metrics, colors, splits] = [nonsense(), nonsense(), nonsense()]
      metrics.forEach((metric, n) => {
        const options = new Y.Map(Object.entries({ metric, color: colors[n], split: splits[n] }))
        mallory.widget(`option ${n}`, { type: 'series', options }, { x: 1e9, y: -1e9, w: 1e9, h: n % 2 ? 1e9 : NaN })
      })
      const keys = ['data', 'rows', 'value', 'labels', 'series', 'unit', 'columns', 'x', 'warn', 'alert', 'min', 'max', 'goal', 'reduce', 'url', 'formula', 'table', 'query', 'every', 'text', 'style']
      const sources = [undefined, 'table', 'push', 'url', 'formula', 'server', 'prometheus']
      for (const type of ['number', 'chart', 'bar', 'table', 'gauge', 'status', 'text', 'image', 'embed', undefined]) {
        nonsense().forEach((_, n) => {
          const options = Object.fromEntries(keys.map((key, k) => [key, nonsense()[(n + k) % nonsense().length]]))
          mallory.widget(`${type} ${n}`, { type, options: new Y.Map(Object.entries({ ...options, source: sources[n % sources.length] })) })
        })
      }
      nonsense().forEach((value, n) => doc.getMap('tables').set(`is ${n}`, value))
      for (const key of ['title', 'columns', 'rows']) nonsense().forEach((value, n) => doc.getMap('tables').set(`${key} ${n}`, new Y.Map([[key, value]])))
      doc.getMap('tables').set('__proto__', new Y.Map([['columns', ['__proto__', 'constructor', MARKUP]], ['rows', nonsense().filter(value => !(value instanceof Y.AbstractType || value instanceof Y.Doc))]]))
      mallory.widget('of a table', { type: 'table', options: new Y.Map([['table', '__proto__']]) })
      mallory.widget('deep formula', { type: 'number', options: new Y.Map([['formula', '('.repeat(900)]]) })
      mallory.widget('wide formula', { type: 'number', options: new Y.Map([['formula', '1+'.repeat(400_000)]]) })
      for (const root of ['filters', 'preferences', 'meta']) {
        for (const key of ['__proto__', 'dateRange', 'sources', 'theme', 'compactMode', 'seeded']) doc.getMap(root).set(key, nonsense()[key.length])
        doc.getMap(root).set('refreshInterval', NaN)
      }
      doc.getMap('meta').set('title', 'W'.repeat(1_000_000))
      mallory.widget('long', { type: 'number', title: 'W'.repeat(1_000_000) })
      mallory.widget('strange', { type: MARKUP + 'W'.repeat(100_000) })
      const deep = new Y.Map()
      mallory.widget('deep', { type: 'number', options: deep })
      for (let [depth, at] = [0, deep]; depth < 100; depth++) at.set('in', at = new Y.Map())
    })
    // What is no map below a root that is one.
    for (const kind of ['getArray', 'getText', 'getXmlFragment']) {
      const other = new Y.Doc()
      const root = other[kind]('widgets')
      root.insert(0, kind === 'getArray' ? [1, 'a'] : kind === 'getText' ? 'hello' : [element('p')])
      Y.applyUpdate(doc, Y.encodeStateAsUpdate(other))
    }
    const written = JSON.stringify(doc.getMap('widgets').toJSON(), replaced)
    await ada.tile('long').waitFor({ state: 'attached' })
    await assertContained(ada.page)
    await ada.edit(dashboard => dashboard.widgets.update('edits-now', { title: 'Goes on' }))
    await ada.page.getByRole('article', { name: 'Goes on' }).getByText('/s').first().waitFor()
    await ada.settled()
    await ada.page.reload()
    await ada.settled()
    await ada.page.getByRole('article', { name: 'Goes on' }).getByText('/s').first().waitFor()
    await assertContained(ada.page)
    doc.getMap('widgets').get('edits-now').set('title', 'Edits')
    assert.equal(JSON.stringify(doc.getMap('widgets').toJSON(), replaced), written, 'looking at it changed it')

    // More of it, for the inspector.
    doc.transact(() => {
      for (let n = 0; n < 300; n++) doc.getMap(`root ${n}`).set('a', n)
      doc.getArray('numbers').insert(0, Array.from({ length: 200_000 }, (_, n) => n))
      doc.getText('text').insert(0, 'W'.repeat(1_000_000))
      doc.getMap('large').set('K'.repeat(100_000), 1)
      for (let n = 0; n < 20_000; n++) doc.getMap('large').set(`key ${n}`, n)
    })
    const page = await ada.context.newPage()
    page.on('pageerror', error => ada.problems.push(error.stack))
    await page.goto(`${server.http}/inspector#default%2Fnonsense`)
    await page.getByRole('treeitem', { name: /large map of/ }).waitFor()
    await page.evaluate(() => {
      window.longest = 0
      let last = performance.now()
      const next = now => {
        window.longest = Math.max(window.longest, now - last)
        last = now
        requestAnimationFrame(next)
      }
      requestAnimationFrame(next)
    })
    for (let n = 0; n < 30; n++) {
      doc.getMap('large').set(`key ${n}`, -n)
      doc.getArray('numbers').insert(0, [n])
      await new Promise(resolve => setTimeout(resolve, 20))
    }
    const longest = await page.evaluate(() => window.longest)
    t.diagnostic(`the longest frame of the inspector took ${Math.round(longest)} ms`)
    assert.ok(longest < 1_000, `the inspector stalled for ${longest} ms`)
    await page.close()
  })

  test('in notes is not run, and not deleted by the editor', async t => {
    const { ada, mallory } = await meet(t, 'notes')
    const { doc } = mallory
    doc.transact(() => {
      for (const id of [...doc.getMap('widgets').keys()]) if (id !== 'note') doc.getMap('widgets').delete(id)
      const place = n => ({ x: n % 4 * 3, y: Math.floor(n / 4) * 3, w: 3, h: 3 })
      mallory.note('top', [text('in no element')], place(0))
      mallory.note('unknown', [element('paragraph', {}, text('before')), element('image', { src: 'javascript:alert(1)' })], place(1))
      mallory.note('marked', [element('paragraph', {}, text('mine', { sparkle: true }))], place(2))
      mallory.note('hook', [new Y.XmlHook('script')], place(3))
      mallory.note('large', [element('paragraph', {}, text('W'.repeat(300_000)))], place(4))
      mallory.note('known', [
        element('heading', { level: `x onclick=${MARKUP}` }, text('heading')),
        element('ordered_list', { order: { a: 1 } }, element('list_item', {}, element('paragraph', {}, text('item')))),
        element('paragraph', {}, text('link', { link: { href: 'javascript:alert(1)' } }))
      ], place(5))
    })
    const kept = () => Object.fromEntries([...doc.getMap('widgets')].filter(([id]) => id !== 'note').map(([id, widget]) => [id, widget.get('content').toString()]))
    const written = kept()
    for (const id of ['top', 'unknown', 'marked', 'hook']) await ada.tile(id).getByText('Somebody wrote with another editor').waitFor()
    await ada.tile('large').getByText('too long').waitFor()
    await ada.editor('known').getByText('item').waitFor()
    assert.equal(await ada.editor('known').locator('a').getAttribute('href'), null)
    assert.equal(await ada.editor('known').locator('h1').textContent(), 'heading')

    // While it is open: it makes place at once, and comes back when what it does not know is gone.
    await ada.editor('note').waitFor()
    const note = doc.getMap('widgets').get('note').get('content')
    note.insert(0, [element('image', { src: 'x' })])
    await ada.tile('note').getByText('Somebody wrote with another editor').waitFor()
    await ada.edit(dashboard => dashboard.meta.set({ seen: true }))
    await ada.settled()
    await eventually(() => doc.getMap('meta').get('seen'))
    assert.equal(note.get(0).nodeName, 'image')
    assert.deepEqual(kept(), written, 'looking at it changed it')
    note.delete(0)
    await ada.editor('note').getByText('Try it').waitFor()
    await assertContained(ada.page)
  })
})

test('whatever somebody announces is shown as somebody, in its place', { timeout: 60_000 }, async t => {
  const { ada, mallory } = await meet(t, 'announced')
  await ada.editor('note').locator('h3').click()
  const user = { name: WIDE, color: '#ff0000' }
  const id = { client: -1, clock: 1e999 }
  for (const caret of [5, {}, { anchor: 'x', head: [] }, { anchor: { tname: 'made', item: null }, head: { tname: 'made' } }, { anchor: { item: id, type: id }, head: { item: { client: 1, clock: -1 } } }]) {
    for (const who of ['nobody', user, { name: { a: 1 }, color: `url(javascript:alert(1))${MARKUP}` }]) {
      mallory.announce({ user: who, cursor: caret, n: Math.random() })
      await ada.page.waitForTimeout(5)
    }
  }
  for (const pointer of [{ x: 'left', y: null }, { x: 1e300, y: 1e300 }, { x: 0.99, y: 1e300, area: 'edits-now' }, { x: -5e9, y: -5e9 }, { x: 1, y: 10 }]) {
    mallory.announce({ user, pointer, selection: 'edits-now', locks: Object.fromEntries([['requests', Number.MAX_SAFE_INTEGER], ['__proto__', 1], ['disk', 'x']]), following: MARKUP, view: MARKUP })
    if (typeof pointer.x === 'number') await ada.page.locator('.cursor').waitFor({ state: 'attached' })
    await ada.page.waitForTimeout(20)
    await assertContained(ada.page)
  }
  // However much somebody claims, it forbids nothing.
  const { requests } = await ada.layout()
  await ada.button('Take over')
  await ada.drag('requests', -420, 0)
  await eventually(async () => (await ada.layout()).requests.x < requests.x)
  await ada.editor('note').locator('h3').click()
  await ada.page.keyboard.press('End')
  await ada.page.keyboard.type(' and write')
  await ada.page.getByText('Try it and write').waitFor()
  await ada.button(`Follow ${WIDE}`)
  await ada.page.getByText('Following').waitFor()
  await assertContained(ada.page)
  mallory.announce(null)
  await ada.page.getByText('Following').waitFor({ state: 'detached' })
  assert.equal(await ada.page.locator('.cursor').count(), 0)
  assert.deepEqual(await ada.edit(dashboard => [...dashboard.doc.share.keys()].sort()), ['comments', 'filters', 'layout', 'meta', 'preferences', 'tables', 'widgets'])
})

test('a widget that breaks is one widget, and a page that breaks says so', { timeout: 60_000 }, async t => {
  const { server, ada } = await meet(t, 'broken', { expects: () => true })
  await ada.page.evaluate(() => { HTMLCanvasElement.prototype.getContext = () => { throw new Error('no charts today') } })
  await ada.edit(dashboard => dashboard.widgets.update('moves', { options: { split: true, color: 'sky', metric: 'append' } }))
  await ada.tile('moves').getByText('This widget cannot be shown').waitFor()
  await ada.tile('edits-now').getByText('/s').waitFor()
  await ada.edit(dashboard => dashboard.widgets.update('note', { title: 'Goes on' }))
  await ada.page.getByRole('article', { name: 'Goes on' }).getByText('Try it').waitFor()
  await ada.settled()
  await ada.context.addInitScript(() => { window.ResizeObserver = class { constructor () { throw new Error('nothing is measured today') } } })
  await ada.page.goto(`${server.http}/d/default/broken`)
  await ada.page.getByRole('alert').getByText('This page broke').waitFor()
  await ada.page.getByText('nothing is measured today').waitFor()
})

test('a browser that keeps nothing is told so, and works', { timeout: 60_000 }, async t => {
  const { ada } = await meet(t, 'nothing')
  await ada.context.addInitScript(() => {
    for (const name of ['sessionStorage', 'localStorage']) Object.defineProperty(window, name, { get () { throw new DOMException('no', 'SecurityError') } })
    IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError') }
  })
  await ada.page.reload()
  await ada.settled()
  await ada.menu('More', 'Work offline')
  await ada.edit(dashboard => dashboard.meta.set({ title: 'Only here' }))
  await ada.becomes('offline offline-changes')
  await ada.page.getByText('This browser keeps nothing').waitFor()
  await ada.page.getByText('Only in this tab').waitFor()
  await ada.menu('More', 'Go online')
  await ada.settled()
})

function replaced (key, value) {
  return typeof value === 'bigint' ? String(value) : key === 'title' && value === 'Goes on' ? 'Edits' : value
}
