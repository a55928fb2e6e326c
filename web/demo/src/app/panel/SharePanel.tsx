import { useDashboard } from '@ydash/client/react'
import { Building2, Globe, Link2, Share2, Trash2, UserPlus, UserRound, Users } from 'lucide-react'
import { type FormEvent, type ReactNode, useCallback, useEffect, useState } from 'react'
import { formatUntil, shorten } from '../../shared/format.js'
import { pathOf } from '../../shared/address.js'
import { apiPath, call, CallError, reasonOf } from '../../shared/rest.js'
import { token, tokenUser } from '../../shared/token.js'
import { announce } from '../announce.js'
import { useMayEdit } from '../hooks.js'
import { Phone } from '../Phone.js'
import { ask } from '../Question.js'
import { Code, copyText } from './Copied.js'
import { Panel, Section } from './SidePanel.js'

type Role = 'watcher' | 'viewer' | 'editor' | 'owner'

interface Grant {
  readonly subject: string
  readonly role: Role
  readonly not_after?: string
  readonly [condition: string]: unknown
}

interface AccessRecord {
  readonly grants: readonly Grant[]
  readonly restricted: boolean
}

interface Secret {
  readonly id: string
  readonly role: Role
  readonly label?: string
  readonly email?: string
  readonly not_after?: string
  readonly by?: string
}

/** Everything that an owner sees. */
interface Sharing {
  readonly record: AccessRecord
  readonly etag: string
  readonly fromWorkspace: readonly { readonly user: string, readonly role: Role }[]
  readonly invitations: readonly Secret[]
  readonly links: readonly Secret[]
}

type State = Sharing | 'loading' | 'not-owner' | { readonly problem: string }

const ROLES: readonly { readonly id: Role, readonly name: string, readonly hint: string }[] = [
  { id: 'watcher', name: 'Can watch', hint: 'Sees everything, and is not seen' },
  { id: 'viewer', name: 'Can view', hint: 'Sees everything, and is seen' },
  { id: 'editor', name: 'Can edit', hint: 'Changes everything' },
  { id: 'owner', name: 'Owner', hint: 'Also decides who may do what' }
]
const nameOfRole = (role: string): string => ROLES.find(({ id }) => id === role)?.name ?? role

const ENDS: readonly { readonly id: string, readonly name: string, readonly seconds: number | null }[] = [
  { id: 'never', name: 'Does not end', seconds: null },
  { id: 'hour', name: 'Ends in an hour', seconds: 3_600 },
  { id: 'day', name: 'Ends in a day', seconds: 86_400 },
  { id: 'week', name: 'Ends in a week', seconds: 7 * 86_400 },
  { id: 'month', name: 'Ends in 30 days', seconds: 30 * 86_400 }
]

/** Who may open this dashboard, and do what; and how to bring somebody here. */
export default function SharePanel({ onClose }: { onClose: () => void }): ReactNode {
  const dashboard = useDashboard()
  const [state, setState] = useState<State>('loading')
  const path = apiPath(dashboard.id)
  const url = location.origin + pathOf(dashboard.id)

  const load = useCallback(async (): Promise<void> => {
    try {
      const access = await call<AccessRecord>('GET', `${path}/access`)
      const [{ json: people }, { json: { links } }] = await Promise.all([
        call<{ readonly collaborators: readonly { readonly user: string, readonly role: Role, readonly from: string }[], readonly invitations: readonly Secret[] }>('GET', `${path}/collaborators`),
        call<{ readonly links: readonly Secret[] }>('GET', `${path}/links`)
      ])
      setState({ record: access.json, etag: access.etag ?? '', fromWorkspace: people.collaborators.filter(({ from }) => from === 'workspace'), invitations: people.invitations, links })
    } catch (error) {
      setState(error instanceof CallError && [401, 403].includes(error.status) ? 'not-owner' : { problem: reasonOf(error) })
    }
  }, [path])
  useEffect(() => { void load() }, [load])

  /** Does something, says what came of it, and shows what there is then. */
  const run = async (done: string, change: () => Promise<{ readonly status: number }>): Promise<boolean> => {
    try {
      const { status } = await change()
      announce(status === 202 ? `${done}. Some servers have not confirmed it yet.` : done, true)
      await load()
      return true
    } catch (error) {
      announce(error instanceof CallError && error.status === 412 ? 'Somebody else changed who has access at the same time. Look again, and repeat it if it is still wanted.' : reasonOf(error), true)
      await load()
      return false
    }
  }
  const write = (done: string, sharing: Sharing, record: Partial<AccessRecord>): Promise<boolean> =>
    run(done, () => call('PUT', `${path}/access`, { ...sharing.record, ...record, version: undefined }, { 'if-match': sharing.etag }))

  return (
    <Panel title='Share' subject='share' onClose={onClose} icon={<Share2 size={17} aria-hidden='true' />}>
      <div className='row share-address'>
        <button type='button' className='button' data-autofocus onClick={() => { void copyText(url, 'link') }}><Link2 size={16} aria-hidden='true' /> Copy link</button>
        <p className='aside grow-wrap'>{typeof state === 'object' && 'record' in state ? 'Opens for people who have access.' : token === undefined ? 'Opens for anyone who can reach this server.' : 'Opens for people who have access.'}</p>
      </div>
      {state === 'loading' && <p className='aside' role='status'>Looking up who has access…</p>}
      {typeof state === 'object' && 'problem' in state && <p className='problem' role='alert'>{state.problem} <button type='button' className='link' onClick={() => { setState('loading'); void load() }}>Try again</button></p>}
      {state === 'not-owner' && <NotOwner />}
      {typeof state === 'object' && 'record' in state && (
        <>
          <People sharing={state} path={path} run={run} write={write} />
          <Everybody sharing={state} write={write} />
          <Links links={state.links} path={path} address={url} run={run} />
        </>
      )}
      <Section title='On a phone' isOpen={state === 'not-owner'}><Phone url={url} /></Section>
    </Panel>
  )
}

