import { type ComponentType, type ReactNode, useEffect, useState } from 'react'

/** How long after a failure the next attempt comes, in milliseconds; the last one counts for all that follow. */
const AGAIN = [500, 2_000, 8_000, 30_000] as const

/** What stands there until the part has come, and what if it does not. */
interface Lazily {
  readonly waiting?: ReactNode
  /** `retry` tries at once. Shown from the second failure on: a hiccup is nobody's business. */
  readonly failed?: (retry: () => void) => ReactNode
}

/**
 * A part of the page that is loaded when it is first shown.
 *
 * React's own `lazy` keeps a failure for as long as the page lives. A tab that was open while the network was away, or while the server
 * was upgraded, would never show the part; this one tries until it does, and says so meanwhile.
 */
export function lazily<Props extends object>(load: () => Promise<{ readonly default: ComponentType<Props> }>, { waiting = null, failed = Failed }: Lazily = {}): ComponentType<Props> {
  let loaded: ComponentType<Props> | null = null
  let loading: Promise<void> | null = null

  // Many widgets of one kind wait for one request.
  const attempt = (): Promise<void> => loading ??= load().then(module => { loaded = module.default }).finally(() => { loading = null })

  return function Part(props: Props): ReactNode {
    const [failures, setFailures] = useState(0)
    const [, setLoaded] = useState(loaded !== null)
    const [retries, setRetries] = useState(0)
    const retry = (): void => { setRetries(n => n + 1) }

    useEffect(() => {
      if (loaded !== null) return setLoaded(true)
      let isOver = false
      let timer: ReturnType<typeof setTimeout> | undefined
      const go = (n: number): void => {
        clearTimeout(timer)
        attempt().then(
          () => { if (!isOver) setLoaded(true) },
          () => {
            if (isOver) return
            setFailures(n + 1)
            timer = setTimeout(() => { go(n + 1) }, AGAIN[Math.min(n, AGAIN.length - 1)])
          }
        )
      }
      const online = (): void => { go(0) }
      go(0)
      addEventListener('online', online)
      return () => {
        isOver = true
        clearTimeout(timer)
        removeEventListener('online', online)
      }
    }, [retries])

    if (loaded !== null) {
      const Loaded = loaded
      return <Loaded {...props} />
    }
    return failures > 1 ? failed(retry) : waiting
  }
}

function Failed(retry: () => void): ReactNode {
  return (
    <div className='not-loaded' role='alert'>
      <p>This part of the page did not load.</p>
      <p className='row'>
        <button type='button' className='quiet outlined' onClick={retry}>Try again</button>
        {/* A server that was upgraded has other files than the ones this page asks for. */}
        <button type='button' className='quiet outlined' onClick={() => { location.reload() }}>Reload the page</button>
      </p>
    </div>
  )
}
