import { Link2 } from 'lucide-react'
import type { ReactNode } from 'react'
import { lazily } from '../shared/lazily.js'
import { copyText } from './panel/Copied.js'

// Most people never look at it.
const Picture = lazily(() => import('./QrCode.js'), { waiting: <div className='qr' /> })

const IS_LOCAL = /^(localhost|127\.|\[::1\])/.test(location.hostname)

/** How somebody else, or one's own phone, comes here. */
export function Phone(): ReactNode {
  const url = location.origin + location.pathname
  return (
    <div className='phone'>
      <h2>Open it elsewhere</h2>
      <Picture text={url} />
      <p className='aside'>{IS_LOCAL
        ? 'This server listens on this machine only, so a phone does not reach it. Start it with --listen 0.0.0.0:1234 --insecure and open it by this machine’s address.'
        : 'Scan it with a phone’s camera, and it is here as another person.'}</p>
      <button type='button' className='quiet outlined' onClick={() => { void copyText(url, 'link') }}><Link2 size={14} aria-hidden='true' /> Copy the link</button>
    </div>
  )
}
