import { Check, Copy } from 'lucide-react'
import { type ReactNode, useState } from 'react'
import { announce } from '../announce.js'

/** Puts a text on the clipboard, and says so. */
export async function copyText(text: string, what: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
  } catch {
    // No clipboard on plain http beyond this machine: the old way asks for a selection.
    const area = document.createElement('textarea')
    area.value = text
    area.className = 'visually-hidden'
    document.body.append(area)
    area.select()
    const isDone = document.execCommand('copy')
    area.remove()
    if (!isDone) {
      announce(`Select the ${what} and copy it`, true)
      return false
    }
  }
  announce(`Copied the ${what}`, true)
  return true
}

/** Code to take along. */
export function Code({ label, text }: { label: string, text: string }): ReactNode {
  const [isCopied, setCopied] = useState(false)
  return (
    <div className='code'>
      <pre tabIndex={0} role='region' aria-label={label}><code>{text}</code></pre>
      <button
        type='button' className='icon-button small' aria-label={`Copy the ${label}`} title='Copy'
        onClick={() => {
          void copyText(text, label).then(isDone => {
            setCopied(isDone)
            setTimeout(() => { setCopied(false) }, 2_000)
          })
        }}
      >{isCopied ? <Check size={15} aria-hidden='true' /> : <Copy size={15} aria-hidden='true' />}</button>
    </div>
  )
}
