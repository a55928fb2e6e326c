import { Schema } from 'prosemirror-model'
import { marks, nodes } from 'prosemirror-schema-basic'
import { addListNodes, orderedList } from 'prosemirror-schema-list'
import * as Y from 'yjs'

const { image: _, heading, ...textNodes } = nodes
const basic = new Schema({
  nodes: {
    ...textNodes,
    // Whatever stands in an attribute must not name an element. Nor is it a reason to delete what has it, as the editor would.
    heading: { ...heading, attrs: { level: { default: 1 } }, toDOM: ({ attrs: { level } }) => [`h${[1, 2, 3, 4, 5, 6].find(one => one === Number(level)) ?? 1}`, 0] }
  },
  marks: {
    ...marks,
    link: {
      ...marks.link,
      attrs: { href: {}, title: { default: null } },
      // No more than an address: neither a script, nor a way back to this page.
      toDOM: ({ attrs: { href, title } }) => ['a', { href: isAddress(href) ? href : null, title, rel: 'noopener noreferrer nofollow', target: '_blank' }, 0]
    }
  }
})

/** What a note is made of. */
export const noteSchema = new Schema({
  nodes: addListNodes(basic.spec.nodes, 'paragraph block*', 'block').update('ordered_list', {
    ...orderedList, content: 'list_item+', group: 'block', attrs: { order: { default: 1 } }
  }),
  marks: basic.spec.marks
})

function isAddress(href: unknown): boolean {
  return typeof href === 'string' && /^(https?|mailto):/i.test(href)
}

/** Characters and nodes of a note that the editor can show without stalling the page. */
const SIZE_MAX = 200_000

/** Why the editor cannot show what is in a shared text. */
export type Misfit = 'unknown' | 'large'

/**
 * Whether the editor can show these children of a note's shared text, and if not, why. Asked before the editor sees them: it deletes
 * for everybody what its schema does not know, such as a richer editor's images. (What is known but stands at the wrong place, two who
 * wrote at once have left there; that it may repair.)
 */
export function misfitOf(children: Iterable<unknown>): Misfit | null {
  let size = 0
  const isKnown = (type: unknown): boolean => {
    if (type instanceof Y.XmlText) {
      size += type.length
      return size > SIZE_MAX || type.toDelta().every(isKnownText)
    }
    if (!(type instanceof Y.XmlElement)) return false
    size += 1 + type.length
    return size > SIZE_MAX || isKnownNode(type.nodeName) && type.toArray().every(isKnown)
  }
  for (const child of children) {
    // The editor takes no text that stands in no element.
    if (child instanceof Y.XmlText || !isKnown(child)) return 'unknown'
    if (size > SIZE_MAX) return 'large'
  }
  return null
}

function isKnownNode(name: string): boolean {
  const type = noteSchema.nodes[name]
  return type !== undefined && !type.isText && type !== noteSchema.topNodeType
}

function isKnownText({ insert, attributes }: { insert: unknown, attributes?: Readonly<Record<string, Record<string, unknown> | null>> }): boolean {
  try {
    // y-prosemirror tells marks apart that overlap themselves by a hash behind their name.
    for (const [name, values] of Object.entries(attributes ?? {})) noteSchema.mark(name.replace(/--[a-zA-Z0-9+/=]{8}$/, ''), values)
    return typeof insert === 'string'
  } catch {
    return false
  }
}
