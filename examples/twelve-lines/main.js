import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'

const doc = new Y.Doc()
const provider = new WebsocketProvider('ws://127.0.0.1:1234', 'my-room', doc)

const widgets = doc.getMap('widgets')
widgets.observe(() => console.log(widgets.toJSON()))
provider.awareness.on('change', () => console.log([...provider.awareness.getStates().values()]))

provider.awareness.setLocalStateField('user', { name: 'Ada' })
provider.once('sync', () => widgets.set('sales', { type: 'number', title: 'Sales', options: { value: 1200, unit: '€' } }))
