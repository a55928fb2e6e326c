// Who is let in, and how a link brings its token.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { BINARY, Server } from '../../../tests/interop/lib/server.js'
import { closeBrowser, Person } from '../lib/people.js'

const SECRET = 'a secret that is long enough to sign tokens with'

after(closeBrowser)

/** What the provider and the browser say of a refusal. */
const expects = problem => /Permission denied|status of 40[13]/.test(problem)

describe('a server that asks for tokens', () => {
  let server
  before(async () => { server = await Server.start({ args: ['--auth-secret', SECRET] }) })
  after(() => server.stop())

  const link = (...args) => execFileSync(BINARY, ['token', '--auth-secret', SECRET, ...args, '--link', '--url', server.http], { encoding: 'utf8' }).trim()
  const ofAda = () => link('--user', 'ada', '--name', 'Ada Lovelace', '--role', 'editor', '--dashboard', 'acme/sales')

  test('lets in whoever opens a link, under their name, and keeps the token out of the address', async t => {
    const ada = await Person.visit(t, ofAda())
    await ada.settled()
    assert.equal(await ada.page.evaluate(() => location.hash), '')
    assert.equal(await ada.page.evaluate(() => window.ydash.dashboard.presence.self.get().user.name), 'Ada Lovelace')

    const sockets = []
    ada.page.on('websocket', socket => sockets.push(socket.url()))
    await ada.page.reload()
    await ada.settled()
    assert.ok(sockets.length > 0)
    assert.deepEqual(sockets.filter(url => url.includes('token')), [], 'what proxies write into their logs')
  })

  test('tells whoever has no link that they have no access', async t => {
    const nobody = await Person.visit(t, `${server.http}/d/acme/sales`, { expects })
    await nobody.page.getByText('You have no access to this dashboard').waitFor()
    for (const name of ['Undo', 'Share', 'Add a widget']) assert.equal(await nobody.page.getByRole('button', { name }).count(), 0, name)
    await nobody.page.getByLabel('A link that you were given').fill('nonsense here')
    await nobody.button('Open')
    await nobody.page.getByText('This is no link to a dashboard here').waitFor()
    await nobody.page.getByLabel('A link that you were given').fill(ofAda())
    await nobody.button('Open')
    await nobody.settled()
  })

  test('tells whoever comes without one what this is, and offers no sample that they could not open', async t => {
    const nobody = await Person.visit(t, server.http, { expects })
    await nobody.page.getByRole('heading', { name: 'A dashboard that everyone edits at once.' }).waitFor()
    await nobody.page.getByText('This server lets in people who have a link').waitFor()
    assert.equal(await nobody.page.getByRole('button', { name: 'New' }).count(), 0)
  })

  test('shows commands that say where a token goes', async t => {
    const ada = await Person.visit(t, ofAda())
    await ada.settled()
    await ada.menu('More', 'Your code')
    const command = await ada.page.getByRole('region', { name: 'command that pushes' }).textContent()
    const [, token] = ofAda().split('#token=')
    assert.ok(!command.includes(token))
    assert.match(execFileSync('bash', ['-c', `${command} -s`], { encoding: 'utf8', env: { ...process.env, YDASH_TOKEN: token } }), /"points":1/)
  })

  test('tells whoever has a link to another dashboard the same', async t => {
    const ada = await Person.visit(t, ofAda(), { expects })
    await ada.settled()
    await ada.page.goto(`${server.http}/d/acme/finance`)
    await ada.page.getByText('You have no access to this dashboard').waitFor()
  })

  test('shows its inspector to operators only', async t => {
    const [, token] = link('--user', 'root', '--operator', '--role', 'viewer', '--dashboard', 'acme/sales').split('#')
    const operator = await Person.visit(t, `${server.http}/inspector#${token}`)
    await operator.page.getByText('Sessions').first().waitFor()
    const nobody = await Person.visit(t, `${server.http}/inspector`)
    await nobody.page.getByText('answers only to operators').first().waitFor()
  })
})
