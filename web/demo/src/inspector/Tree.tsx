import { type CSSProperties, type ReactNode, useState } from 'react'
import * as Y from 'yjs'
import { plural, shorten } from '../shared/format.js'
import { type Children, textOf, UNKNOWN_COLOR, type WatchedDocument } from './document.js'

const TEXT_MAX = 200
const KEY_MAX = 80
/** So many plain values stand on the line of what they are in. */
const FLAT_MAX = 6

/** The document as a tree. What changes lights up, with the name of who did it. */
export function Tree({ watched }: { watched: WatchedDocument }): ReactNode {
  const { roots } = watched
  if (roots.total === 0) return <p className='empty'>Nobody has written anything yet.</p>
  return (
    <ul className='tree' role='tree' aria-label='Document'>
      {roots.shown.map(([name, type]) => <Node key={name} watched={watched} name={name} value={type} path={name} depth={0} />)}
      <Rest children={roots} />
    </ul>
  )
}

function Rest({ children: { shown, total } }: { children: Children }): ReactNode {
  return total > shown.length && <li className='empty' role='treeitem'>{(total - shown.length).toLocaleString('en')} more</li>
}

interface NodeProps {
  readonly watched: WatchedDocument
  readonly name: string
  readonly value: unknown
  readonly path: string
  readonly depth: number
}

function Node({ watched, name, value, path, depth }: NodeProps): ReactNode {
  const children = watched.childrenOf(value)
  // What its own line can tell need not be opened.
  const [isOpen, setOpen] = useState(depth < 1 || (depth === 1 && !isFlat(children) && (children?.total ?? 0) < 12))
  const change = watched.changeAt(path) ?? (isOpen ? undefined : watched.changeBelow(path))
  const label = (
    <>
      <span className='key'>{shorten(name, KEY_MAX)}</span>
      <span className='value'>{isOpen && children !== null ? kindOf(value, children) : summary(value, children)}</span>
      {change !== undefined && change.removed !== '' && <del className='removed'>{change.removed}</del>}
      {change !== undefined && change.by !== null && <span className='who' key={change.at}>{change.by.name}</span>}
    </>
  )
  const style = change === undefined ? {} : { '--who': change.by?.color ?? UNKNOWN_COLOR } as CSSProperties
  return (
    <li role='treeitem' aria-expanded={children === null ? undefined : isOpen}>
      {children === null || children.total === 0
        ? <p className='leaf' data-changed={change !== undefined} style={style} key={change?.at}>{label}</p>
        : <button type='button' className='branch' data-changed={change !== undefined} data-open={isOpen} style={style} onClick={() => { setOpen(!isOpen) }}>{label}</button>}
      {isOpen && children !== null && children.total > 0 && (
        <ul role='group'>
          {children.shown.map(([key, child]) => <Node key={key} watched={watched} name={key} value={child} path={`${path}/${key}`} depth={depth + 1} />)}
          <Rest children={children} />
        </ul>
      )}
    </li>
  )
}

function summary(value: unknown, children: Children | null): string {
  if (value instanceof Y.XmlElement) return `<${shorten(value.nodeName, KEY_MAX)}>`
  if (value instanceof Y.Text) return quoted(textOf(value, TEXT_MAX))
  if (value instanceof Y.Doc) return `document ${value.guid}`
  if (value instanceof Uint8Array) return plural(value.length, 'byte')
  if (children !== null) {
    const hasKeys = !Array.isArray(value) && !(value instanceof Y.Array)
    return isFlat(children) ? children.shown.map(([key, child]) => hasKeys ? `${shorten(key, KEY_MAX)} ${summary(child, null)}` : summary(child, null)).join(' · ') : kindOf(value, children)
  }
  if (value instanceof Y.AbstractType) return 'empty'
  return typeof value === 'string' ? quoted(value) : typeof value === 'bigint' ? `${value}n` : String(value)
}

function quoted(text: string): string {
  return `${JSON.stringify(text.slice(0, TEXT_MAX))}${text.length > TEXT_MAX ? '…' : ''}`
}

function kindOf(value: unknown, { total }: Children): string {
  if (value instanceof Y.XmlElement) return `<${shorten(value.nodeName, KEY_MAX)}>`
  const kind = value instanceof Y.Map ? 'map' : value instanceof Y.Array ? 'array' : value instanceof Y.XmlFragment ? 'xml' : Array.isArray(value) ? 'list' : 'object'
  return `${kind} of ${total.toLocaleString('en')}`
}

/** Whether there are a few plain values and nothing else. */
function isFlat(children: Children | null): boolean {
  return children !== null && children.total > 0 && children.total <= FLAT_MAX && children.shown.every(([, child]) => typeof child !== 'object' || child === null)
}
