// Calls of the server's REST interface, as whoever the token is for.

import { ask, token } from './token.js'

/** Why a call came to nothing. `status` is 0 where no answer came. */
export class CallError extends Error {
  constructor(readonly status: number, readonly code: string, message: string) {
    super(message)
  }
}

/** How long an answer may take, in milliseconds. */
const WITHIN = 15_000

/** Calls a route and gives its JSON, with the status of an answer that is none of the problems. */
export async function call<T>(
  method: string, path: string, body?: unknown, headers: Readonly<Record<string, string>> = {}, as: string | undefined = token
): Promise<{ readonly status: number, readonly json: T, readonly etag: string | null }> {
  let answer: Response
  try {
    answer = await ask(path, { method, headers, signal: AbortSignal.timeout(WITHIN), ...body !== undefined && { body: body instanceof ArrayBuffer || typeof body === 'string' ? body : JSON.stringify(body) } }, as)
  } catch {
    throw new CallError(0, 'no_answer', 'The server does not answer. Check your connection and try again.')
  }
  const text = await answer.text().catch(() => '')
  let json: unknown = null
  try {
    json = text === '' ? null : JSON.parse(text)
  } catch {
    // A proxy's page, say.
  }
  if (answer.ok) return { status: answer.status, json: json as T, etag: answer.headers.get('etag') }
  const { error, message } = (typeof json === 'object' && json !== null ? json : {}) as { readonly error?: unknown, readonly message?: unknown }
  throw new CallError(answer.status, typeof error === 'string' ? error : '', typeof message === 'string' ? sentence(message) : `The server answered ${answer.status}.`)
}

/** The path of a dashboard below the server's address: one segment, which nothing behind it can be part of. */
export function apiPath(id: string): string {
  return `/api/dashboards/${encodeURIComponent(id)}`
}

/** What went wrong, for people. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : 'Something went wrong.'
}

function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1)
  return /[.!?]$/.test(begun) ? begun : `${begun}.`
}
