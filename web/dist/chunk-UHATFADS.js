import{b as y}from"./chunk-CWPXUQLF.js";import{a as w}from"./chunk-LWUMNBOO.js";import{a as h,b,c as g}from"./chunk-II6RK6D7.js";import"./chunk-E5OFWQBN.js";import"./chunk-GOAF4RNB.js";import{n as m}from"./chunk-DDKQY77P.js";import{b as l,c as p}from"./chunk-BI7C2CR6.js";import{a as P}from"./chunk-ISZVT2MD.js";import{a as u}from"./chunk-FIB7YZC6.js";import"./chunk-G4UALOKK.js";import"./chunk-J4XNGX5N.js";import"./chunk-VH2U33M5.js";import"./chunk-PK7AUXOU.js";import"./chunk-JQXQTXDV.js";import{b as d}from"./chunk-SQE76S5B.js";var v=d(P(),1);function f(r,s,i){let t=r.replace(/^http/,"ws"),a=JSON.stringify(s).slice(1,-1).replaceAll("'","\\'");return[{id:"curl",name:"curl",parts:[{about:"Read all of it as JSON:",label:"command that reads",code:`curl ${b}${g(r,s)}`},{about:"Push a value, which a widget with “Values pushed by a program” shows:",label:"command that pushes",code:h(r,s,i)}]},{id:"yjs",name:"Yjs",parts:[{about:"In a project of Vite, say:",label:"install command",code:"npm install yjs y-websocket"},{about:"In its main.js:",label:"Yjs code",code:`import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'

const doc = new Y.Doc()
const provider = new WebsocketProvider('${t}', '${a}', doc)
const widgets = doc.getMap('widgets')
widgets.observeDeep(() => console.log(widgets.toJSON()))
provider.once('sync', () => {
  widgets.set('from-my-code', { type: 'number', title: 'From my code', options: { value: 42 } })
})`}]},{id:"client",name:"Client",parts:[{about:"With @ydash/client (its README says how to install it):",label:"client code",code:`import { createClient } from '@ydash/client'

const dashboard = createClient({ url: '${t}', user: { name: 'My program' } }).dashboard('${a}')
await dashboard.ready
dashboard.widgets.add({ type: 'number', title: 'From my code', options: { value: 42 } }, { x: 0, y: 0, w: 3, h: 3 })
dashboard.widgets.all.subscribe(() => console.log(dashboard.widgets.all.get()))`}]},{id:"react",name:"React",parts:[{about:"With @ydash/client/react:",label:"React code",code:`import { createClient } from '@ydash/client'
import { DashboardProvider, useOthers, useWidgets } from '@ydash/client/react'

const client = createClient({ url: '${t}', user: { name: 'Me' } })

function Board() {
  const widgets = useWidgets()
  const others = useOthers()
  return <p>{Object.keys(widgets).length} widgets, {others.length} others here</p>
}

export default () => <DashboardProvider client={client} id='${a}'><Board /></DashboardProvider>`}]},{id:"hocuspocus",name:"Hocuspocus",parts:[{about:"With the provider of Hocuspocus, as Tiptap uses it:",label:"install command",code:"npm install yjs @hocuspocus/provider"},{about:"In main.js:",label:"Hocuspocus code",code:`import { HocuspocusProvider } from '@hocuspocus/provider'

const provider = new HocuspocusProvider({ url: '${t}/hocuspocus', name: '${a}' })
const widgets = provider.document.getMap('widgets')
widgets.observeDeep(() => console.log(widgets.toJSON()))`}]}]}var o=d(u(),1);function j({onClose:r}){let s=l(),i=p(s.widgets.all,e=>Object.keys(e).sort()[0]??"sales"),t=f(location.origin,s.id,i),[a,O]=(0,v.useState)("curl"),n=t.find(e=>e.id===a)??t[0];return(0,o.jsxs)(w,{title:"Your code",subject:"code",onClose:r,icon:(0,o.jsx)(m,{size:17,"aria-hidden":"true"}),children:[(0,o.jsx)("p",{className:"aside",children:"Each of these works on this dashboard as it stands. What a program changes, everyone here sees."}),(0,o.jsx)("div",{className:"segments wrap",role:"group","aria-label":"Language",children:t.map(e=>(0,o.jsx)("button",{type:"button","aria-pressed":e.id===n?.id,onClick:()=>{O(e.id)},children:e.name},e.id))}),n?.parts.map(({about:e,code:C,label:c})=>(0,o.jsxs)("div",{className:"snippet",children:[(0,o.jsx)("p",{className:"aside",children:e}),(0,o.jsx)(y,{label:c,text:C})]},c))]})}export{j as default};
