import { useDashboard, useReadable } from '@ydash/client/react'
import { Code as CodeIcon } from 'lucide-react'
import { type ReactNode, useState } from 'react'
import { Code } from './Copied.js'
import { Panel } from './SidePanel.js'
import { snippetsOf } from './snippets.js'

/** This very dashboard from a program: each snippet runs as it stands. */
export default function CodePanel({ onClose }: { onClose: () => void }): ReactNode {
  const dashboard = useDashboard()
  const first = useReadable(dashboard.widgets.all, all => Object.keys(all).sort()[0] ?? 'sales')
  const snippets = snippetsOf(location.origin, dashboard.id, first)
  const [id, setId] = useState('curl')
  const shown = snippets.find(one => one.id === id) ?? snippets[0]
  return (
    <Panel title='Your code' subject='code' onClose={onClose} icon={<CodeIcon size={17} aria-hidden='true' />}>
      <p className='aside'>Each of these works on this dashboard as it stands. What a program changes, everyone here sees.</p>
      <div className='segments wrap' role='group' aria-label='Language'>
        {snippets.map(one => <button key={one.id} type='button' aria-pressed={one.id === shown?.id} onClick={() => { setId(one.id) }}>{one.name}</button>)}
      </div>
      {shown?.parts.map(({ about, code, label }) => <div key={label} className='snippet'><p className='aside'>{about}</p><Code label={label} text={code} /></div>)}
    </Panel>
  )
}
