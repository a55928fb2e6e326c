import { type CSSProperties, type ReactNode, useState } from 'react'
import * as Y from 'yjs'
import { plural } from '../shared/format.js'
import { UNKNOWN_COLOR, type WatchedDocument } from './document.js'

/** Children of one node that are shown. */
const CHILDREN_MAX = 100
const TEXT_MAX = 200
/** So many plain values stand on the line of what they are in. */
const FLAT_MAX = 6

type Child = readonly [key: string, value: unknown]

/** The document as a tree. What changes lights up, with the name of who did it. */
export function Tree({ watched }: { watched: WatchedDocument }): ReactNode {
  const { roots } = watched
  if (roots.length === 0) return <p className='empty'>Nobody has written anything yet.</p>
  return <ul className='tree' role='tree' aria-label='Document'>{roots.map(([name, type]) => <Node key={name} watched={watched} name={name} value={type} path={name} depth={0} />)}</ul>
}

interface NodeProps {
  readonly watched: WatchedDocument
  readonly name: string
  readonly value: unknown
  readonly path: string
  readonly depth: number
}

function Node({ watched, name, value, path, depth }: NodeProps): ReactNode {
  const children = childrenOf(value)
  // What its own line can tell need not be opened.
  const [isOpen, setOpen] = useState(depth < 1 || (depth === 1 && !isFlat(children) && (children?.length ?? 0) < 12))
  const change = watched.changes.get(path)
  const within = change ?? (isOpen ? undefined : [...watched.changes].find(([other]) => other.startsWith(`${path}/`))?.[1])
  const label = (
    <>
      <span className='key'>{name}</span>
      <span className='value'>{isOpen && children !== null ? kindOf(value, children) : summary(value, children)}</span>
      {within !== undefined && within.removed !== '' && <del className='removed'>{within.removed}</del>}
      {within !== undefined && within.by !== null && <span className='who' key={within.at}>{within.by.name}</span>}
    </>
  )
  const style = within === undefined ? {} : { '--who': within.by?.color ?? UNKNOWN_COLOR } as CSSProperties
  return (
    <li role='treeitem' aria-expanded={children === null ? undefined : isOpen}>
      {children === null || children.length === 0
        ? <p className='leaf' data-changed={within !== undefined} style={style} key={within?.at}>{label}</p>
        : <button type='button' className='branch' data-changed={within !== undefined} data-open={isOpen} style={style} onClick={() => { setOpen(!isOpen) }}>{label}</button>}
      {isOpen && children !== null && children.length > 0 && (
        <ul role='group'>
          {children.slice(0, CHILDREN_MAX).map(([key, child]) => <Node key={key} watched={watched} name={key} value={child} path={`${path}/${key}`} depth={depth + 1} />)}
          {children.length > CHILDREN_MAX && <li className='empty'>{plural(children.length - CHILDREN_MAX, 'more entry').replace('entrys', 'entries')}</li>}
        </ul>
      )}
    </li>
  )
}

function childrenOf(value: unknown): readonly Child[] | null {
  if (value instanceof Y.Map) return [...value.entries()].sort(([a], [b]) => a < b ? -1 : 1)
  if (value instanceof Y.XmlElement) {
    const attributes = Object.entries(value.getAttributes()).map(([key, attribute]): Child => [`@${key}`, attribute])
    return [...attributes, ...value.toArray().map((child, n): Child => [String(n), child])]
  }
  if (value instanceof Y.XmlFragment || value instanceof Y.Array) return value.toArray().map((child, n): Child => [String(n), child])
  if (Array.isArray(value)) return value.map((child, n): Child => [String(n), child])
  if (typeof value === 'object' && value !== null && !(value instanceof Y.AbstractType) && !(value instanceof Uint8Array)) return Object.entries(value)
  return null
}

function summary(value: unknown, children: readonly Child[] | null): string {
  if (value instanceof Y.XmlElement) return `<${value.nodeName}>`
  if (value instanceof Y.XmlText || value instanceof Y.Text) return shortened(JSON.stringify(value.toString()))
  if (value instanceof Uint8Array) return plural(value.length, 'byte')
  if (children !== null) {
    return isFlat(children) ? children.map(([key, child]) => Array.isArray(value) || value instanceof Y.Array ? summary(child, null) : `${key} ${summary(child, null)}`).join(' · ') : kindOf(value, children)
  }
  return shortened(typeof value === 'bigint' ? `${value}n` : JSON.stringify(value) ?? 'undefined')
}

function kindOf(value: unknown, children: readonly Child[]): string {
  if (value instanceof Y.XmlElement) return `<${value.nodeName}>`
  const kind = value instanceof Y.Map ? 'map' : value instanceof Y.Array ? 'array' : value instanceof Y.XmlFragment ? 'xml' : Array.isArray(value) ? 'list' : 'object'
  return `${kind} of ${children.length}`
}

/** Whether there are a few plain values and nothing else. */
function isFlat(children: readonly Child[] | null): boolean {
  return children !== null && children.length > 0 && children.length <= FLAT_MAX && children.every(([, child]) => typeof child !== 'object' || child === null)
}

function shortened(text: string): string {
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text
}
