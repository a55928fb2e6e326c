import { Copy, Ellipsis, PencilLine, Star, Trash2, X } from 'lucide-react'
import { type ReactNode, useState } from 'react'
import { pathOf } from '../../shared/address.js'
import { formatAgo, shorten } from '../../shared/format.js'
import { Menu } from '../Menu.js'
import { attempt, duplicate, moveToTrash, nameOf, rename } from './actions.js'
import { forget } from './dashboards.js'
import type { Entry } from './listing.js'
import { Preview } from './Preview.js'

interface CardProps {
  readonly entry: Entry
  readonly isFavourite: boolean
  readonly onFavourite: (isOne: boolean) => void
  readonly refresh: () => void
}

/** One dashboard: what it looks like, who is there, who changed it last, and what can be done with it. */
export function Card({ entry, isFavourite, onFavourite, refresh }: CardProps): ReactNode {
  const { id, at, by, members, openedAt, isListed, mayEdit } = entry
  const [isRenaming, setRenaming] = useState(false)
  const name = nameOf(entry)
  const save = (title: string): void => {
    setRenaming(false)
    if (title !== '' && title !== entry.title) void attempt(async () => { await rename(entry, title); refresh() })
  }
  const when = isListed
    ? at === 0 ? '' : `Edited ${formatAgo(at)}${by === null ? '' : ` by ${shorten(by, 40)}`}`
    : `Opened ${formatAgo(openedAt)}`
  return (
    <li className='card'>
      <a href={pathOf(id)} aria-label={name}><Preview id={id} version={at} /></a>
      {members > 0 && <p className='here'><span className='dot' />{members === 1 ? '1 here now' : `${members} here now`}</p>}
      <div className='card-foot'>
        <div className='grow'>
          {isRenaming
            ? (
              <input
                className='rename' aria-label='New title' defaultValue={entry.title} maxLength={80} autoFocus onFocus={event => { event.target.select() }} onBlur={event => { save(event.target.value.trim()) }}
                onKeyDown={event => {
                  if (event.key === 'Enter') event.currentTarget.blur()
                  if (event.key === 'Escape') setRenaming(false)
                }}
              />
              )
            : <a className='card-name' href={pathOf(id)} tabIndex={-1}>{name}</a>}
          <p className='aside'>{shorten(id, 60)}{when !== '' && ` · ${when}`}</p>
        </div>
        <button
          type='button' className='icon-button small star' aria-pressed={isFavourite} aria-label={`${name} is a favourite`} title='Favourite'
          onClick={() => { onFavourite(!isFavourite) }}
        ><Star size={15} aria-hidden='true' /></button>
        <Menu label={`Actions for ${name}`} className='icon-button small' button={<Ellipsis size={16} aria-hidden='true' />}>
          {close => (
            <>
              {mayEdit && <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); setRenaming(true) }}><PencilLine size={15} aria-hidden='true' /> Rename</button>}
              <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); void attempt(() => duplicate(entry)) }}><Copy size={15} aria-hidden='true' /> Duplicate</button>
              {openedAt > 0 && !isListed && <button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); forget(id); refresh() }}><X size={15} aria-hidden='true' /> Take off this list</button>}
              {mayEdit && <><hr /><button type='button' role='menuitem' tabIndex={-1} onClick={() => { close(); void attempt(() => moveToTrash(entry, refresh)) }}><Trash2 size={15} aria-hidden='true' /> Move to trash</button></>}
            </>
          )}
        </Menu>
      </div>
    </li>
  )
}
