// Plays each history of lib/histories.js in rounds with every provider against ydash and against the stock server of its dialect, and
// prints how long an edit or a user took to be seen: the median and the worst of the rounds, in milliseconds.
//
// Needs the packages of load-tests/peers/y-websocket and load-tests/peers/hocuspocus (npm ci).
//
//   npm run rounds                                  8 rounds of everything: some minutes
//   npm run rounds -- ROUNDS [WORD OF A HISTORY]    YDASH_BIN=path plays another binary than the release build
//
// Exits with 1 where something was not seen by ydash, or was seen later than by the stock server: by more than LATER at the median.

import { histories } from './lib/histories.js'
import { startPeer } from './lib/peers.js'
import { Server } from './lib/server.js'
import { addresses, versions } from './lib/users.js'

/** A flush of 8 ms more than a server that passes on each message as it comes, for each of up to three hops, and polling every 10 ms. */
const LATER = 40

const [rounds = 8, word = ''] = process.argv.slice(2)

/** Stands in for `node:test`: what has to end when a round does. */
function round () {
  const endings = []
  return { after: end => endings.push(end), end: () => { for (const end of endings.reverse()) end() } }
}

async function play (history, places, version) {
  const times = []
  let failure = null
  for (let n = 1; n <= rounds; n++) {
    const t = round()
    try {
      times.push(await history(t, places, version, n))
    } catch (error) {
      failure = error.message
    } finally {
      t.end()
    }
  }
  times.sort((a, b) => a - b)
  return { median: times[times.length >> 1], worst: times.at(-1), missing: rounds - times.length, failure }
}

const shown = ({ median, worst, missing, failure }) =>
  (median === undefined ? 'never' : `${median.toFixed(0)} / ${worst.toFixed(0)}`) + (missing > 0 ? ` (not ${missing} of ${rounds}: ${failure})` : '')

const ydash = await Server.start()
const peers = { 'y-websocket': await startPeer('y-websocket'), hocuspocus: await startPeer('hocuspocus') }
const stock = Object.fromEntries(Object.entries(peers).map(([dialect, { address }]) => [dialect, address]))
// Hocuspocus' server closes documents with a message that provider 2 throws at; a page would go on.
process.on('uncaughtException', error => console.error(error.message))
let isWorse = false
try {
  console.log(`| history | provider | ydash | stock | |\n|---|---|---|---|---|`)
  for (const [name, history] of Object.entries(histories)) {
    if (!name.includes(word)) continue
    for (const version of versions) {
      const ours = await play(history, addresses(ydash), version)
      const theirs = await play(history, stock, version)
      const isLate = ours.missing > 0 || ours.median > (theirs.median ?? Infinity) + LATER
      isWorse ||= isLate
      console.log(`| ${name} | ${version.name} | ${shown(ours)} | ${shown(theirs)} | ${isLate ? 'later' : ''} |`)
    }
  }
} finally {
  for (const peer of Object.values(peers)) peer.stop()
  await ydash.stop()
}
process.exit(isWorse ? 1 : 0)
