// A sketch that everybody draws on: plain Yjs and y-websocket, nothing of ydash's own.

import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'
import { me } from '../me.js'
import { showPeople } from '../people.js'
import '../look.css'
import './style.css'

const doc = new Y.Doc()
const provider = new WebsocketProvider('ws://127.0.0.1:1234', 'sketch', doc)
const { awareness } = provider

const [board, undoButton, state] = ['board', 'undo', 'state'].map(id => document.getElementById(id))

const svg = (name, attributes, ...children) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  element.append(...children)
  return element
}

// The document: strokes, each a map of a colour and an array of numbers, two per point.

const strokes = doc.getArray('strokes')
const lines = new Map()

const draw = stroke => {
  let line = lines.get(stroke)
  if (line === undefined) {
    line = svg('polyline', { class: 'stroke', stroke: stroke.get('color') })
    lines.set(stroke, line)
  }
  line.setAttribute('points', stroke.get('points').toArray().join(' '))
  return line
}

strokes.observeDeep(events => {
  if (events.some(({ target }) => target === strokes)) {
    const shown = strokes.toArray()
    for (const stroke of lines.keys()) if (!shown.includes(stroke)) lines.delete(stroke)
    board.replaceChildren(...shown.map(draw), pens)
  } else {
    for (const { path } of events) draw(strokes.get(path[0]))
  }
})

// One's own pen. A stroke is one step of undo, however long it takes.

const undo = new Y.UndoManager(strokes, { captureTimeout: Infinity })
let points = null

const place = ({ clientX, clientY }) => {
  const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(board.getScreenCTM().inverse())
  return [Math.round(x), Math.round(y)]
}

board.addEventListener('pointerdown', event => {
  board.setPointerCapture(event.pointerId)
  undo.stopCapturing()
  points = Y.Array.from(place(event))
  strokes.push([new Y.Map([['color', me.color], ['points', points]])])
})
board.addEventListener('pointermove', event => {
  const [x, y] = place(event)
  points?.push([x, y])
  awareness.setLocalStateField('pen', { x, y })
})
for (const end of ['pointerup', 'pointercancel']) board.addEventListener(end, () => { points = null })
board.addEventListener('pointerleave', () => { awareness.setLocalStateField('pen', null) })

undoButton.addEventListener('click', () => { undo.undo() })
undo.on('stack-item-added', () => { undoButton.disabled = false })
undo.on('stack-item-popped', () => { undoButton.disabled = !undo.canUndo() })
document.getElementById('clear').addEventListener('click', () => {
  undo.stopCapturing()
  strokes.delete(0, strokes.length)
})

// Everybody's pens, and who they are.

const pens = svg('g', {})
board.append(pens)
awareness.setLocalStateField('user', me)
awareness.on('change', () => {
  const others = [...awareness.getStates()].filter(([id, { pen, user }]) => id !== awareness.clientID && pen && user)
  pens.replaceChildren(...others.map(([, { pen, user }]) => svg('g', { class: 'pen', transform: `translate(${pen.x} ${pen.y})`, fill: user.color },
    svg('circle', { r: 9 }), svg('text', { x: 16, y: 8 }, user.name))))
})
showPeople(document.getElementById('people'), awareness)

const showState = () => {
  state.textContent = provider.synced ? 'live' : 'connecting'
  state.dataset.good = provider.synced
}
provider.on('sync', showState)
provider.on('status', showState)