function NotOwner(): ReactNode {
  const mayEdit = useMayEdit()
  return token === undefined
    ? <p className='hint-box'>
        This server asks nobody who they are: anyone who can reach it can open this dashboard{mayEdit ? ' and change it' : ''}.
        To share with some people and not with others, start it with <code>--auth-secret</code>.
      </p>
    : <p className='hint-box'>You can {mayEdit ? 'edit' : 'view'} this dashboard. Who else may is up to its owners: ask one of them to share it.</p>
}

interface Acts {
  readonly run: (done: string, change: () => Promise<{ readonly status: number }>) => Promise<boolean>
  readonly write: (done: string, sharing: Sharing, record: Partial<AccessRecord>) => Promise<boolean>
}

/** Users and groups, each with a role, and who has been invited. */
function People({ sharing, path, run, write }: Acts & { sharing: Sharing, path: string }): ReactNode {
  const { record: { grants }, fromWorkspace, invitations } = sharing
  const [user, setUser] = useState('')
  const [role, setRole] = useState<Role>('editor')
  const [invitation, setInvitation] = useState<string | null>(null)
  const named = grants.filter(({ subject }) => /^(user|group):/.test(subject))
  const nameOf = (subject: string): string => shorten(subject.slice(subject.indexOf(':') + 1), 60)
  const isMe = (subject: string): boolean => tokenUser !== null && subject === `user:${tokenUser}`

  const change = async (grant: Grant, to: Role | null): Promise<void> => {
    const isLosing = isMe(grant.subject) && grant.role === 'owner' && to !== 'owner'
    if (isLosing && !await ask({ question: 'Give up owning this dashboard?', explanation: 'You could not change who has access any more, unless your workspace or another owner lets you.', yes: 'Give it up' })) return
    await write(to === null ? `${nameOf(grant.subject)} has no access any more` : `${nameOf(grant.subject)}: ${nameOfRole(to).toLowerCase()}`, sharing, {
      grants: grants.flatMap(one => one !== grant ? [one] : to === null ? [] : [{ ...one, role: to }])
    })
  }
  const add = async (event: FormEvent): Promise<void> => {
    event.preventDefault()
    const wanted = user.trim()
    if (wanted === '') return
    const known = grants.find(({ subject }) => subject === `user:${wanted}`)
    const isDone = known !== undefined
      ? await write(`${wanted}: ${nameOfRole(role).toLowerCase()}`, sharing, { grants: grants.map(one => one === known ? { ...one, role } : one) })
      : await run(`${wanted} has access`, () => call('POST', `${path}/collaborators`, { user: wanted, role }))
    if (isDone) setUser('')
  }
  const invite = async (): Promise<void> => {
    let secret: string | null = null
    const isDone = await run('Invitation made', async () => {
      const made = await call<{ readonly invitation: string }>('POST', `${path}/collaborators`, { role, not_after: momentIn(7 * 86_400) })
      secret = made.json.invitation
      return made
    })
    if (isDone && secret !== null) setInvitation(`${location.origin}${location.pathname}#invitation=${secret as string}`)
  }
  return (
    <Section title='People'>
      <form className='row share-add' onSubmit={event => { void add(event) }}>
        <label className='visually-hidden' htmlFor='share-user'>User to add</label>
        <input id='share-user' type='text' value={user} placeholder='User id' maxLength={200} autoComplete='off' spellCheck={false} onChange={event => { setUser(event.target.value) }} />
        <RoleSelect label='Their role' value={role} onSet={setRole} roles={['watcher', 'viewer', 'editor', 'owner']} />
        <button type='submit' className='quiet outlined' disabled={user.trim() === ''}>Add</button>
      </form>
      <ul className='share-list' aria-label='People with access'>
        {named.map((grant, n) => (
          <li key={`${grant.subject} ${n}`}>
            {grant.subject.startsWith('group:') ? <Users size={16} aria-hidden='true' /> : <UserRound size={16} aria-hidden='true' />}
            <span className='grow'>{nameOf(grant.subject)}{isMe(grant.subject) && <span className='aside'> you</span>}{grant.subject.startsWith('group:') && <span className='aside'> group</span>}<When of={grant} /></span>
            <RoleSelect label={`Role of ${nameOf(grant.subject)}`} value={grant.role} onSet={to => { void change(grant, to) }} roles={['watcher', 'viewer', 'editor', 'owner']} />
            <button type='button' className='icon-button small' aria-label={`Remove ${nameOf(grant.subject)}`} title='Remove' onClick={() => { void change(grant, null) }}><Trash2 size={15} aria-hidden='true' /></button>
          </li>
        ))}
        {fromWorkspace.map(({ user, role }, n) => (
          <li key={`workspace ${n}`}>
            <UserRound size={16} aria-hidden='true' /> <span className='grow'>{shorten(user, 60)}<span className='aside'> from the workspace</span></span> <span className='aside'>{nameOfRole(role)}</span>
          </li>
        ))}
        {invitations.map(({ id, role, email, not_after }) => (
          <li key={id}>
            <UserRound size={16} aria-hidden='true' /> <span className='grow'>{email ?? 'Invited'}<span className='aside'> {nameOfRole(role).toLowerCase()}, {not_after === undefined ? '' : formatUntil(Date.parse(not_after))}</span></span>
            <button type='button' className='icon-button small' aria-label={`Take back the invitation ${email ?? id.slice(0, 4)}`} title='Take it back'
              onClick={() => { void run('Invitation taken back', () => call('DELETE', `${path}/links/${encodeURIComponent(id)}`)) }}><Trash2 size={15} aria-hidden='true' /></button>
          </li>
        ))}
      </ul>
      {named.length + fromWorkspace.length + invitations.length === 0 && <p className='aside'>Nobody is named here. People may still have access through their tokens or the workspace.</p>}
      <button type='button' className='quiet outlined' onClick={() => { void invite() }}><UserPlus size={14} aria-hidden='true' /> Invite by a link that works once</button>
      {invitation !== null && <Once text={invitation} label='invitation' />}
    </Section>
  )
}

