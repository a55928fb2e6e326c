import { Bold, Code, Heading, Italic, List, ListOrdered } from 'lucide-react'
import { baseKeymap, chainCommands, exitCode, setBlockType, toggleMark } from 'prosemirror-commands'
import { InputRule, inputRules, textblockTypeInputRule, wrappingInputRule } from 'prosemirror-inputrules'
import { keymap } from 'prosemirror-keymap'
import type { MarkType, NodeType } from 'prosemirror-model'
import { liftListItem, sinkListItem, splitListItem, wrapInList } from 'prosemirror-schema-list'
import { type Command, EditorState } from 'prosemirror-state'
import { EditorView } from 'prosemirror-view'
import { type ReactNode, useEffect, useRef, useState } from 'react'
import { useDashboard, useReadable } from '@ydash/client/react'
import type { Awareness } from 'y-protocols/awareness'
import { yCursorPlugin, ySyncPlugin, ySyncPluginKey } from 'y-prosemirror'
import * as Y from 'yjs'
import { useMayEdit } from '../hooks.js'
import { type Misfit, misfitOf, noteSchema as schema } from './noteSchema.js'

const { heading, paragraph, blockquote, bullet_list: bullets, ordered_list: numbers, list_item: item, hard_break: hardBreak } = schema.nodes as Record<string, NodeType>
const { strong, em, code } = schema.marks as Record<string, MarkType>

const toggleHeading: Command = (state, dispatch) =>
  state.selection.$from.parent.type === heading
    ? setBlockType(paragraph as NodeType)(state, dispatch)
    : setBlockType(heading as NodeType, { level: 3 })(state, dispatch)

/** What is written between signs gets a mark, as in Markdown; the signs go. */
function markRule(pattern: RegExp, mark: MarkType): InputRule {
  return new InputRule(pattern, ({ tr }, match, start, end) => {
    const text = match[1]
    return text === undefined ? null : tr.replaceWith(start, end, schema.text(text, [mark.create()])).removeStoredMark(mark)
  })
}

const insertBreak = chainCommands(exitCode, (state, dispatch) => {
  dispatch?.(state.tr.replaceSelectionWith((hardBreak as NodeType).create()).scrollIntoView())
  return true
})

const TOOLS: readonly { name: string, icon: typeof Bold, run: Command }[] = [
  { name: 'Bold', icon: Bold, run: toggleMark(strong as MarkType) },
  { name: 'Italic', icon: Italic, run: toggleMark(em as MarkType) },
  { name: 'Code', icon: Code, run: toggleMark(code as MarkType) },
  { name: 'Heading', icon: Heading, run: toggleHeading },
  { name: 'List', icon: List, run: wrapInList(bullets as NodeType) },
  { name: 'Numbered list', icon: ListOrdered, run: wrapInList(numbers as NodeType) }
]

/** Others' carets that are drawn in one note. */
const CARETS_MAX = 50
/** How long a text that the editor cannot show rests before it is looked at again, in milliseconds. */
const LOOK_AGAIN = 1_000

const MISFITS: Readonly<Record<Misfit, string>> = {
  unknown: 'Somebody wrote with another editor what this one does not know. It is kept as it is.',
  large: 'This note is too long for this page. It is kept as it is.'
}

