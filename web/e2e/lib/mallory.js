// Somebody with stock Yjs and bad manners: writes and announces what no page of ours would.

import WebSocket from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { atEnd } from './at-end.js'
import { eventually } from './wait.js'

export class Mallory {
  doc = new Y.Doc()

  /** In a dashboard of `server`; gone when test `t` ends. */
  static async join (t, server, dashboard) {
    const mallory = new Mallory()
    mallory.provider = new WebsocketProvider(server.ws, dashboard, mallory.doc, { disableBc: true, WebSocketPolyfill: WebSocket })
    atEnd(t, () => {
      mallory.provider.destroy()
      mallory.doc.destroy()
    })
    await eventually(() => mallory.provider.synced)
    return mallory
  }

  announce (state) {
    this.provider.awareness.setLocalState(state)
  }

  /** A widget with whatever in it, at whatever place. */
  widget (id, entries, box) {
    const map = new Y.Map(Object.entries(entries))
    this.doc.getMap('widgets').set(id, map)
    if (box !== undefined) this.doc.getMap('layout').set(id, box)
    return map
  }

  /** A note with whatever children. */
  note (id, children, box) {
    const content = new Y.XmlFragment()
    this.widget(id, { type: 'note', title: id, content }, box)
    content.insert(0, children)
    return content
  }
}

/** One of each that is no widget, no place, no title, no options and no text. */
export function nonsense () {
  return [null, true, NaN, Infinity, -1e308, 10n, 'text', new Uint8Array(3), [[]], { toString: 1 }, new Y.Array(), new Y.Text('t'), new Y.Map(), new Y.XmlElement('p'), new Y.XmlText('x'), new Y.XmlFragment(), new Y.Doc()]
}

export function element (name, attributes = {}, ...children) {
  const made = new Y.XmlElement(name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  made.insert(0, children)
  return made
}

export function text (content, marks) {
  const made = new Y.XmlText()
  made.insert(0, content, marks)
  return made
}
