// The shared text, with the carets of the others drawn over it.

import { bindText, fromRelative, toRelative } from './bind-text.js'
import { others } from './people.js'

export function showText (doc, awareness) {
  const text = doc.getText('text')
  const area = document.getElementById('text')
  const layer = document.getElementById('carets')
  const count = document.getElementById('count')

  let drawn = null
  const render = () => {
    const string = text.toString()
    const carets = others(awareness).flatMap(({ user, caret }) => {
      const index = caret ? fromRelative(text, caret) : null
      return index === null ? [] : [{ user, index }]
    })
    // Pointers move far more often than carets do.
    const picture = JSON.stringify([string, carets])
    if (picture === drawn) return
    drawn = picture
    count.textContent = string === '' ? '' : `${string.length.toLocaleString('en')} characters`
    drawCarets(layer, string, carets)
    layer.scrollTop = area.scrollTop
  }

  const announce = () => {
    const here = document.activeElement === area
    awareness.setLocalStateField('caret', here ? toRelative(text, area.selectionEnd) : null)
  }

  bindText(area, text, render)
  awareness.on('change', render)
  area.addEventListener('scroll', () => { layer.scrollTop = area.scrollTop })
  document.addEventListener('selectionchange', () => { if (document.activeElement === area) announce() })
  area.addEventListener('blur', announce)
  render()
}

function drawCarets (layer, string, carets) {
  const parts = []
  let from = 0
  for (const { user, index } of carets.sort((a, b) => a.index - b.index)) {
    parts.push(string.slice(from, index))
    from = index
    const caret = document.createElement('span')
    caret.className = 'caret'
    caret.style.borderColor = user.colour
    const tag = document.createElement('span')
    tag.className = 'tag'
    tag.style.background = user.colour
    tag.textContent = user.name
    caret.append(tag)
    parts.push(caret)
  }
  // The zero-width space gives a last empty line its height, as the text area does.
  layer.replaceChildren(...parts, string.slice(from), '\u200b')
}
