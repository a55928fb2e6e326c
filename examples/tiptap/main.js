// A text that everybody writes: Tiptap on Yjs and y-websocket, with the carets of all who are there.

import { Editor } from '@tiptap/core'
import Collaboration from '@tiptap/extension-collaboration'
import CollaborationCaret from '@tiptap/extension-collaboration-caret'
import { Placeholder } from '@tiptap/extensions'
import StarterKit from '@tiptap/starter-kit'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { me } from '../me.js'
import { showPeople } from '../people.js'
import '../look.css'
import './style.css'

const doc = new Y.Doc()
const provider = new WebsocketProvider('ws://127.0.0.1:1234', 'notes', doc)

const editor = new Editor({
  element: document.getElementById('editor'),
  extensions: [
    // Collaboration brings an undo of its own, which leaves alone what others wrote. And a line that every editor adds at the
    // end by itself would be there once for each of them.
    StarterKit.configure({ undoRedo: false, trailingNode: false }),
    Placeholder.configure({ placeholder: 'What was decided today?' }),
    Collaboration.configure({ document: doc }),
    CollaborationCaret.configure({ provider, user: me })
  ],
  editorProps: { attributes: { 'aria-label': 'Notes' } }
})

const tools = [
  { label: 'B', title: 'Bold', run: chain => chain.toggleBold(), mark: ['bold'] },
  { label: 'I', title: 'Italic', run: chain => chain.toggleItalic(), mark: ['italic'] },
  { label: 'H1', title: 'Title', run: chain => chain.toggleHeading({ level: 1 }), mark: ['heading', { level: 1 }] },
  { label: 'H2', title: 'Heading', run: chain => chain.toggleHeading({ level: 2 }), mark: ['heading', { level: 2 }] },
  { label: '•', title: 'List', run: chain => chain.toggleBulletList(), mark: ['bulletList'] },
  { label: '❝', title: 'Quote', run: chain => chain.toggleBlockquote(), mark: ['blockquote'] },
  { label: '↶', title: 'Undo', run: chain => chain.undo() },
  { label: '↷', title: 'Redo', run: chain => chain.redo() }
].map(tool => {
  const button = Object.assign(document.createElement('button'), { textContent: tool.label, title: tool.title })
  button.addEventListener('click', () => { tool.run(editor.chain().focus()).run() })
  return { ...tool, button }
})
document.getElementById('tools').append(...tools.map(({ button }) => button))
editor.on('transaction', () => {
  for (const { button, mark } of tools) if (mark) button.ariaPressed = editor.isActive(...mark)
})

showPeople(document.getElementById('people'), provider.awareness)

const state = document.getElementById('state')
const showState = () => {
  state.textContent = provider.synced ? 'live' : 'connecting'
  state.dataset.good = provider.synced
}
provider.on('sync', showState)
provider.on('status', showState)
