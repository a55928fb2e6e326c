// Notes on a board that everybody moves and writes, and the others' pointers over it.

import * as Y from 'yjs'
import { bindText } from './bind-text.js'
import { others } from './people.js'

const PAPERS = ['#fde68a', '#bbf7d0', '#bfdbfe', '#fbcfe8', '#ddd6fe', '#fed7aa']
const NOTE = { width: 184, height: 148 }

/** How often a dragged note or a pointer is sent, in milliseconds. */
const MOVE_INTERVAL = 40

const ARROW = 'M3 2 L3 17 L7.2 13.2 L10 19 L12.6 17.8 L9.9 12.2 L15.5 12 Z'

export function showBoard (doc, awareness) {
  const board = document.getElementById('board')
  const empty = document.getElementById('empty')
  const notes = doc.getMap('notes') // id -> { x, y: shares of the free space, paper, text }
  const shown = new Map()
  const undo = new Y.UndoManager(notes, { trackedOrigins: new Set([notes]), captureTimeout: 400 })

  const add = (x, y) => {
    const id = Math.random().toString(36).slice(2, 10)
    const note = new Y.Map()
    doc.transact(() => {
      note.set('x', x)
      note.set('y', y)
      note.set('paper', PAPERS[Math.floor(Math.random() * PAPERS.length)])
      note.set('text', new Y.Text())
      notes.set(id, note)
    }, notes)
    undo.stopCapturing()
    shown.get(id)?.area.focus()
  }

  const render = () => {
    for (const [id, view] of shown) {
      if (notes.get(id) === view.note) continue
      view.remove()
      shown.delete(id)
    }
    for (const [id, note] of notes) {
      if (!(note instanceof Y.Map) || !(note.get('text') instanceof Y.Text)) continue
      if (!shown.has(id)) shown.set(id, showNote(board, notes, id, note, undo))
      shown.get(id).place()
    }
    empty.hidden = shown.size > 0
  }

  notes.observeDeep(render)
  new ResizeObserver(render).observe(board)
  board.addEventListener('dblclick', event => {
    if (event.target !== board) return
    const box = board.getBoundingClientRect()
    add(share(event.clientX - box.left - NOTE.width / 2, box.width - NOTE.width), share(event.clientY - box.top - 14, box.height - NOTE.height))
  })
  document.getElementById('add').addEventListener('click', () => add(0.1 + Math.random() * 0.8, 0.1 + Math.random() * 0.8))
  showHistory(undo)
  showPointers(board, awareness)
  render()
}

/** A note's element, kept where and what its map says. */
function showNote (board, notes, id, note, undo) {
  const element = document.createElement('article')
  element.className = 'note'
  element.style.setProperty('--paper', PAPERS.includes(note.get('paper')) ? note.get('paper') : PAPERS[0])
  const grip = document.createElement('div')
  grip.className = 'grip'
  const move = document.createElement('button')
  move.type = 'button'
  move.className = 'move'
  move.setAttribute('aria-label', 'Move note: drag, or use the arrow keys')
  const remove = document.createElement('button')
  remove.type = 'button'
  remove.className = 'remove'
  remove.textContent = '×'
  remove.setAttribute('aria-label', 'Remove note')
  const area = document.createElement('textarea')
  area.setAttribute('aria-label', 'Note')
  area.placeholder = 'Note'
  grip.append(move, remove)
  element.append(grip, area)
  board.append(element)

  undo.addTrackedOrigin(area)
  const unbind = bindText(area, note.get('text'))
  const free = () => ({ x: board.clientWidth - NOTE.width, y: board.clientHeight - NOTE.height })
  const moveTo = (x, y) => note.doc.transact(() => {
    note.set('x', x)
    note.set('y', y)
  }, notes)

  remove.addEventListener('click', () => {
    undo.stopCapturing()
    note.doc.transact(() => notes.delete(id), notes)
  })
  move.addEventListener('pointerdown', event => {
    const box = element.getBoundingClientRect()
    const grab = { x: event.clientX - box.left, y: event.clientY - box.top }
    const follow = atMostEvery(MOVE_INTERVAL, event => {
      if (!element.isConnected) return
      const ground = board.getBoundingClientRect()
      moveTo(share(event.clientX - ground.left - grab.x, free().x), share(event.clientY - ground.top - grab.y, free().y))
    })
    undo.stopCapturing()
    move.setPointerCapture(event.pointerId)
    move.addEventListener('pointermove', follow)
    move.addEventListener('lostpointercapture', () => move.removeEventListener('pointermove', follow), { once: true })
  })
  move.addEventListener('keydown', event => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key]
    if (!step) return
    event.preventDefault()
    moveTo(share(within(note.get('x')) + step[0] * 0.02, 1), share(within(note.get('y')) + step[1] * 0.02, 1))
  })

  return {
    note,
    area,
    place () {
      element.style.left = `${within(note.get('x')) * Math.max(0, free().x)}px`
      element.style.top = `${within(note.get('y')) * Math.max(0, free().y)}px`
    },
    remove () {
      unbind()
      undo.removeTrackedOrigin(area)
      element.remove()
    }
  }
}

