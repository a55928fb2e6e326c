import { type ReactNode, useState } from 'react'
import { originOf, useIsAllowed } from '../data/consent.js'
import type { WidgetProps } from './registry.js'
import { Ask } from './Shown.js'

/** A picture by its address. */
export function Picture({ widget, title }: WidgetProps): ReactNode {
  const { url, fit, alt } = widget.options
  const origin = originOf(url)
  const isAllowed = useIsAllowed(origin)
  const [failed, setFailed] = useState<unknown>(null)
  if (typeof url !== 'string' || url === '') return <p className='empty'>No address yet. Paste one of an image in the settings.</p>
  if (origin === null) return <p className='empty' data-tone='bad'>This is not an http or https address.</p>
  if (!isAllowed) return <Ask origin={origin} what='show an image from' />
  if (failed === url) return <p className='empty' data-tone='bad'>There is no image at this address.</p>
  return <img className='picture' data-fit={fit === 'cover' ? 'cover' : 'contain'} src={url} alt={typeof alt === 'string' ? alt : title} referrerPolicy='no-referrer' draggable={false} onError={() => { setFailed(url) }} />
}

/** Another page in a frame of its own, which can do nothing to this one. */
export function Embed({ widget, title }: WidgetProps): ReactNode {
  const { url } = widget.options
  const origin = originOf(url)
  const isAllowed = useIsAllowed(origin)
  if (typeof url !== 'string' || url === '') return <p className='empty'>No address yet. Paste one of a page in the settings.</p>
  if (origin === null) return <p className='empty' data-tone='bad'>This is not an http or https address.</p>
  // A frame of this origin could reach this page.
  if (origin === location.origin) return <p className='empty' data-tone='bad'>A page of this server cannot be embedded here.</p>
  if (!isAllowed) return <Ask origin={origin} what='show a page of' />
  return <iframe className='embed' src={url} title={title} referrerPolicy='no-referrer' loading='lazy' sandbox='allow-scripts allow-same-origin allow-forms allow-popups' />
}