/** What people get without being named. */
function Everybody({ sharing, write }: Pick<Acts, 'write'> & { sharing: Sharing }): ReactNode {
  const { record: { grants, restricted } } = sharing
  const set = (subject: string, name: string, role: Role | null): void => {
    const others = grants.filter(grant => grant.subject !== subject)
    void write(role === null ? `${name}: no access` : `${name}: ${nameOfRole(role).toLowerCase()}`, sharing, { grants: role === null ? others : [...others, { subject, role }] })
  }
  return (
    <Section title='Everyone else'>
      <ul className='share-list' aria-label='Access of everyone else'>
        {([['everyone', 'Everyone who can sign in', Building2], ['public', 'Anyone, without signing in', Globe]] as const).map(([subject, name, Icon]) => (
          <li key={subject}>
            <Icon size={16} aria-hidden='true' /> <span className='grow'>{name}</span>
            <RoleSelect label={name} value={grants.find(grant => grant.subject === subject)?.role ?? null} onSet={role => { set(subject, name, role) }} onNone={() => { set(subject, name, null) }} roles={['viewer', 'editor']} />
          </li>
        ))}
      </ul>
      <label className='check'>
        <input type='checkbox' checked={restricted} onChange={event => {
          const told = event.target.checked ? 'Rights in the workspace do not count here any more' : 'Rights in the workspace count here again'
          void write(told, sharing, { restricted: event.target.checked })
        }} />{' '}
        <span>Only people named here, whatever the workspace gives</span>
      </label>
    </Section>
  )
}