/** Undo and redo of what this tab did to the board; the others' work stays. */
function showHistory (undo) {
  const undoButton = document.getElementById('undo')
  const redoButton = document.getElementById('redo')
  const render = () => {
    undoButton.disabled = !undo.canUndo()
    redoButton.disabled = !undo.canRedo()
  }
  for (const event of ['stack-item-added', 'stack-item-popped', 'stack-cleared']) undo.on(event, render)
  undoButton.addEventListener('click', () => undo.undo())
  redoButton.addEventListener('click', () => undo.redo())
}

function showPointers (board, awareness) {
  const layer = document.getElementById('cursors')
  const shown = new Map()

  const render = () => {
    const present = others(awareness).filter(({ pointer }) => Number.isFinite(pointer?.x) && Number.isFinite(pointer?.y))
    for (const [id, element] of shown) {
      if (present.some(other => other.id === id)) continue
      element.remove()
      shown.delete(id)
    }
    for (const { id, user, pointer } of present) {
      if (!shown.has(id)) shown.set(id, layer.appendChild(pointerElement()))
      const element = shown.get(id)
      element.style.transform = `translate(${within(pointer.x) * board.clientWidth}px, ${within(pointer.y) * board.clientHeight}px)`
      element.querySelector('path').style.fill = user.colour
      const tag = element.querySelector('.tag')
      tag.textContent = user.name
      tag.style.background = user.colour
    }
  }

  board.addEventListener('pointermove', atMostEvery(MOVE_INTERVAL, event => {
    if (left) return
    const box = board.getBoundingClientRect()
    awareness.setLocalStateField('pointer', { x: share(event.clientX - box.left, box.width), y: share(event.clientY - box.top, box.height) })
  }))
  let left = false
  board.addEventListener('pointerenter', () => { left = false })
  board.addEventListener('pointerleave', () => {
    left = true
    awareness.setLocalStateField('pointer', null)
  })
  awareness.on('change', render)
  new ResizeObserver(render).observe(board)
}

function pointerElement () {
  const element = document.createElement('div')
  element.className = 'cursor'
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  svg.setAttribute('viewBox', '0 0 20 20')
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path')
  path.setAttribute('d', ARROW)
  path.setAttribute('stroke', '#fff')
  svg.append(path)
  const tag = document.createElement('span')
  tag.className = 'tag'
  element.append(svg, tag)
  return element
}

/** Calls `action` with the newest event, at once and then at most once per interval. */
function atMostEvery (interval, action) {
  let newest = null
  let waiting = false
  const run = () => {
    waiting = newest !== null
    if (!waiting) return
    const event = newest
    newest = null
    action(event)
    setTimeout(run, interval)
  }
  return event => {
    newest = event
    if (!waiting) run()
  }
}

const within = share => Number.isFinite(share) ? Math.min(1, Math.max(0, share)) : 0
const share = (part, whole) => whole > 0 ? Math.round(within(part / whole) * 10_000) / 10_000 : 0
