import type { ReactNode } from 'react'
import { lazily } from '../shared/lazily.js'

// Most people never look at it.
const Picture = lazily(() => import('./QrCode.js'), { waiting: <div className='qr' /> })

const IS_LOCAL = /^(localhost|127\.|\[::1\])/.test(location.hostname)

/** How somebody else, or one's own phone, comes here. */
export function Phone({ url }: { url: string }): ReactNode {
  return (
    <div className='phone'>
      <Picture text={url} />
      <p className='aside'>{IS_LOCAL
        ? 'This server listens on this machine only, so a phone does not reach it. Start it with --listen 0.0.0.0:1234 --insecure and open it by this machine’s address.'
        : 'Scan it with a phone’s camera, and it is here as another person.'}</p>
    </div>
  )
}
