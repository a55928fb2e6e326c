// What is asked of a run: nothing is skipped in silence, nothing is written twice, and one that was broken off goes on.

import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import * as Y from 'yjs'
import { fromDashboard, toDashboard } from '../src/names.js'
import { eventually, fill, join13, migrate, readAs13, shows, startYdash, temporary } from './support.js'

test('names become what ydash makes of them when a client opens them', async t => {
  const cases = [
    // old name, rule, workspace, dashboard
    ['sales', 'path', undefined, 'default/sales'],
    ['a/b', 'path', undefined, 'a/b'],
    ['a%2Fb', 'path', undefined, 'a/b'],
    ['my%20project/board', 'path', undefined, 'default/my project/board'],
    ['a/', 'path', undefined, 'default/a/'],
    ['ws/ws/x', 'path', undefined, 'ws/x'],
    ['a%5Cb', 'path', undefined, 'default/a\\b'],
    ['ws/acme/a/b', 'path', undefined, 'acme/a/b'],
    ['with%20space', 'path', undefined, 'default/with space'],
    ['%C3%BC', 'path', undefined, 'default/ü'],
    ['100%', 'path', undefined, 'default/100%'],
    ['ws/acme/x', 'path', 'team', 'team/ws/acme/x'],
    ['sales', 'short', undefined, 'default/sales'],
    ['acme/a/b', 'short', undefined, 'acme/a/b'],
    ['default/acme/a', 'short', undefined, 'acme/a'],
    ['user:1/notes', 'short', undefined, 'default/user:1/notes'],
    ['with%20percent', 'short', undefined, 'default/with%20percent'],
    ['acme/a', 'short', 'team', 'team/acme/a']
  ]
  for (const [name, rule, workspace, dashboard] of cases) {
    assert.equal(toDashboard(name, rule, workspace), dashboard)
    const back = fromDashboard(dashboard, rule, workspace)
    assert.equal(toDashboard(back, rule, workspace), dashboard, `${dashboard} and back`)
  }
  assert.throws(() => fromDashboard('acme/a', 'path', 'team'), /not in the workspace/)
  assert.equal(fromDashboard('default/a?b#c%20d', 'path'), 'a%3Fb%23c%2520d')
})

test('what is not taken is named with its reason, and does not hold up the rest', async t => {
  const ydash = await startYdash(t, { args: ['--document-bytes-max', '2KiB', '--frame-bytes-max', '2KiB'] })
  const good = written(doc => fill(doc, 'good'))
  const lines = [
    line('good', good),
    line('~private', good),
    line('a/../b', good),
    line('large', written(doc => doc.getText('notes').insert(0, 'x'.repeat(5000)))),
    line('garbage', Buffer.from('this is no update')),
    '{"name": "sales", "update": "no base64!"}',
    '{"update": "AAA="}',
    'not even JSON',
    line('blank', Buffer.of(0, 0)),
    line('last', good)
  ]
  const ran = await migrate('lines', '-', '--to', ydash.http, { stdin: lines.join('\n') })
  assert.deepEqual([ran.status, ran.outcomes], [1, { moved: 2, empty: 1, failed: 7 }], ran.output)
  for (const pattern of [
    /failed +default\/~private .*forbidden|failed +default\/~private/, /failed +a\/\.\.\/b .*bad_name/, /failed +default\/large .*too_large.*frame-bytes-max/,
    /failed +default\/garbage .*not a Yjs update/, /failed +line 6 .*not base64/, /failed +line 7 .*neither name/, /failed +line 8/
  ]) assert.match(ran.output, pattern)
  assert.equal((await migrate('lines', '-', '--to', ydash.http, '--quiet', { stdin: lines[0] })).output, '1 there\n')
})

test('edits that wait for others stay behind, and that is said', async t => {
  const ydash = await startYdash(t)
  const doc = new Y.Doc()
  const updates = []
  doc.on('update', update => updates.push(update))
  for (const word of ['one ', 'lost ', 'three']) doc.getText('notes').insert(doc.getText('notes').length, word)
  const holed = Y.mergeUpdates([updates[0], updates[2]])
  const ran = await migrate('lines', '-', '--to', ydash.http, { stdin: line('holed', holed) })
  assert.deepEqual([ran.status, ran.outcomes], [0, { moved: 1 }], ran.output)
  assert.match(ran.output, /\d+ bytes wait for edits that the source does not have/)
  assert.equal((await readAs13(t, ydash.origin, 'holed')).getText('notes').toString(), 'one ')
})

