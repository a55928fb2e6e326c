import { useDashboard, useOthers, useReadable, useStatus } from '@ydash/client/react'
import { ClipboardPaste, Code, LayoutTemplate, Plus, X } from 'lucide-react'
import { type ReactNode, useEffect, useState } from 'react'
import { announce } from './announce.js'
import { useMayEdit } from './hooks.js'
import { showPanel } from './panel/shown.js'
import { keep, recall } from './session.js'

/** What this is, in one sentence, and what it means for whoever reads it. */
export const PITCH = 'A dashboard that everyone edits at once.'
export const PROMISE = 'Whatever you move, type or paste, everyone who has the link sees as you do it. Nothing has to be saved, and nothing gets lost.'

/** How a demo person can be told from a real one. */
export const isDemo = (name: string): boolean => name.endsWith('(demo)')

/** What a newcomer sees on the sample: one sentence, and where to go from here. */
export function Welcome(): ReactNode {
  const dashboard = useDashboard()
  const isSample = useReadable(dashboard.meta.shared, ({ sample }) => sample === true)
  const [isClosed, setClosed] = useState(() => recall('welcomed') !== null)
  const mayEdit = useMayEdit()
  useCompany(isSample)
  if (!isSample || isClosed || !mayEdit) return null
  return (
    <section className='welcome' aria-label='Welcome'>
      <p><b>{PITCH}</b> {PROMISE} This is a sample: change anything, or begin with your own.</p>
      <div className='row'>
        <a className='button' href='/?home&begin=blank'><Plus size={16} aria-hidden='true' /> <span>Blank board</span></a>
        <a className='quiet outlined' href='/?home&begin=pasted'><ClipboardPaste size={14} aria-hidden='true' /> Paste your data</a>
        <a className='quiet outlined' href='/?home&begin=sample'><LayoutTemplate size={14} aria-hidden='true' /> Templates</a>
        <button type='button' className='quiet outlined' onClick={() => { showPanel({ kind: 'code' }) }}><Code size={14} aria-hidden='true' /> Your code</button>
      </div>
      <button type='button' className='icon-button small' aria-label='Close the welcome' onClick={() => { setClosed(true); keep('welcomed', 'yes') }}><X size={15} aria-hidden='true' /></button>
    </section>
  )
}

/** Demo teammates on the sample, until somebody real comes. */
function useCompany(isSample: boolean): void {
  const dashboard = useDashboard()
  const status = useStatus()
  const mayEdit = useMayEdit()
  const hasReal = useOthers(all => all.some(({ user }) => !isDemo(user.name)))
  const hasDemo = useOthers(all => all.some(({ user }) => isDemo(user.name)))
  const [hasHad, setHad] = useState(false)
  const isWanted = isSample && status === 'live' && mayEdit && !hasReal && !hasHad
  useEffect(() => {
    if (!isWanted) return
    let stop: (() => void) | null = null
    let isOver = false
    // Somebody who is there already is heard within a moment.
    const timer = setTimeout(() => {
      void import('./demo.js').then(({ comeIn }) => { if (!isOver) stop = comeIn(dashboard) })
    }, 1_200)
    return () => {
      isOver = true
      clearTimeout(timer)
      stop?.()
    }
  }, [dashboard, isWanted])
  useEffect(() => {
    if (!hasReal || hasHad) return
    setHad(true)
    if (hasDemo) announce('You have real company: the demo people have left', true)
  }, [hasReal])
}
