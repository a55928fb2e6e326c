import { useDashboard, useReadable } from '@ydash/client/react'
import { Check, CornerUpLeft, MessageSquare, RotateCcw, Trash2 } from 'lucide-react'
import { type CSSProperties, type FormEvent, type ReactNode, useState } from 'react'
import { formatAgo } from '../../shared/format.js'
import { titleOf } from '../board/operations.js'
import { type Comment, commentsOf, TEXT_MAX, type Thread } from '../comments.js'
import { useMayEdit } from '../hooks.js'
import { Panel } from './SidePanel.js'

/** What people say about one widget. */
export default function CommentsPanel({ id, onClose }: { id: string, onClose: () => void }): ReactNode {
  const dashboard = useDashboard()
  const comments = commentsOf(dashboard)
  const mayEdit = useMayEdit()
  const threads = useReadable(comments).filter(({ widget }) => widget === id)
  const open = threads.filter(({ isDone }) => !isDone)
  const done = threads.filter(({ isDone }) => isDone)
  return (
    <Panel title={`Comments on ${titleOf(dashboard, id)}`} subject={`comments ${id}`} onClose={onClose} icon={<MessageSquare size={17} aria-hidden='true' />}>
      {threads.length === 0 && <p className='aside'>{mayEdit ? 'Nobody has said anything about this widget yet. Everyone here will see what you write.' : 'Nobody has said anything about this widget.'}</p>}
      <ol className='threads' aria-label='Open comments'>{open.map(thread => <li key={thread.id}><ThreadView thread={thread} /></li>)}</ol>
      {mayEdit && <Write label='New comment' placeholder='Say something about it' button='Comment' isFirst onSay={text => { comments.say(id, text) }} />}
      {done.length > 0 && (
        <details className='more'><summary>Settled ({done.length})</summary>
          <ol className='threads' aria-label='Settled comments'>{done.map(thread => <li key={thread.id}><ThreadView thread={thread} /></li>)}</ol>
        </details>
      )}
    </Panel>
  )
}

function ThreadView({ thread }: { thread: Thread }): ReactNode {
  const comments = commentsOf(useDashboard())
  const mayEdit = useMayEdit()
  const [isAnswering, setAnswering] = useState(false)
  return (
    <article className='thread' data-done={thread.isDone} aria-label={`${thread.by}: ${thread.text.slice(0, 60)}`}>
      <Said comment={thread} />
      {thread.answers.map(answer => <Said key={answer.id} comment={answer} />)}
      {mayEdit && !isAnswering && (
        <div className='row'>
          {!thread.isDone && <button type='button' className='quiet' onClick={() => { setAnswering(true) }}><CornerUpLeft size={13} aria-hidden='true' /> Answer</button>}
          <button type='button' className='quiet' onClick={() => { comments.settle(thread, !thread.isDone) }}>
            {thread.isDone
              ? <><RotateCcw size={13} aria-hidden='true' /> Open again</>
              : <><Check size={13} aria-hidden='true' /> Settle</>}
          </button>
        </div>
      )}
      {isAnswering && <Write label='Answer' placeholder={`Answer ${thread.by}`} button='Answer' isFocused onCancel={() => { setAnswering(false) }} onSay={text => { comments.say(thread.widget, text, thread.id); setAnswering(false) }} />}
    </article>
  )
}

function Said({ comment }: { comment: Comment }): ReactNode {
  const dashboard = useDashboard()
  const mayEdit = useMayEdit()
  const me = useReadable(dashboard.presence.self, ({ user }) => user.name)
  const { by, color, at, text } = comment
  return (
    <div className='said' style={{ '--who': color } as CSSProperties}>
      <p><span className='dot' /><b>{by}</b> <time className='aside' dateTime={new Date(at).toISOString()}>{formatAgo(at)}</time>
        {mayEdit && by === me && <button type='button' className='icon-button small' aria-label={`Delete “${text.slice(0, 40)}”`} title='Delete'
          onClick={() => { commentsOf(dashboard).remove(comment) }}><Trash2 size={13} aria-hidden='true' /></button>}
      </p>
      <p className='said-text'>{withMentions(text, me)}</p>
    </div>
  )
}

/** Names behind an `@`, so that they are seen. */
function withMentions(text: string, me: string): ReactNode[] {
  return text.split(/(@[\p{L}\p{N}_.-]+)/u).map((part, n) => n % 2 === 0 ? part : <mark key={n} data-me={me.toLowerCase().startsWith(part.slice(1).toLowerCase())}>{part}</mark>)
}

interface WriteProps {
  readonly label: string
  readonly placeholder: string
  readonly button: string
  readonly isFirst?: boolean
  readonly isFocused?: boolean
  readonly onSay: (text: string) => void
  readonly onCancel?: () => void
}

function Write({ label, placeholder, button, isFirst = false, isFocused = false, onSay, onCancel }: WriteProps): ReactNode {
  const [text, setText] = useState('')
  const say = (event?: FormEvent): void => {
    event?.preventDefault()
    if (text.trim() === '') return
    onSay(text)
    setText('')
  }
  return (
    <form className='write' onSubmit={say}>
      <textarea
        aria-label={label} rows={2} maxLength={TEXT_MAX} placeholder={placeholder} value={text} autoFocus={isFocused} data-autofocus={isFirst || undefined}
        onChange={event => { setText(event.target.value) }}
        onKeyDown={event => {
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) say()
          if (event.key === 'Escape' && onCancel !== undefined) {
            event.stopPropagation()
            onCancel()
          }
        }}
      />
      <div className='row'>
        <button type='submit' className='quiet outlined' disabled={text.trim() === ''}>{button}</button>
        {onCancel !== undefined && <button type='button' className='quiet' onClick={onCancel}>Cancel</button>}
        <span className='aside'><kbd>Ctrl Enter</kbd></span>
      </div>
    </form>
  )
}
