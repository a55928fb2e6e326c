/** An id that nobody else makes at the same time. */
export function newId(): string {
  // `randomUUID` is there on secure origins only.
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(9))
  return Array.from(bytes, byte => (byte % 36).toString(36)).join('')
}
