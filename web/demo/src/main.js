// The page: one shared document, shown as a board and a text, with everybody who looks at it.

import * as Y from 'yjs'
import { Connection } from './connection.js'
import { showBoard } from './board.js'
import { showText } from './text.js'
import { showPeople } from './people.js'

const DEFAULT_ROOM = 'demo'

const byId = id => document.getElementById(id)

const room = roomOf(location.hash)
if (location.hash === '') history.replaceState(null, '', `#${DEFAULT_ROOM}`)
addEventListener('hashchange', () => location.reload())

const doc = new Y.Doc()
const connection = new Connection(doc, room)
const { awareness } = connection

byId('room').textContent = room
document.title = `${room} – ydash`

showPeople(awareness)
showBoard(doc, awareness)
showText(doc, awareness)

connection.onChange(({ link, save }) => {
  show(byId('connection'), link)
  show(byId('save'), save)
})

/** Changes a status only when it says something else: it is read aloud. */
function show (element, { state, text }) {
  element.dataset.state = state
  if (element.textContent !== text) element.textContent = text
}

function roomOf (hash) {
  const raw = hash.slice(1)
  try {
    return decodeURIComponent(raw) || DEFAULT_ROOM
  } catch {
    return raw // a lone percent sign is part of the name
  }
}