/** Links that open the dashboard to whoever has them. */
function Links({ links, path, address, run }: Pick<Acts, 'run'> & { links: readonly Secret[], path: string, address: string }): ReactNode {
  const [label, setLabel] = useState('')
  const [role, setRole] = useState<Role>('viewer')
  const [end, setEnd] = useState('week')
  const [made, setMade] = useState<string | null>(null)
  const make = async (event: FormEvent): Promise<void> => {
    event.preventDefault()
    const seconds = ENDS.find(({ id }) => id === end)?.seconds ?? null
    let secret: string | null = null
    const isDone = await run('Link made', async () => {
      const answer = await call<{ readonly link: string }>('POST', `${path}/links`, { role, ...label.trim() !== '' && { label: label.trim() }, ...seconds !== null && { not_after: momentIn(seconds) } })
      secret = answer.json.link
      return answer
    })
    if (!isDone || secret === null) return
    setLabel('')
    setMade(`${address}#token=${secret as string}`)
  }
  return (
    <Section title='Links'>
      <p className='aside'>A link lets in whoever has it, without signing in, until it ends or you revoke it.</p>
      <form className='share-new-link' onSubmit={event => { void make(event) }}>
        <label className='field'><span>What it is for</span><input type='text' value={label} placeholder='Screen in the lobby' maxLength={100} autoComplete='off' onChange={event => { setLabel(event.target.value) }} /></label>
        <div className='pair'>
          <label className='field'><span>Whoever has it</span>
            <select value={role} onChange={event => { setRole(event.target.value as Role) }}>
              {ROLES.filter(({ id }) => id !== 'owner').map(({ id, name }) => <option key={id} value={id}>{name}</option>)}
            </select>
          </label>
          <label className='field'><span>How long</span><select value={end} onChange={event => { setEnd(event.target.value) }}>{ENDS.map(({ id, name }) => <option key={id} value={id}>{name}</option>)}</select></label>
        </div>
        <button type='submit' className='quiet outlined'><Link2 size={14} aria-hidden='true' /> Make a link</button>
      </form>
      {made !== null && <Once text={made} label='new link' />}
      <ul className='share-list' aria-label='Links'>
        {links.map(link => (
          <li key={link.id}>
            <Link2 size={16} aria-hidden='true' />
            <span className='grow'>{link.label ?? `Link ${link.id.slice(0, 4)}`}<span className='aside'> {nameOfRole(link.role).toLowerCase()}<When of={link} /></span></span>
            <button type='button' className='quiet' aria-label={`Revoke ${link.label ?? `link ${link.id.slice(0, 4)}`}`} onClick={() => {
              void run('Link revoked: whoever came by it has left', () => call('DELETE', `${path}/links/${encodeURIComponent(link.id)}`))
            }}>Revoke</button>
          </li>
        ))}
      </ul>
    </Section>
  )
}

/** A secret that the server does not keep. */
function Once({ text, label }: { text: string, label: string }): ReactNode {
  return <div className='once'><p className='aside'>Copy it now: it is shown this once.</p><Code label={label} text={text} /></div>
}

/** Until when something counts, and that it has other conditions. */
function When({ of }: { of: Secret | Grant }): ReactNode {
  const { not_before, weekly, addresses } = of as { readonly not_before?: unknown, readonly weekly?: unknown, readonly addresses?: unknown }
  const words = [
    typeof of.not_after === 'string' ? formatUntil(Date.parse(of.not_after)) : '',
    not_before !== undefined ? 'from a later day on' : '',
    weekly !== undefined ? 'at certain hours' : '',
    addresses !== undefined ? 'from certain networks' : ''
  ].filter(word => word !== '')
  return words.length > 0 && <span className='aside'>, {words.join(', ')}</span>
}

interface RoleSelectProps {
  readonly label: string
  readonly value: Role | null
  readonly roles: readonly Role[]
  readonly onSet: (role: Role) => void
  readonly onNone?: () => void
}

function RoleSelect({ label, value, roles, onSet, onNone }: RoleSelectProps): ReactNode {
  const shown = value !== null && !roles.includes(value) ? [...roles, value] : roles
  return (
    <select className='role' aria-label={label} title={ROLES.find(({ id }) => id === value)?.hint} value={value ?? 'none'} onChange={event => { if (event.target.value === 'none') onNone?.(); else onSet(event.target.value as Role) }}>
      {onNone !== undefined && <option value='none'>No access</option>}
      {shown.map(id => <option key={id} value={id}>{nameOfRole(id)}</option>)}
    </select>
  )
}

/** A moment in so many seconds, as the server writes moments. */
function momentIn(seconds: number): string {
  return new Date(Date.now() + seconds * 1_000).toISOString().replace(/\.\d+Z$/, 'Z')
}
