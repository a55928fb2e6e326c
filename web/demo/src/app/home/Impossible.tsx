import type { ReactNode } from 'react'
import { nameFrom, pathOf } from '../../shared/address.js'
import { shorten } from '../../shared/format.js'

/** A name that no dashboard can have: why, and one that can be. */
export default function Impossible({ name, why }: { name: string, why: string }): ReactNode {
  const near = `default/${nameFrom(name)}`
  return (
    <main className='broken-page'>
      <h1>No dashboard can be called that</h1>
      <p>{name === '' ? '' : <><code>{shorten(name, 80)}</code>: </>}{why} A name has 1 to 255 bytes of any letters, digits and signs, parted by slashes if you like.</p>
      <p className='row'><a className='button' href={pathOf(near)}>Open {near.split('/').at(-1)}</a> <a className='quiet outlined' href='/?home'>All dashboards</a></p>
    </main>
  )
}
