// A budget that everybody fills in: Yjs and the HocuspocusProvider, as with a Hocuspocus server.

import { HocuspocusProvider } from '@hocuspocus/provider'
import * as Y from 'yjs'
import { me } from '../me.js'
import { showPeople } from '../people.js'
import '../look.css'
import './style.css'

const doc = new Y.Doc()
const provider = new HocuspocusProvider({ url: 'ws://127.0.0.1:1234/hocuspocus', name: 'budget', document: doc })
const { awareness } = provider

const [body, total, add, state] = ['lines', 'total', 'add', 'state'].map(id => document.getElementById(id))

// The document: lines, each a map whose cells merge by themselves.

const lines = doc.getArray('lines')
const cells = [{ name: 'what', label: 'What' }, { name: 'who', label: 'Who' }, { name: 'cost', label: 'Cost', type: 'number' }]
const rows = new Map()

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties)
  element.append(...children)
  return element
}

function rowOf (line) {
  const inputs = cells.map(({ name, label, type = 'text' }) => {
    const input = make('input', { type, min: 0, ariaLabel: label })
    input.dataset.cell = `${line.get('id')}:${name}`
    input.addEventListener('input', () => { line.set(name, type === 'number' ? input.valueAsNumber || 0 : input.value) })
    input.addEventListener('focus', () => { awareness.setLocalStateField('cell', input.dataset.cell) })
    input.addEventListener('blur', () => { awareness.setLocalStateField('cell', null) })
    return input
  })
  const share = make('meter', { max: 1, ariaLabel: 'Share' })
  const remove = make('button', { textContent: '✕', title: 'Remove this line' })
  remove.addEventListener('click', () => { lines.delete(lines.toArray().indexOf(line)) })
  const row = make('tr', {}, ...[...inputs, share, remove].map(element => make('td', {}, element)))
  return { row, inputs, share }
}

lines.observeDeep(show)
function show () {
  const all = lines.toArray()
  for (const line of rows.keys()) if (!all.includes(line)) rows.delete(line)
  for (const line of all) if (!rows.has(line)) rows.set(line, rowOf(line))
  const sum = all.reduce((sum, line) => sum + line.get('cost'), 0)
  for (const [line, { inputs, share }] of rows) {
    inputs.forEach((input, at) => {
      const value = String(line.get(cells[at].name))
      // Setting what is there already would move the caret.
      if (input.value !== value && !(value === '0' && input.value === '')) input.value = value
    })
    share.value = sum === 0 ? 0 : line.get('cost') / sum
  }
  const wanted = all.map(line => rows.get(line).row)
  // A row that is taken out and put in again would lose the focus.
  if (wanted.length !== body.children.length || wanted.some((row, at) => row !== body.children[at])) body.replaceChildren(...wanted)
  total.textContent = sum.toLocaleString()
}

add.addEventListener('click', () => {
  const line = new Y.Map([['id', crypto.getRandomValues(new Uint32Array(1))[0].toString(36)], ['what', ''], ['who', me.name], ['cost', 0]])
  lines.push([line])
  rows.get(line).inputs[0].focus()
})

// Who is in which cell.

awareness.setLocalStateField('user', me)
awareness.on('change', () => {
  for (const input of body.querySelectorAll('input')) {
    const other = [...awareness.getStates()].find(([id, { cell, user }]) => id !== awareness.clientID && user && cell === input.dataset.cell)
    input.style.boxShadow = other ? `0 0 0 2px ${other[1].user.color}` : ''
    input.title = other ? `${other[1].user.name} is here` : ''
  }
})
showPeople(document.getElementById('people'), awareness)

// The server answers every edit when it is durable: nothing is called saved before.

let isConnected = false
const showState = () => {
  const isSaved = provider.isSynced && !provider.hasUnsyncedChanges
  state.textContent = isSaved ? 'saved' : isConnected ? 'saving' : 'offline'
  state.dataset.good = isSaved
  add.disabled = !provider.isSynced && lines.length === 0
}
provider.on('status', ({ status }) => { isConnected = status === 'connected'; showState() })
provider.on('synced', showState)
provider.on('unsyncedChanges', showState)