/** ProseMirror on the note's shared text, with the carets of the others. */
export default function NoteEditor({ id, label }: { id: string, label: string }): ReactNode {
  const dashboard = useDashboard()
  const mayEdit = useMayEdit()
  const mount = useRef<HTMLDivElement>(null)
  const view = useRef<EditorView | null>(null)
  const mayEditNow = useRef(mayEdit)
  mayEditNow.current = mayEdit
  const [isFocused, setFocused] = useState(false)
  // Nobody writes before the document is here: the fragment would be made twice.
  const isThere = useReadable(dashboard.widgets.all, all => id in all)
  const [misfit, setMisfit] = useState<Misfit | null>(null)

  useEffect(() => {
    const fragment = isThere ? dashboard.widgets.richText(id) : null
    if (fragment === null) {
      setMisfit(isThere && mayEditNow.current ? 'unknown' : null)
      return
    }
    let timer: ReturnType<typeof setTimeout> | undefined
    const look = (): void => {
      timer = undefined
      setMisfit(misfitOf(fragment.toArray()))
    }
    // Before the editor's own observer, which would delete what it does not know.
    const observe = (events: Y.YEvent<never>[], { origin }: Y.Transaction): void => {
      if (origin === ySyncPluginKey) return
      if (view.current === null) {
        timer ??= setTimeout(look, LOOK_AGAIN)
        return
      }
      const found = misfitOf(changedIn(fragment, events))
      if (found === null) return
      view.current.destroy()
      view.current = null
      setMisfit(found)
    }
    fragment.observeDeep(observe as never)
    look()
    return () => {
      clearTimeout(timer)
      fragment.unobserveDeep(observe as never)
    }
  }, [dashboard, id, isThere])

  useEffect(() => {
    const fragment = isThere && misfit === null ? dashboard.widgets.richText(id) : null
    const { awareness } = dashboard
    // Looked at once more: this effect may have come before the one above could tell.
    if (mount.current === null || fragment === null || awareness === null || misfitOf(fragment.toArray()) !== null) return
    dashboard.undo.track(ySyncPluginKey)
    const carets = new Carets(awareness)
    const undo: Command = () => { dashboard.undo.undo(); return true }
    const redo: Command = () => { dashboard.undo.redo(); return true }
    const made = new EditorView(mount.current, {
      state: EditorState.create({
        schema,
        plugins: [
          ySyncPlugin(fragment),
          yCursorPlugin(carets as never, { cursorBuilder: caret, selectionBuilder: selection }),
          inputRules({
            rules: [
              markRule(/\*\*([^*\s](?:[^*]*[^*\s])?)\*\*$/, strong as MarkType),
              markRule(/(?<![*\w])\*([^*\s](?:[^*]*[^*\s])?)\*$/, em as MarkType),
              markRule(/`([^`\s](?:[^`]*[^`\s])?)`$/, code as MarkType),
              wrappingInputRule(/^\s*>\s$/, blockquote as NodeType),
              wrappingInputRule(/^(\d+)\.\s$/, numbers as NodeType),
              wrappingInputRule(/^\s*([-+*])\s$/, bullets as NodeType),
              textblockTypeInputRule(/^(#{1,3})\s$/, heading as NodeType, match => ({ level: match[1]?.length ?? 1 }))
            ]
          }),
          keymap({
            'Mod-z': undo,
            'Mod-y': redo,
            'Mod-Shift-z': redo,
            'Mod-b': toggleMark(strong as MarkType),
            'Mod-i': toggleMark(em as MarkType),
            'Mod-`': toggleMark(code as MarkType),
            'Shift-Enter': insertBreak,
            Enter: splitListItem(item as NodeType),
            Tab: sinkListItem(item as NodeType),
            'Shift-Tab': liftListItem(item as NodeType)
          }),
          keymap(baseKeymap)
        ]
      }),
      editable: () => mayEditNow.current,
      // The plugins defer what they have to say, and do not ask whether the view is still there.
      dispatchTransaction(this: EditorView, transaction) {
        if (!this.isDestroyed) this.updateState(this.state.apply(transaction))
      },
      // In the order of tabs also for whoever may only read, and has to scroll.
      attributes: { tabindex: '0', role: 'textbox', 'aria-multiline': 'true', 'aria-label': label },
      handleDOMEvents: {
        focus: () => { setFocused(true); return false },
        blur: () => { setFocused(false); return false }
      }
    })
    view.current = made
    return () => {
      made.destroy()
      carets.destroy()
      view.current = null
    }
  }, [dashboard, id, label, isThere, misfit])

  // Asks `editable` again.
  useEffect(() => { view.current?.setProps({}) }, [mayEdit])

  return (
    <div className='note'>
      {misfit !== null && <p className='empty'>{MISFITS[misfit]}</p>}
      {mayEdit && misfit === null && (
        <div className='tools' data-shown={isFocused} role='toolbar' aria-label={`Format ${label}`}>
          {TOOLS.map(({ name, icon: Icon, run }) => (
            <button
              key={name} type='button' className='icon-button small' aria-label={name} title={name}
              onPointerDown={event => { event.preventDefault() }}
              onClick={() => {
                if (view.current === null) return
                run(view.current.state, view.current.dispatch, view.current)
                view.current.focus()
              }}
            ><Icon size={14} aria-hidden='true' /></button>
          ))}
        </div>
      )}
      <div className='prose' ref={mount} />
    </div>
  )
}

