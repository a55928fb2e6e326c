// Every attack by its number, and those that this tool does not play.

import { identity } from './identity.js'
import { memory } from './memory.js'
import { places } from './places.js'
import { spoiling } from './spoiling.js'
import { work } from './work.js'

export const attacks = [...work, ...identity, ...spoiling, ...memory, ...places].sort((a, b) => a.number - b.number)

/** What is damaged or told apart without load is shown by tests alone. */
export const elsewhere = [
  { number: 14, name: 'journal-damaged', what: 'a bit of the journal flipped after a crash, a file missing, a tail cut off' },
  { number: 30, name: 'bus-frame-overflow', what: '30 bytes on a channel of the bus: part 2^32 - 1' },
  { number: 32, name: 'archives-of-garbage', what: 'archives that are sealed rightly and hold no updates' },
  { number: 33, name: 'order-dependent-structs', what: 'structs whose neighbours are in different lists, so that live clients and newcomers differ' }
]
