/** Calls `check` until it returns something truthy without throwing; when time is up its last failure is the test's. */
export async function eventually<T>(check: () => T | Promise<T>, what = check.toString(), within = 10_000): Promise<T> {
  const deadline = Date.now() + within
  for (;;) {
    let failure: unknown
    try {
      const result = await check()
      if (result) return result
    } catch (cause) {
      failure = cause
    }
    if (Date.now() > deadline) throw new Error(`not within ${within} ms: ${what}`, { cause: failure })
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}
