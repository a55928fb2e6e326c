import { createClient, type Dashboard } from '@ydash/client'
import { token } from '../shared/token.js'

/** Two who show what company is like, until there is some. They are clients like any other, in this page. */
const PEOPLE = [
  { name: 'Mia (demo)', color: '#be185d' },
  { name: 'Tom (demo)', color: '#0f766e' }
] as const

/** They edit for so long, in milliseconds, and then only look around: what is edited stays in the dashboard's log. */
const EDITS_FOR = 150_000
const STATES = ['Open', 'Doing', 'Review', 'Done'] as const
const LINES = ['Harbour Street sold out of cold brew again.', 'Guji arrives on Thursday.', 'Shall we move the gift boxes to the window?'] as const

const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T

/** Lets the two come to `dashboard`; they leave when the returned function is called. */
export function comeIn(dashboard: Dashboard): () => void {
  const began = Date.now()
  const stops = PEOPLE.map((user, n) => {
    const client = createClient({ url: location.origin, user, persist: false, storage: null, ...token !== undefined && { token } })
    const own = client.dashboard(dashboard.id)
    let at = { x: 0.2 + n * 0.5, y: 0.4 }
    let to = { ...at }
    let area = ''
    let frame: ReturnType<typeof setTimeout>
    let isOver = false

    const wander = (): void => {
      const ids = Object.keys(own.widgets.all.get())
      if (ids.length === 0) return
      if (Math.hypot(to.x - at.x, to.y - at.y) < 0.02) {
        if (Math.random() < 0.3 || area === '') {
          area = pick(ids)
          own.presence.setSelection(area)
        }
        to = { x: 0.1 + Math.random() * 0.8, y: 0.15 + Math.random() * 0.75 }
      }
      at = { x: at.x + (to.x - at.x) * 0.12, y: at.y + (to.y - at.y) * 0.12 }
      own.presence.setCursor({ area, x: at.x, y: at.y })
    }
    const tick = (): void => {
      if (isOver) return
      if (!document.hidden && own.status.get() === 'live') wander()
      frame = setTimeout(tick, Math.random() < 0.03 ? 1_800 : 70)
    }
    tick()

    let isBusy = false
    const edits = setInterval(() => {
      if (isBusy || document.hidden || own.status.get() !== 'live' || Date.now() - began > EDITS_FOR) return
      if (n === 0) return work(own)
      // Timers may come late, and two lines at once would be written into each other.
      isBusy = true
      void talk(own, () => isOver).finally(() => { isBusy = false })
    }, n === 0 ? 6_500 : 17_000)
    return () => {
      isOver = true
      clearTimeout(frame)
      clearInterval(edits)
      client.destroy()
    }
  })
  return () => { for (const stop of stops) stop() }
}

/** Moves a task on, and now and then a widget. */
function work(dashboard: Dashboard): void {
  const tasks = dashboard.tables.get('tasks')
  const row = Math.floor(Math.random() * (tasks?.rows.length ?? 0))
  if (tasks?.rows[row] !== undefined) {
    const now = STATES.indexOf(tasks.rows[row].State as never)
    dashboard.presence.setSelection('work')
    dashboard.tables.setCell('tasks', row, 'State', STATES[(now + 1) % STATES.length] ?? 'Open')
  }
}

/** Writes a line into the note, letter by letter, and takes it back later. */
async function talk(dashboard: Dashboard, isOver: () => boolean): Promise<void> {
  const note = dashboard.widgets.richText('note')
  const last = note?.get(1)
  const text = last !== undefined && 'get' in last ? last.get(0) : undefined
  if (text === undefined || !('insert' in text) || !('length' in text)) return
  dashboard.presence.setSelection('note')
  const line = ` ${pick(LINES)}`
  const target = text as unknown as { readonly length: number, insert: (at: number, text: string) => void, delete: (at: number, length: number) => void, toString: () => string }
  // What a page that was closed meanwhile left half written.
  const written = target.toString()
  const half = LINES.flatMap(one => Array.from(one, (_, n) => ` ${one.slice(0, n + 1)}`)).filter(part => part.length > 3 && written.endsWith(part)).sort((a, b) => b.length - a.length)[0]
  if (half !== undefined) target.delete(written.length - half.length, half.length)
  for (const letter of line) {
    if (isOver()) return
    target.insert(target.length, letter)
    await new Promise(resolve => setTimeout(resolve, 60))
  }
  await new Promise(resolve => setTimeout(resolve, 7_000))
  const at = target.toString().lastIndexOf(line)
  if (!isOver() && at >= 0) target.delete(at, line.length)
}
