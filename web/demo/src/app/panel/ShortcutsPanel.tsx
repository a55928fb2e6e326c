import type { ReactNode } from 'react'
import { Panel, Section } from './SidePanel.js'

const KEYS: readonly (readonly [string, readonly (readonly [string, string])[]])[] = [
  ['Board', [['Ctrl K', 'Do anything by its name'], ['Ctrl Z', 'Undo your last change'], ['Ctrl Shift Z', 'Redo it'], ['Ctrl A', 'Select all widgets'], ['Ctrl V', 'Paste widgets, rows, an image’s or a page’s address'], ['F', 'Full screen'], ['Shift F', 'TV mode: nothing but the widgets'], ['?', 'This list']]],
  ['Selected widgets', [
    ['Shift click', 'Select one more'], ['Enter', 'Settings'], ['C', 'Comments'], ['F2', 'Rename; a double click on the title does as well'],
    ['Ctrl D', 'Duplicate'], ['Ctrl C', 'Copy, for this or another dashboard'], ['Delete', 'Remove'],
    ['Arrows', 'Move, with the focus on the handle; with Shift, resize'], ['Escape', 'Take a drag back, or select nothing']
  ]],
  ['Tables', [['Arrows', 'Go to another cell'], ['Enter', 'Edit, then go down'], ['Tab', 'Go right while editing'], ['Delete', 'Empty a cell'], ['Ctrl V', 'Paste a range of cells']]]
]

export default function ShortcutsPanel({ onClose }: { onClose: () => void }): ReactNode {
  return (
    <Panel title='Keyboard shortcuts' subject='shortcuts' onClose={onClose}>
      {KEYS.map(([title, keys]) => (
        <Section key={title} title={title}>
          <dl className='keys'>{keys.map(([key, what]) => <div key={key + what}><dt><kbd>{key}</kbd></dt><dd>{what}</dd></div>)}</dl>
        </Section>
      ))}
    </Panel>
  )
}
