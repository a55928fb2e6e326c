import type { ReactNode } from 'react'
import { encode } from 'uqr'

/** An address for cameras. Dark on light in both themes: not all cameras read the other way round. */
export default function QrCode({ text }: { text: string }): ReactNode {
  const { data, size } = encode(text, { ecc: 'M', border: 2 })
  const path = data.flatMap((row, y) => row.flatMap((isDark, x) => isDark ? [`M${x} ${y}h1v1h-1z`] : [])).join('')
  return <svg className='qr' viewBox={`0 0 ${size} ${size}`} role='img' aria-label={`QR code of ${text}`} shapeRendering='crispEdges'><path d={path} fill='#111' /></svg>
}
