// Waiting for something that another process does: poll, with a deadline that says what was missing.

export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/**
 * Calls `check` until it returns something truthy without throwing, and returns that.
 * When time is up the last failure becomes the test's failure.
 */
export async function eventually (check, { within = 5_000, what = check.toString() } = {}) {
  const deadline = Date.now() + within
  for (;;) {
    let failure
    try {
      const result = await check()
      if (result) return result
    } catch (cause) {
      failure = cause
    }
    if (Date.now() > deadline) {
      throw new Error(`not within ${within} ms: ${what}${failure ? `: ${failure.message}` : ''}`, { cause: failure })
    }
    await sleep(10)
  }
}

/** Fails when `check` stops holding at any time during `during` ms. */
export async function throughout (check, { during, what = check.toString() }) {
  const deadline = Date.now() + during
  while (Date.now() < deadline) {
    if (!await check()) throw new Error(`ceased to hold: ${what}`)
    await sleep(20)
  }
}
