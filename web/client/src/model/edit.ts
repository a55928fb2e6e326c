import type * as Y from 'yjs'

/** How the model edits: in one transaction, marked as this client's own. */
export interface Edit {
  <T>(change: () => T): T
}

/** An edit in a session that may only read. Ask [Dashboard.access] before offering one. */
export class ReadOnlyError extends Error {
  override readonly name = 'ReadOnlyError'

  constructor() {
    super('this session may only read the dashboard')
  }
}

/** The keys of a map, or of maps below it, that a transaction touched. */
export function touchedKeys(events: readonly Y.YEvent<Y.AbstractType<unknown>>[]): Set<string> {
  const keys = new Set<string>()
  for (const event of events) {
    if (event.path.length > 0) keys.add(String(event.path[0]))
    else for (const key of event.keys.keys()) keys.add(key)
  }
  return keys
}
