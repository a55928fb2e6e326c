import { type ReactNode, useEffect, useRef } from 'react'
import { useReadable } from '@ydash/client/react'
import { Signal } from './signal.js'

interface Question {
  readonly question: string
  readonly explanation: string
  readonly yes: string
}

const open = new Signal<Question & { readonly answer: (isYes: boolean) => void } | null>(null)

/** Asks before what cannot be meant lightly. */
export function ask(question: Question): Promise<boolean> {
  open.get()?.answer(false)
  return new Promise(resolve => {
    open.set({ ...question, answer: isYes => { open.set(null); resolve(isYes) } })
  })
}

export function Questions(): ReactNode {
  const asked = useReadable(open)
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    if (asked !== null && dialog.current?.open === false) dialog.current.showModal()
  }, [asked])
  return asked !== null && (
    <dialog ref={dialog} className='question' role='alertdialog' aria-labelledby='question' aria-describedby='question-why' onCancel={() => { asked.answer(false) }}>
      <h2 id='question'>{asked.question}</h2>
      <p id='question-why'>{asked.explanation}</p>
      <footer>
        <button type='button' className='quiet outlined' autoFocus onClick={() => { asked.answer(false) }}>Keep</button>
        <button type='button' className='button danger' onClick={() => { asked.answer(true) }}>{asked.yes}</button>
      </footer>
    </dialog>
  )
}
