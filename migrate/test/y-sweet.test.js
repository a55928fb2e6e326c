// From y-sweet: a store that y-sweet 0.9.1 wrote for its own client. The server itself is a program that npm does not carry.

import assert from 'node:assert/strict'
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { migrate, readAs13, shows, startYdash, temporary } from './support.js'
import { updates } from '../src/sources/y-sweet.js'

const STORE = fileURLToPath(new URL('y-sweet-0.9.1', import.meta.url))

test('what y-sweet keeps is in ydash, under the same names', async t => {
  const expected = JSON.parse(await readFile(join(STORE, 'shows.json'), 'utf8'))
  const ydash = await startYdash(t)
  const moved = await migrate('y-sweet', STORE, '--to', ydash.http, '--workspace', 'acme')
  assert.deepEqual([moved.status, moved.outcomes], [0, { moved: 2 }], moved.output + moved.errors)
  for (const [id, content] of Object.entries(expected)) {
    assert.equal(shows(await readAs13(t, `${ydash.origin}/ws/acme`, id)), content, id)
  }
})

test('a file that is cut off is named, and the others are carried', async t => {
  const store = await temporary(t)
  await cp(STORE, store, { recursive: true })
  const file = join(store, 'sales', 'data.ysweet')
  const whole = await readFile(file)
  await writeFile(file, whole.subarray(0, 100))
  const ydash = await startYdash(t)
  const moved = await migrate('y-sweet', store, '--to', ydash.http)
  assert.deepEqual([moved.status, moved.outcomes], [1, { moved: 1, failed: 1 }], moved.output)
  assert.match(moved.output, /failed +default\/sales .*cut off/)
})

test('updates that y-sweet had not joined yet are read too', () => {
  const length = n => { const bytes = Buffer.alloc(8); bytes.writeBigUInt64LE(BigInt(n)); return bytes }
  const string = bytes => [length(bytes.length), Buffer.from(bytes)]
  const map = Buffer.concat([
    length(4),
    ...string([0, 0, 100, 111, 99, 0]), ...string([1, 0, 0, 0]), // the name's number
    ...string([0, 1, 0, 0, 0, 1, 0]), ...string([7]), // the state
    ...string([0, 1, 0, 0, 0, 1, 1]), ...string([8]), // its state vector
    ...string([0, 1, 0, 0, 0, 1, 2, 0, 0, 0, 5, 0]), ...string([9]) // an update
  ].flat())
  assert.deepEqual(updates(map).map(update => [...update]), [[7], [9]])
})