/** The children of a fragment in which something changed. */
function* changedIn(fragment: Y.XmlFragment, events: readonly Y.YEvent<never>[]): Generator<unknown> {
  const children = fragment.toArray()
  const seen = new Set<unknown>()
  for (const { path, changes } of events) {
    const [at] = path
    const changed: unknown[] = at === undefined ? [...changes.added].flatMap(({ content }) => content.getContent()) : [children[Number(at)]]
    for (const child of changed) {
      if (child === undefined || seen.has(child)) continue
      seen.add(child)
      yield child
    }
  }
}

/**
 * The awareness as the caret plugin wants it, which draws all carets again at every event: so that it hears of carets and
 * names, and not of every move of a pointer.
 */
class Carets {
  readonly #awareness: Awareness
  readonly #listeners = new Set<() => void>()
  #shown = ''

  constructor(awareness: Awareness) {
    this.#awareness = awareness
    awareness.on('change', this.#changed)
  }

  /** Others as the plugin takes them: it believes what it is given, and a caret that is none would stop the editor. */
  getStates = (): Map<number, Record<string, unknown>> => {
    const carets = [...this.#awareness.getStates()].flatMap(([id, { user, cursor }]): [number, Record<string, unknown>][] => {
      const { anchor, head } = (cursor ?? {}) as Record<string, unknown>
      const [from, to] = [positionOf(anchor), positionOf(head)]
      const { name, color } = (user ?? {}) as Record<string, unknown>
      const shown = { name: typeof name === 'string' ? name.slice(0, 64) : 'Guest', color: colorOf(color) }
      return from === null || to === null ? [] : [[id, { user: shown, cursor: { anchor: from, head: to } }]]
    })
    return new Map(carets.slice(0, CARETS_MAX))
  }

  getLocalState = (): Record<string, unknown> | null => this.#awareness.getLocalState()
  setLocalStateField = (field: string, value: unknown): void => { this.#awareness.setLocalStateField(field, value) }
  on = (_: string, listener: () => void): void => { this.#listeners.add(listener) }
  off = (_: string, listener: () => void): void => { this.#listeners.delete(listener) }

  destroy(): void {
    this.#awareness.off('change', this.#changed)
  }

  readonly #changed = (): void => {
    const shown = JSON.stringify([...this.getStates()])
    if (shown === this.#shown) return
    this.#shown = shown
    for (const listener of this.#listeners) listener()
  }
}

/** Somebody's caret. Styles are set by script: the page's policy takes none from markup. */
function caret(user: { name: string, color: string }): HTMLElement {
  const element = document.createElement('span')
  element.className = 'caret'
  element.style.setProperty('--who', user.color)
  const name = document.createElement('span')
  name.textContent = user.name
  element.append('\u2060', name, '\u2060')
  return element
}

function selection(user: { color: string }): { style: string, class: string } {
  return { style: `background-color: ${user.color}44`, class: 'their-selection' }
}

function colorOf(color: unknown): string {
  return typeof color === 'string' && /^#[0-9a-f]{6}$/i.test(color) ? color : '#4f46e5'
}

/** A relative position in a text of this document, or nothing. */
function positionOf(value: unknown): object | null {
  const { type, item, assoc } = (value ?? {}) as Record<string, unknown>
  const [inType, atItem] = [idOf(type), idOf(item)]
  return inType === null && atItem === null ? null : { type: inType, tname: null, item: atItem, assoc: Number.isSafeInteger(assoc) ? assoc : 0 }
}

function idOf(value: unknown): { client: number, clock: number } | null {
  const { client, clock } = (value ?? {}) as Record<string, number>
  return Number.isSafeInteger(client) && Number.isSafeInteger(clock) && (clock as number) >= 0 ? { client: client as number, clock: clock as number } : null
}
