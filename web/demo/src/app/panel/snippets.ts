import { AUTHORIZATION, curlOf, readablePath } from '../data/pushed.js'

export interface Snippet {
  readonly id: string
  readonly name: string
  readonly parts: readonly { readonly about: string, readonly label: string, readonly code: string }[]
}

/** Programs that work on one dashboard. */
export function snippetsOf(origin: string, dashboard: string, widget: string): Snippet[] {
  const socket = origin.replace(/^http/, 'ws')
  const name = JSON.stringify(dashboard).slice(1, -1).replaceAll("'", "\\'")
  return [
    {
      id: 'curl',
      name: 'curl',
      parts: [
        { about: 'Read all of it as JSON:', label: 'command that reads', code: `curl ${AUTHORIZATION}${readablePath(origin, dashboard)}` },
        { about: 'Push a value, which a widget with “Values pushed by a program” shows:', label: 'command that pushes', code: curlOf(origin, dashboard, widget) }
      ]
    },
    {
      id: 'yjs',
      name: 'Yjs',
      parts: [
        { about: 'In a project of Vite, say:', label: 'install command', code: 'npm install yjs y-websocket' },
        {
          about: 'In its main.js:',
          label: 'Yjs code',
          code: `import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'

const doc = new Y.Doc()
const provider = new WebsocketProvider('${socket}', '${name}', doc)
const widgets = doc.getMap('widgets')
widgets.observeDeep(() => console.log(widgets.toJSON()))
provider.once('sync', () => {
  widgets.set('from-my-code', { type: 'number', title: 'From my code', options: { value: 42 } })
})`
        }
      ]
    },
    {
      id: 'client',
      name: 'Client',
      parts: [
        {
          about: 'With @ydash/client (its README says how to install it):',
          label: 'client code',
          code: `import { createClient } from '@ydash/client'

const dashboard = createClient({ url: '${socket}', user: { name: 'My program' } }).dashboard('${name}')
await dashboard.ready
dashboard.widgets.add({ type: 'number', title: 'From my code', options: { value: 42 } }, { x: 0, y: 0, w: 3, h: 3 })
dashboard.widgets.all.subscribe(() => console.log(dashboard.widgets.all.get()))`
        }
      ]
    },
    {
      id: 'react',
      name: 'React',
      parts: [
        {
          about: 'With @ydash/client/react:',
          label: 'React code',
          code: `import { createClient } from '@ydash/client'
import { DashboardProvider, useOthers, useWidgets } from '@ydash/client/react'

const client = createClient({ url: '${socket}', user: { name: 'Me' } })

function Board() {
  const widgets = useWidgets()
  const others = useOthers()
  return <p>{Object.keys(widgets).length} widgets, {others.length} others here</p>
}

export default () => <DashboardProvider client={client} id='${name}'><Board /></DashboardProvider>`
        }
      ]
    },
    {
      id: 'hocuspocus',
      name: 'Hocuspocus',
      parts: [
        { about: 'With the provider of Hocuspocus, as Tiptap uses it:', label: 'install command', code: 'npm install yjs @hocuspocus/provider' },
        {
          about: 'In main.js:',
          label: 'Hocuspocus code',
          code: `import { HocuspocusProvider } from '@hocuspocus/provider'

const provider = new HocuspocusProvider({ url: '${socket}/hocuspocus', name: '${name}' })
const widgets = provider.document.getMap('widgets')
widgets.observeDeep(() => console.log(widgets.toJSON()))`
        }
      ]
    }
  ]
}
