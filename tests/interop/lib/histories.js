// What users of Yjs servers do, and have reported when it went wrong: short histories with real providers, which any server of their
// dialect can play. Each resolves to how long an edit or a user took to be seen, and fails with what was not seen.

import * as Y from 'yjs'
import { freshRoom } from './clients.js'
import { agree, User } from './users.js'
import { eventually } from './wait.js'

/** How long an edit or a user may take to be seen. What is held for a time is held longer. */
const SOON = 5_000

async function seen (what, check, within = SOON) {
  const began = performance.now()
  await eventually(check, { within, what })
  return performance.now() - began
}

const joining = (t, places, version) => {
  const room = freshRoom()
  return options => User.join(t, places, version, room, options)
}

const synced = users => Promise.all(users.map(user => user.synced()))

/**
 * Two transports for one document are what Yjs is made for (y-webrtc beside y-websocket): bob hears ada by the other one, and the server
 * hears her from bob, before she has a server herself.
 */
async function relayed (t, places, version) {
  const join = joining(t, places, version)
  const [bob, cy] = [join(), join()]
  await synced([bob, cy])
  const doc = new Y.Doc()
  doc.getMap('map').set('one', 1)
  Y.applyUpdate(bob.doc, Y.encodeStateAsUpdate(doc), 'another transport')
  const first = await seen('the relayed edit', () => cy.doc.getMap('map').get('one') === 1)
  const ada = join({ doc })
  await ada.synced()
  ada.show('user', { name: 'ada' })
  doc.getMap('map').set('two', 2)
  const next = await seen("the author's own next edit", () => [bob, cy].every(user => user.doc.getMap('map').get('two') === 2))
  const shown = await seen('the author', () => cy.sees(ada)?.user?.name === 'ada')
  return Math.max(first, next, shown)
}

/** The first content of each document is one fixed update under a client id of its own. A later release has a longer one. */
const templates = (() => {
  const doc = new Y.Doc()
  doc.clientID = 0
  doc.getMap('board').set('title', 'New board')
  doc.getText('intro').insert(0, 'Welcome. ')
  const short = Y.encodeStateAsUpdate(doc)
  doc.getArray('columns').push([new Y.Map([['name', 'todo']]), new Y.Map([['name', 'done']])])
  return { short, long: Y.encodeStateAsUpdate(doc) }
})()

const templated = isEarly => async (t, places, version) => {
  const join = joining(t, places, version)
  const open = async template => {
    const doc = new Y.Doc()
    if (isEarly) Y.applyUpdate(doc, template)
    const user = join({ doc })
    await user.synced()
    if (!isEarly) Y.applyUpdate(doc, template)
    return user
  }
  const [ada, bob] = await Promise.all([open(templates.short), open(templates.short)])
  ada.doc.getText('intro').insert(9, 'A.')
  bob.doc.getText('intro').insert(0, 'B.')
  const both = await seen('what both wrote into the template', () => agree([ada, bob]) && ada.doc.getText('intro').length === 13)
  const cy = await open(templates.long)
  cy.doc.getArray('columns').get(0).set('cards', 3)
  cy.doc.getMap('board').set('by', 'cy')
  const later = await seen('the longer template, and what was written into it', () =>
    ada.doc.getArray('columns').length === 2 && ada.doc.getArray('columns').get(0).get('cards') === 3 &&
    ada.doc.getMap('board').get('by') === 'cy')
  return Math.max(both, later)
}

/** A user's number as `doc.clientID`, on two devices. Yjs heals it: who receives an edit in its own name takes another id. */
async function shared (t, places, version) {
  const join = joining(t, places, version)
  const device = () => {
    const doc = new Y.Doc()
    doc.clientID = 4711
    const user = join({ doc })
    user.show('user', { name: 'ada' })
    return user
  }
  const cy = join()
  const phone = device()
  await synced([cy, phone])
  const laptop = device()
  await laptop.synced()
  laptop.doc.getMap('map').set('laptop', 1)
  const first = await seen("the second device's edit", () => [phone, cy].every(user => user.doc.getMap('map').get('laptop') === 1))
  phone.doc.getMap('map').set('phone', 2)
  const second = await seen("the first device's edit", () => [laptop, cy].every(user => user.doc.getMap('map').get('phone') === 2))
  laptop.doc.getMap('map').set('laptop', 3)
  const third = await seen("the second device's next edit", () => agree([phone, laptop, cy]) && cy.doc.getMap('map').get('laptop') === 3)
  return Math.max(first, second, third)
}

/** A machine restored from an image goes on under the id under which the first one, which still runs, has written. */
async function restored (t, places, version) {
  const join = joining(t, places, version)
  const [cy, machine] = [join(), join()]
  await synced([cy, machine])
  machine.show('user', { name: 'ada' })
  machine.doc.getMap('map').set('before', 1)
  await seen('the first edit', () => cy.doc.getMap('map').get('before') === 1)
  const doc = new Y.Doc()
  Y.applyUpdate(doc, Y.encodeStateAsUpdate(machine.doc))
  doc.clientID = machine.id
  const copy = join({ doc })
  await copy.synced()
  copy.show('user', { name: 'ada' })
  copy.doc.getMap('map').set('copy', 2)
  const one = await seen("the restored machine's edit", () => [cy, machine].every(user => user.doc.getMap('map').get('copy') === 2))
  machine.doc.getMap('map').set('machine', 3)
  const other = await seen("the first machine's edit", () => agree([cy, machine, copy]) && cy.doc.getMap('map').get('machine') === 3)
  return Math.max(one, other)
}