test('several lines add to one document', async t => {
  const ydash = await startYdash(t)
  const doc = new Y.Doc()
  const updates = []
  doc.on('update', update => updates.push(update))
  fill(doc, 'pieces')
  const lines = updates.map(update => line('pieces', update)).join('\n')
  const ran = await migrate('lines', '-', '--to', ydash.http, { stdin: lines })
  assert.deepEqual([ran.status, ran.outcomes], [0, { moved: 1 }], ran.output)
  assert.equal(shows(await readAs13(t, ydash.origin, 'pieces')), shows(doc))

  // Also when the second half comes another day.
  const half = updates.length >> 1
  for (const part of [updates.slice(0, half), updates.slice(half)]) {
    const stdin = part.map(update => line('halves', update)).join('\n')
    const ran = await migrate('lines', '-', '--to', ydash.http, { stdin })
    assert.deepEqual([ran.status, ran.outcomes], [0, { moved: 1 }], ran.output)
    assert.doesNotMatch(ran.output, /wait for/)
  }
  assert.equal(shows(await readAs13(t, ydash.origin, 'halves')), shows(doc))
})

test('a run that is killed goes on where it was', async t => {
  const ydash = await startYdash(t)
  const file = join(await temporary(t), 'lines')
  const names = Array.from({ length: 60 }, (_, n) => `board-${n}`)
  await writeFile(file, names.map(name => line(name, written(doc => fill(doc, name)))).join('\n'))
  const kill = new AbortController()
  const broken = migrate('lines', file, '--to', ydash.http, '--jobs', '1', { signal: kill.signal }).catch(error => error)
  const count = async () => (await migrate('lines', file, '--to', ydash.http, '--check')).outcomes.there ?? 0
  await eventually(async () => await count() >= 3, { within: 20_000 })
  kill.abort()
  await broken
  const ran = await migrate('lines', file, '--to', ydash.http)
  assert.equal(ran.status, 0, ran.output)
  assert.ok(ran.outcomes.there >= 3, ran.output)
  assert.equal((ran.outcomes.moved ?? 0) + ran.outcomes.there, names.length)
})

test('a dashboard that is being edited takes what comes, at once and for everybody', async t => {
  const ydash = await startYdash(t)
  const old = new Y.Doc()
  fill(old, 'both')
  const client = join13(t, ydash.origin, 'both')
  await client.synced()
  client.doc.getMap('widgets').set('first', 'here')
  const ran = await migrate('lines', '-', '--to', ydash.http, { stdin: line('both', Y.encodeStateAsUpdate(old)) })
  assert.match(ran.output, /moved +default\/both .*edited since/)
  await eventually(() => client.doc.getText('notes').toString() === old.getText('notes').toString())
  assert.equal(client.doc.getMap('widgets').get('first'), 'here')
})

test('without a place to begin it says what is missing', async () => {
  for (const [args, message] of [
    [[], /--help/],
    [['mysql', 'x'], /no source mysql.*--help/],
    [['files', '/nowhere'], /where to/],
    [['files', '/nowhere', '--to', 'http://127.0.0.1:9'], /nowhere/],
    [['leveldb', '/tmp', '--dry-run'], /not a LevelDB directory/],
    [['sqlite', '/nowhere', '--dry-run'], /there is no \/nowhere/],
    [['server', 'ws://127.0.0.1:9', '--dry-run'], /--names/],
    [['files', '/tmp', '--to', 'ftp://x'], /--to takes/]
  ]) {
    const ran = await migrate(...args)
    assert.equal(ran.status, 2, args.join(' '))
    assert.match(ran.errors, message)
  }
})

function written (write) {
  const doc = new Y.Doc()
  write(doc)
  return Y.encodeStateAsUpdate(doc)
}

const line = (name, update) => JSON.stringify({ name, update: Buffer.from(update).toString('base64') })
