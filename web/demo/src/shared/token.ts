// The token that this browser shows the server: a link brings it behind its `#`, which no server and no log ever sees.

const KEY = 'ydash:token'

/** What the address bar had, once: whoever copies the address afterwards copies no token. */
function take(): string | null {
  const token = new URLSearchParams(location.hash.slice(1)).get('token')
  if (token === null) return null
  history.replaceState(history.state, '', location.pathname + location.search)
  try {
    localStorage.setItem(KEY, token)
  } catch {
    // Without storage it is this page's alone.
  }
  return token
}

function recall(): string | null {
  try {
    const token = localStorage.getItem(KEY)
    const { exp } = token === null ? {} : claimsOf(token)
    if (typeof exp !== 'number' || exp * 1_000 > Date.now()) return token
    localStorage.removeItem(KEY)
  } catch {
    // Then there is none.
  }
  return null
}

/** What a token says; nothing for one that cannot be read, as a share link's. */
function claimsOf(token: string): { readonly exp?: unknown, readonly name?: unknown, readonly sub?: unknown } {
  try {
    const payload = atob((token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'))
    const claims: unknown = JSON.parse(new TextDecoder().decode(Uint8Array.from(payload, char => char.charCodeAt(0))))
    return typeof claims === 'object' && claims !== null ? claims : {}
  } catch {
    return {}
  }
}

/** The token of this browser, if somebody gave it one that is still good. */
export const token: string | undefined = take() ?? recall() ?? undefined

const { name, sub } = token === undefined ? {} : claimsOf(token)

/** Whose the token is, in words: who opens a link made for Ada is Ada. */
export const tokenName: string | null = [name, sub].find((text): text is string => typeof text === 'string' && text !== '') ?? null

/** Asks this server something, as whoever the token is for. */
export function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers)
  if (token !== undefined) headers.set('authorization', `Bearer ${token}`)
  return fetch(path, { ...init, headers })
}

/** An address of this server for what can show a token only there, as a stream of events does. */
export function withToken(path: string): string {
  return token === undefined ? path : `${path}${path.includes('?') ? '&' : '?'}token=${encodeURIComponent(token)}`
}
