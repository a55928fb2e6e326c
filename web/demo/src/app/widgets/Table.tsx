import type { ReactNode } from 'react'
import { formatValue } from '../../shared/format.js'
import { METRICS } from '../feed.js'
import { useFilterValues, useSamples } from '../hooks.js'
import type { WidgetProps } from './registry.js'

/** Every metric: now, on average and at most. */
export function Table({ title, isVisible }: WidgetProps): ReactNode {
  const { seconds } = useFilterValues()
  const samples = useSamples(isVisible)
  const latest = samples.at(-1)
  const shown = samples.filter(({ at }) => at >= (latest?.at ?? 0) - seconds)
  return (
    <div className='scroll' tabIndex={0} role='region' aria-label={`${title}, scrolls`}>
      <table className='table'>
        <thead><tr><th scope='col'>Metric</th><th scope='col'>Now</th><th scope='col'>Mean</th><th scope='col'>Most</th></tr></thead>
        <tbody>
          {METRICS.map(({ id, name, unit }) => {
            const known = shown.map(({ values }) => values[id]).filter(value => value != null)
            const mean = known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length
            return (
              <tr key={id}>
                <th scope='row'>{name}</th>
                <td>{formatValue(latest?.values[id] ?? null, unit)}</td>
                <td>{formatValue(mean, unit)}</td>
                <td>{formatValue(known.length === 0 ? null : Math.max(...known), unit)}</td>
              </tr>
            )
          })}
        </tbody>
      </table>
    </div>
  )
}
