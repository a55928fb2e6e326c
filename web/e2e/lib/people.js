// People with browsers: each in a context of their own, as on machines of their own.

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { atEnd } from './at-end.js'
import { eventually } from './wait.js'

const EXECUTABLE = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(path => existsSync(path))

let browser = null

/** Closes the browser that the tests of this file share. */
export async function closeBrowser () {
  await (await browser)?.close()
  browser = null
}

export async function launch () {
  // The promise: two who come at the same time share one browser.
  browser ??= chromium.launch({
    executablePath: EXECUTABLE,
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-background-timer-throttling', '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows',
      // What comes from web/dist has no address, and may not connect to this machine otherwise.
      ...process.env.E2E_DIST ? ['--disable-features=LocalNetworkAccessChecks'] : []]
  })
  return browser
}

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' }

/** While working on the pages (E2E_DIST=1): takes them from web/dist, so that the binary need not be built again. */
async function serveFromDist (context, origin) {
  const dist = fileURLToPath(new URL('../../dist/', import.meta.url))
  await context.route(url => url.origin === origin, async route => {
    const { pathname } = new URL(route.request().url())
    const page = pathname.startsWith('/d/') ? 'index.html' : { '/': 'index.html', '/inspector': 'inspector.html' }[pathname]
    const path = `${dist}${page ?? pathname.slice(1)}`
    if (!existsSync(path)) return route.continue()
    // Under the server's own policy, which is what the pages have to do with.
    const { 'content-security-policy': policy } = page === undefined ? {} : (await route.fetch()).headers()
    return route.fulfill({ path, headers: { 'content-type': TYPES[extname(path)], ...policy && { 'content-security-policy': policy } } })
  })
}

/** Somebody with a dashboard open. */
export class Person {
  problems = []

  /**
   * Opens `dashboard` at `origin`, begun with a template if nobody has been there; gone when test `t` ends, which fails if the page
   * complained.
   */
  static async open (t, origin, dashboard, { name, begin = 'operations', query = {}, expects = () => false, ...options } = {}) {
    return Person.visit(t, `${origin}/d/${dashboard.includes('/') ? '' : 'default/'}${dashboard.split('/').map(encodeURIComponent).join('/')}?${new URLSearchParams({ new: begin, ...query })}`, { name, expects, ...options })
  }

  /** Opens an address; gone when test `t` ends, which fails if the page complained. */
  static async visit (t, url, { name, expects = () => false, ...options } = {}) {
    // A worker would come between the page and the routes of these tests.
    const context = await (await launch()).newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', serviceWorkers: 'block', ...options })
    const person = new Person()
    person.context = context
    if (process.env.E2E_DIST) await serveFromDist(context, new URL(url).origin)
    if (name) await context.addInitScript(name => { if (location.protocol === 'http:') localStorage.setItem('ydash:name', name) }, name)
    await person.#newPage(url)
    atEnd(t, async () => {
      await context.close()
      const problems = person.problems.filter(problem => !/Failed to load resource|WebSocket connection to|ERR_|Service Worker registration blocked/.test(problem) && !expects(problem))
      assert.deepEqual(problems, [], 'the page complained')
    })
    return person
  }

