/** What tests have begun, and how it ends. */
const begun = new WeakMap()

/**
 * Calls `end` when test `t` ends, the last one first: pages close before their server stops. `t.after` alone calls the first one first,
 * and pages complained about a server that was gone.
 */
export function atEnd (t, end) {
  const ends = begun.get(t)
  if (ends) return void ends.push(end)
  const first = [end]
  begun.set(t, first)
  t.after(async () => {
    const failures = []
    while (first.length > 0) {
      try {
        await first.pop()()
      } catch (failure) {
        failures.push(failure)
      }
    }
    if (failures.length > 0) throw failures[0]
  })
}
