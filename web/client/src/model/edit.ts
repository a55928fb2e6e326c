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
