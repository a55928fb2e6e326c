/** What the address bar asks for. */
export type Address =
  | { readonly kind: 'home' }
  | { readonly kind: 'dashboard', readonly id: string }
  | { readonly kind: 'impossible', readonly name: string, readonly why: string }

/** The address of a dashboard. */
export function pathOf(id: string): string {
  return `/d/${id.split('/').map(encodeURIComponent).join('/')}`
}

/**
 * What an address asks for: `/d/team/sales`, or `/#team/sales` as it was once written.
 *
 * The rule of names is the server's, docs/PROTOCOL.md, "Names".
 */
export function addressOf({ pathname, hash }: { readonly pathname: string, readonly hash: string }): Address {
  const raw = pathname.startsWith('/d/') ? pathname.slice(3) : hash.length > 1 ? hash.slice(1) : null
  if (raw === null) return { kind: 'home' }
  let name = raw
  try {
    name = decodeURIComponent(raw)
  } catch {
    // A lone percent sign is part of the name.
  }
  const why = whyNot(name)
  return why === null ? { kind: 'dashboard', id: idOf(name) } : { kind: 'impossible', name, why }
}

/** The dashboard's full name: a workspace comes first. */
function idOf(name: string): string {
  const [, workspace, rest] = /^([\w-][\w.-]{0,63})\/(.+)$/s.exec(name) ?? []
  if (workspace === undefined || rest === undefined) return `default/${name}`
  return workspace === 'default' ? idOf(rest) : `${workspace}/${rest}`
}

/** Why no dashboard can have a name; `null` for one that can be. */
export function whyNot(name: string): string | null {
  if (name === '' || name.endsWith('/')) return 'It has no name.'
  if (new TextEncoder().encode(name).length > 255) return 'It is longer than 255 bytes.'
  if (/[\u0000-\u001f\u007f-\u009f]/.test(name)) return 'It has control characters.'
  if (name.split('/').some(part => part === '.' || part === '..')) return 'A part of it is “.” or “..”, which addresses take for something else.'
  return null
}

/** A name that can be, of whatever somebody wrote. */
export function nameFrom(text: string): string {
  const name = text.normalize('NFC').trim().toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, '-').replaceAll(/^-+|-+$/g, '').slice(0, 60)
  return name === '' ? 'board' : name
}

/** Reads the name of an earlier version: its dashboard, and the version. `null` for any other name. */
export function pastOf(id: string): { readonly id: string, readonly version: string } | null {
  const [, workspace, version, name] = /^([^/]+)\/@at\/([^/]+)\/(.+)$/s.exec(id) ?? []
  return workspace === undefined || version === undefined || name === undefined ? null : { id: `${workspace}/${name}`, version }
}

/** The name of a dashboard as it was: at a time, so long ago as `-2h`, or as it is kept under an id. */
export function idAt(id: string, version: string): string {
  const slash = id.indexOf('/')
  return `${id.slice(0, slash)}/@at/${version}${id.slice(slash)}`
}
