import { Component, type ReactNode } from 'react'
import { shorten } from './format.js'

interface BoundaryProps {
  /** Another one is a reason to try again. */
  readonly attempt?: unknown
  readonly fallback: (error: unknown) => ReactNode
  readonly children: ReactNode
}

interface BoundaryState {
  readonly attempt: unknown
  readonly failure: { readonly error: unknown } | null
}

/** What somebody wrote may break what shows it; what stands around it goes on. */
export class Boundary extends Component<BoundaryProps, BoundaryState> {
  override readonly state: BoundaryState = { attempt: this.props.attempt, failure: null }

  static getDerivedStateFromError(error: unknown): Partial<BoundaryState> {
    return { failure: { error } }
  }

  static getDerivedStateFromProps({ attempt }: BoundaryProps, before: BoundaryState): BoundaryState | null {
    return attempt === before.attempt ? null : { attempt, failure: null }
  }

  override render(): ReactNode {
    const { failure } = this.state
    return failure === null ? this.props.children : this.props.fallback(failure.error)
  }
}

/** What stands in the place of a page that broke. */
export function BrokenPage({ error }: { error: unknown }): ReactNode {
  return (
    <main className='broken-page' role='alert'>
      <h1>This page broke</h1>
      <p>What it showed is safe where it was: on the server, and what was not saved yet in this browser.</p>
      <p className='aside'>{error instanceof Error ? shorten(error.message, 300) : 'Nobody knows why.'}</p>
      <button type='button' className='button' onClick={() => { location.reload() }}>Load it again</button>
    </main>
  )
}
