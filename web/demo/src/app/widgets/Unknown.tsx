import type { Json, Widget } from '@ydash/client'
import type { ReactNode } from 'react'
import { shorten } from '../../shared/format.js'

const ROWS_MAX = 30

/** A widget of somebody's own kind: what it holds, since how it is drawn is known to their page alone. */
export function Unknown({ widget: { type, options } }: { widget: Widget }): ReactNode {
  const rows = Object.entries(options).slice(0, ROWS_MAX)
  return (
    <div className='scroll' tabIndex={0} role='region' aria-label='What the widget holds, scrolls'>
      <p className='aside pad'>{type === '' ? 'A widget without a type' : <>Drawn by the page that knows “{shorten(type, 40)}” widgets</>}{rows.length > 0 ? '. It holds:' : '.'}</p>
      {rows.length > 0 && <table className='table'><tbody>{rows.map(([key, value]) => <tr key={key}><th scope='row'>{shorten(key, 60)}</th><td>{written(value)}</td></tr>)}</tbody></table>}
    </div>
  )
}

const written = (value: Json): string => shorten(typeof value === 'string' ? value : JSON.stringify(value), 120)