  async #newPage (url) {
    this.page = await this.context.newPage()
    this.page.on('pageerror', error => this.problems.push(error.stack || `thrown without a stack: ${error.name}: ${error.message}`))
    this.page.on('console', message => {
      if (['error', 'warning'].includes(message.type())) this.problems.push(message.text() || `${message.type()} without a text at ${JSON.stringify(message.location())}`)
    })
    await this.page.goto(url)
  }

  /** Waits until the dashboard is live and everything of it is saved. */
  async settled (within = 30_000) {
    await this.page.locator('.save-state[data-status=live][data-save=saved]').waitFor({ timeout: within })
    return this
  }

  async status () {
    const { status, save } = await this.page.locator('.save-state').evaluate(element => ({ ...element.dataset }))
    return `${status} ${save}`
  }

  async becomes (expected, within = 30_000) {
    await eventually(async () => {
      const status = await this.status()
      if (status !== expected) throw new Error(`it is ${status}`)
      return true
    }, { within, what: `status ${expected}` })
  }

  /** Waits until IndexedDB has what was edited until here: who reads waits there for those who wrote before. */
  keptInBrowser () {
    return this.page.evaluate(async () => {
      for (const { name } of await indexedDB.databases()) {
        await new Promise((resolve, reject) => {
          const opening = indexedDB.open(name)
          opening.onerror = () => reject(opening.error)
          opening.onsuccess = () => {
            const reading = opening.result.transaction([...opening.result.objectStoreNames])
            reading.oncomplete = resolve
            reading.onerror = () => reject(reading.error)
            reading.objectStore('updates').count()
          }
        })
      }
    })
  }

  /** What the document holds, as JSON. */
  content () {
    return this.page.evaluate(() => window.ydash.dashboard.doc.toJSON())
  }

  layout () {
    return this.page.evaluate(() => window.ydash.dashboard.layout.all.get())
  }

  /** Runs `change` on the dashboard, as the page's own code would. */
  edit (change, argument) {
    return this.page.evaluate(({ change, argument }) => new Function('dashboard', 'argument', `return (${change})(dashboard, argument)`)(window.ydash.dashboard, argument), { change: change.toString(), argument })
  }

  tile (id) {
    return this.page.locator(`[data-widget="${id}"]`)
  }

  head (id) {
    return this.tile(id).locator('.tile-head h2')
  }

  /** Where a drag of a widget begins, in the window. */
  async handle (id) {
    await this.tile(id).scrollIntoViewIfNeeded()
    const box = await this.head(id).boundingBox()
    return { x: box.x + 12, y: box.y + box.height / 2 }
  }

  /** Drags a widget by so many pixels. */
  async drag (id, dx, dy, { steps = 12 } = {}) {
    const { x, y } = await this.handle(id)
    await this.page.mouse.move(x, y)
    await this.page.mouse.down()
    await this.page.mouse.move(x + dx, y + dy, { steps })
    await this.page.waitForTimeout(60)
    await this.page.mouse.up()
  }

  editor (id) {
    return this.tile(id).locator('.ProseMirror')
  }

  text (id) {
    // Without the others' carets.
    return this.editor(id).evaluate(element => {
      const copy = element.cloneNode(true)
      for (const caret of copy.querySelectorAll('.caret')) caret.remove()
      return copy.textContent.replaceAll('\u2060', '')
    })
  }

  /** Removes a widget by its menu. */
  async remove (id) {
    await this.head(id).click({ button: 'right' })
    await this.page.getByRole('menuitem', { name: 'Remove' }).click()
  }

  /** Pastes a text where the focus is. */
  paste (text) {
    return this.page.evaluate(text => {
      const data = new DataTransfer()
      data.setData('text/plain', text)
      const target = document.activeElement ?? document.body
      target.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }))
    }, text)
  }

  async button (name) {
    await this.page.getByRole('button', { name, exact: true }).click()
  }

  async menu (menu, item) {
    await this.button(menu)
    await this.page.getByRole('menuitem', { name: item }).or(this.page.getByRole('menuitemradio', { name: item })).click()
  }
}

/** Waits until all of them hold the same, and show it at the same places. */
export function agreed (people, within = 20_000) {
  return eventually(async () => {
    const contents = await Promise.all(people.map(person => person.content()))
    for (const content of contents) assert.deepEqual(content, contents[0])
    const shown = await Promise.all(people.map(({ page }) => page.locator('[data-widget]').evaluateAll(tiles => tiles.map(tile => [tile.dataset.widget, tile.style.transform, tile.style.width, tile.style.height]))))
    for (const places of shown) assert.deepEqual(places, shown[0])
    return true
  }, { within, what: `${people.length} browsers agree` })
}