/** A component mounted twice opens a second connection for its document and forgets the first, which stays open. */
async function mountedTwice (t, places, version) {
  const join = joining(t, places, version)
  const cy = join()
  const doc = new Y.Doc()
  const forgotten = join({ doc })
  await synced([cy, forgotten])
  const page = join({ doc })
  await page.synced()
  page.show('user', { name: 'ada' })
  const shown = await seen('the user', () => cy.sees(page)?.user?.name === 'ada')
  let moved = 0
  for (const x of [1, 2, 3]) {
    page.show('cursor', { x })
    moved = Math.max(moved, await seen(`its cursor at ${x}`, () => cy.sees(page)?.cursor?.x === x))
  }
  doc.getMap('map').set('key', 1)
  const edited = await seen('its edit', () => cy.doc.getMap('map').get('key') === 1)
  return Math.max(shown, moved, edited)
}

/** What one member of a mesh hears, all of them hear that are in it, without the server. */
class Mesh {
  #members = new Set()

  enter (doc) {
    for (const other of this.#members) {
      Y.applyUpdate(doc, Y.encodeStateAsUpdate(other, Y.encodeStateVector(doc)), this)
      Y.applyUpdate(other, Y.encodeStateAsUpdate(doc, Y.encodeStateVector(other)), this)
    }
    this.#members.add(doc)
    doc.on('update', this.#tell)
  }

  leave (doc) {
    doc.off('update', this.#tell)
    this.#members.delete(doc)
  }

  #tell = (update, origin, doc) => {
    if (origin === this) return
    for (const other of this.#members) if (other !== doc) Y.applyUpdate(other, update, this)
  }
}

const MESH = { members: 4, steps: 40 }

/** Members of a mesh beside the server drop out of either and come back, in an order that `seed` decides, and edit all the while. */
async function meshed (t, places, version, seed = 1) {
  const join = joining(t, places, version)
  const mesh = new Mesh()
  const chance = generator(seed)
  const reader = join()
  const members = Array.from({ length: MESH.members }, () => ({ user: join(), isMeshed: true, isOnline: true }))
  await synced([reader, ...members.map(({ user }) => user)])
  for (const { user } of members) mesh.enter(user.doc)
  members.forEach((member, n) => {
    member.user.show('user', { name: `member ${n}` })
    if (n % 2 === 0) return
    // The server hears its first edits from others.
    member.user.offline()
    member.isOnline = false
    member.user.doc.getMap('map').set(`first of ${n}`, n)
  })
  for (let step = 0; step < MESH.steps; step++) {
    const member = members[chance(members.length)]
    const { user } = member
    const act = chance(6)
    if (act === 0) {
      member.isMeshed ? mesh.leave(user.doc) : mesh.enter(user.doc)
      member.isMeshed = !member.isMeshed
    } else if (act === 1) {
      member.isOnline ? user.offline() : user.online()
      member.isOnline = !member.isOnline
    } else if (act === 2 && member.isOnline) {
      user.cut()
    } else {
      user.doc.getMap('map').set(`step ${step}`, step)
      user.doc.getText('text').insert(chance(user.doc.getText('text').length + 1), `${step} `)
    }
    if (chance(3) === 0) await new Promise(resolve => setTimeout(resolve, chance(30)))
  }
  for (const member of members) {
    if (!member.isMeshed) mesh.enter(member.user.doc)
    if (!member.isOnline) member.user.online()
  }
  const users = members.map(({ user }) => user)
  // Providers wait for some seconds when they could not connect several times in a row.
  await seen(`all members' edits (seed ${seed})`, () => agree([reader, ...users]) && reader.doc.getMap('map').size > 0, 15_000)
  await seen(`all members (seed ${seed})`, () => users.every((user, n) => reader.sees(user)?.user?.name === `member ${n}`), 15_000)
  // The mesh ends, and each has the server alone.
  for (const { doc } of users) mesh.leave(doc)
  users.forEach(({ doc }, n) => doc.getMap('map').set(`last of ${n}`, n))
  return seen(`what each wrote last (seed ${seed})`, () =>
    [reader, ...users].every(({ doc }) => users.every((_, n) => doc.getMap('map').get(`last of ${n}`) === n)))
}

/** Whole numbers below a bound, the same for the same seed (mulberry32). */
function generator (seed) {
  let state = seed
  return bound => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound
  }
}

/** Each history by what is right in it. */
export const histories = {
  'an edit that came by another transport makes nobody its author': relayed,
  'a template under a fixed id, applied before connecting, may be longer in a later release': templated(true),
  'a template under a fixed id, applied when synced, may be longer in a later release': templated(false),
  'two devices under one id see each other': shared,
  'a machine restored from an image and the first one see each other': restored,
  'a page mounted twice is shown although its first connection was forgotten': mountedTwice,
  'members of a mesh that drop out and come back lose nothing': meshed
}
