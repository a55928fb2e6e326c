// What people say about widgets: two browsers, and somebody who may only look.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Server } from '../../../tests/interop/lib/server.js'
import { violations } from '../lib/axe.js'
import { closeBrowser, Person } from '../lib/people.js'
import { eventually } from '../lib/wait.js'

let server

before(async () => { server = await Server.start() })
after(async () => {
  await closeBrowser()
  await server.stop()
})

test('a comment reaches others with its author, is answered, settled and opened again', async t => {
  const ada = await Person.open(t, server.http, 'said', { begin: 'sample', name: 'Ada L' })
  await ada.settled()
  const bob = await Person.open(t, server.http, 'said', { name: 'Bob M' })
  await bob.settled()

  await ada.head('months').click({ button: 'right' })
  await ada.page.getByRole('menuitem', { name: 'Comments' }).click()
  await ada.page.getByText('Nobody has said anything about this widget yet').waitFor()
  await ada.page.getByLabel('New comment').fill('Is August right, @Bob?')
  await ada.page.keyboard.press('Control+Enter')

  await bob.page.getByText('Ada L commented on “Revenue and costs”').waitFor()
  await bob.button('Show')
  const thread = bob.page.getByRole('list', { name: 'Open comments' }).getByRole('article')
  await thread.getByText('Is August right').waitFor()
  assert.equal(await thread.locator('mark').textContent(), '@Bob')
  assert.deepEqual(await violations(bob.page), [])
  await thread.getByRole('button', { name: 'Answer' }).click()
  await bob.page.getByLabel('Answer', { exact: true }).fill('Yes, the fair was on.')
  await thread.getByRole('button', { name: 'Answer' }).click()
  await ada.page.getByText('Yes, the fair was on.').waitFor()
  // Each may take back their own.
  assert.equal(await ada.page.getByRole('button', { name: 'Delete “Yes, the fair was on.”' }).count(), 0)

  await ada.button('1 comment on Revenue and costs')
  await ada.page.getByRole('button', { name: 'Settle' }).click()
  await ada.page.getByText('Settled (1)').waitFor()
  await ada.page.getByRole('button', { name: '1 comment on Revenue and costs' }).waitFor({ state: 'detached' })
  await bob.page.getByText('Settled (1)').click()
  await bob.page.getByRole('button', { name: 'Open again' }).click()
  await ada.page.getByRole('button', { name: '1 comment on Revenue and costs' }).waitFor()
  await ada.button('Delete “Is August right, @Bob?”')
  await bob.page.getByText('Nobody has said anything about this widget yet').waitFor()
  assert.deepEqual(await ada.content().then(({ comments }) => comments), {})
})

test('the keyboard is enough to comment, and Ctrl Z takes it back', async t => {
  const ada = await Person.open(t, server.http, 'by keys', { begin: 'sample', name: 'Ada L' })
  await ada.settled()
  await ada.page.getByRole('button', { name: /^Move Orders/ }).focus()
  await ada.page.keyboard.press('c')
  await ada.page.getByLabel('New comment').waitFor()
  await eventually(() => ada.page.evaluate(() => document.activeElement?.getAttribute('aria-label') === 'New comment'))
  await ada.page.keyboard.type('Well done')
  await ada.page.keyboard.press('Control+Enter')
  await ada.page.getByRole('button', { name: '1 comment on Orders' }).waitFor()
  await ada.page.keyboard.press('Escape')
  await ada.page.keyboard.press('Control+z')
  await ada.page.getByRole('button', { name: '1 comment on Orders' }).waitFor({ state: 'detached' })
})

test('what others wrote there with plain Yjs breaks nothing', async t => {
  const ada = await Person.open(t, server.http, 'odd comments', { begin: 'sample', name: 'Ada L' })
  await ada.settled()
  await ada.edit(dashboard => {
    const map = dashboard.doc.getMap('comments')
    const nonsense = {
      a: 1,
      b: null,
      c: { widget: 'orders' },
      d: { widget: 'orders', text: 'x'.repeat(9_000), by: { a: 1 }, color: 'url(javascript:0)', at: 'never' },
      e: { widget: 5, text: 'no' },
      f: { widget: 'orders', text: 'answer to nothing', thread: 'gone' },
      __proto__x: []
    }
    for (const [id, value] of Object.entries(nonsense)) map.set(id, value)
  })
  await ada.button('1 comment on Orders')
  await ada.page.getByRole('article', { name: /^Somebody: x/ }).waitFor()
})
