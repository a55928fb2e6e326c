import { describe, expect, it } from 'vitest'
import * as Y from 'yjs'
import { type Dashboard } from '../src/index.js'
import { client } from './support/clients.js'

/** A dashboard that is connected to nothing. */
const alone = (name = 'alone'): Dashboard => client({ WebSocket: null }).dashboard(name, { connect: false })

/** Two dashboards that exchange what they have when told to. */
function pair(): { a: Dashboard, b: Dashboard, exchange: () => void } {
  const [a, b] = [alone('a'), alone('b')]
  return {
    a,
    b,
    exchange: () => {
      const [ofA, ofB] = [Y.encodeStateAsUpdate(a.doc), Y.encodeStateAsUpdate(b.doc)]
      Y.applyUpdate(a.doc, ofB, 'elsewhere')
      Y.applyUpdate(b.doc, ofA, 'elsewhere')
    }
  }
}

describe('widgets', () => {
  it('are added, changed and removed, and keep their identity where nothing changed', () => {
    const { widgets, layout, doc } = alone()
    const one = widgets.add({ type: 'chart', title: 'Sales', options: { unit: '€', lines: ['a'] } }, { x: 0, y: 0, w: 4, h: 3 })
    const two = widgets.add({ type: 'note' })
    const before = widgets.all.get()
    widgets.update(one, { title: 'Costs', options: { unit: undefined, smooth: true } })
    const after = widgets.all.get()
    expect(after[one]).toEqual({ id: one, type: 'chart', title: 'Costs', options: { lines: ['a'], smooth: true } })
    expect(after[two]).toBe(before[two])
    widgets.update(one, { title: 'Costs' })
    expect(widgets.all.get()).toBe(after)
    expect(doc.toJSON()).toEqual({
      widgets: {
        [one]: { type: 'chart', title: 'Costs', options: { lines: ['a'], smooth: true } },
        [two]: { type: 'note', title: '', options: {} }
      },
      layout: { [one]: { x: 0, y: 0, w: 4, h: 3 } },
      filters: {},
      meta: {},
      preferences: {},
      tables: {}
    })
    widgets.remove(one)
    expect(Object.keys(widgets.all.get())).toEqual([two])
    expect(layout.all.get()).toEqual({})
  })

  it('merge by setting', () => {
    const { a, b, exchange } = pair()
    const id = a.widgets.add({ type: 'chart', title: 'Sales', options: { unit: '€' } })
    exchange()
    a.widgets.update(id, { title: 'Turnover' })
    b.widgets.update(id, { options: { smooth: true } })
    exchange()
    for (const { widgets } of [a, b]) {
      expect(widgets.get(id)).toEqual({ id, type: 'chart', title: 'Turnover', options: { unit: '€', smooth: true } })
    }
  })

  it('are read and edited as other clients wrote them', () => {
    const { widgets, doc } = alone()
    doc.getMap('widgets').set('plain', { type: 'chart', title: 'Plain', options: { a: 1 } })
    doc.getMap('widgets').set('odd', 7)
    doc.getMap('widgets').set('bare', { title: 5 })
    expect(widgets.all.get()).toEqual({
      plain: { id: 'plain', type: 'chart', title: 'Plain', options: { a: 1 } },
      bare: { id: 'bare', type: '', title: '', options: {} }
    })
    widgets.update('plain', { options: { b: 2 } })
    expect(widgets.get('plain')?.options).toEqual({ a: 1, b: 2 })
    widgets.update('odd', { title: 'no widget' })
    widgets.update('gone', { title: 'no widget' })
    expect(widgets.get('constructor')).toBeUndefined()
  })

  it('have any id and option that another client thought of, and no other', () => {
    const { widgets, layout, locks, filters, doc } = alone()
    const names = ['__proto__', 'constructor', 'hasOwnProperty', 'toString', '']
    for (const name of names) {
      expect(widgets.all.get()[name]).toBe(undefined)
      expect(layout.all.get()[name]).toBe(undefined)
      expect(locks.holder(name)).toBe(null)
    }
    doc.transact(() => {
      for (const name of names) {
        doc.getMap('widgets').set(name, new Y.Map<unknown>([['type', 'note'], ['options', new Y.Map([[name, [name]]])]]))
        doc.getMap('layout').set(name, { x: 1, y: 2, w: 3, h: 4 })
        doc.getMap('filters').set(name, [name])
      }
    })
    expect(Object.keys(widgets.all.get())).toEqual(names)
    for (const name of names) {
      expect(widgets.get(name)).toMatchObject({ id: name, type: 'note', title: '' })
      expect(Object.entries(widgets.get(name)?.options ?? {})).toEqual([[name, [name]]])
      expect(layout.all.get()[name]).toEqual({ x: 1, y: 2, w: 3, h: 4 })
      expect(Object.entries(filters.effective.get()).find(([key]) => key === name)?.[1]).toEqual([name])
    }
    const before = widgets.all.get()
    widgets.update('__proto__', { title: 'ordinary' })
    layout.move('__proto__', { x: 7, y: 8 })
    expect(widgets.get('__proto__')).toMatchObject({ title: 'ordinary' })
    expect(widgets.all.get()['constructor']).toBe(before['constructor'])
    expect({ ...layout.all.get() }['__proto__']).toEqual({ x: 7, y: 8, w: 3, h: 4 })
    widgets.remove('__proto__')
    expect(Object.keys(widgets.all.get())).toEqual(names.slice(1))
    filters.setPrivate(Object.fromEntries([['__proto__', 'mine']]))
    expect(Object.entries(filters.private.get())).toEqual([['__proto__', 'mine']])
    filters.promote()
    expect(Object.entries(filters.shared.get()).find(([key]) => key === '__proto__')?.[1]).toBe('mine')
    expect(filters.private.get()).toEqual({})
    expect(({} as Record<string, unknown>).mine).toBe(undefined)
  })

  it('are what can be made of whatever stands in their place', () => {
    const { widgets, layout, doc } = alone()
    const nonsense = (): unknown[] => [null, true, NaN, Infinity, 10n, 'text', new Uint8Array(3), [[]], new Y.Array(), new Y.Text('t'), new Y.XmlElement('p'), new Y.XmlText('x'), new Y.Doc()]
    doc.transact(() => {
      nonsense().forEach((value, n) => doc.getMap('widgets').set(`is ${n}`, value))
      nonsense().forEach((value, n) => doc.getMap('layout').set(`is ${n}`, value))
      for (const key of ['type', 'title', 'options', 'content']) {
        nonsense().forEach((value, n) => doc.getMap('widgets').set(`${key} ${n}`, new Y.Map([[key, value]])))
      }
      for (const key of ['x', 'h']) nonsense().forEach((value, n) => doc.getMap('layout').set(`${key} ${n}`, new Y.Map([[key, value]])))
    })
    expect(Object.keys(widgets.all.get()).filter(id => id.startsWith('is'))).toEqual([])
    expect(Object.keys(layout.all.get()).filter(id => id.startsWith('is'))).toEqual([])
    for (const { type, title, options } of Object.values(widgets.all.get())) {
      expect([typeof type, typeof title, typeof options]).toEqual(['string', 'string', 'object'])
      expect(JSON.stringify(options)).toBe('{}')
    }
    for (const box of Object.values(layout.all.get())) expect(Object.values(box).every(Number.isInteger)).toBe(true)
    widgets.update('options 12', { options: { a: 1 } })
    expect(widgets.get('options 12')?.options).toEqual({ a: 1 })
    layout.set('is 12', { x: 1, y: 1, w: 1, h: 1 })
    expect(layout.get('is 12')).toEqual({ x: 1, y: 1, w: 1, h: 1 })
    widgets.update('is 12', { title: 'no widget' })
    expect(widgets.get('is 12')).toBe(undefined)
  })

  it('do not lose what another client keeps where a text is looked for', () => {
    const { widgets, doc } = alone()
    const id = widgets.add({ type: 'note' })
    const map = doc.getMap('widgets').get(id) as Y.Map<unknown>
    map.set('content', new Y.Text('plain'))
    map.set('text', 'a string')
    expect([widgets.richText(id), widgets.text(id)]).toEqual([null, null])
    expect(map.toJSON()).toMatchObject({ content: 'plain', text: 'a string' })
    map.delete('content')
    expect(widgets.richText(id)).toBeInstanceOf(Y.XmlFragment)
  })

  it('do not change when somebody writes in their text', () => {
    const { widgets } = alone()
    const id = widgets.add({ type: 'note' })
    const text = widgets.richText(id)
    expect(widgets.richText(id)).toBe(text)
    const before = widgets.all.get()
    let heard = 0
    widgets.all.subscribe(() => { heard++ })
    text?.insert(0, [new Y.XmlText('hello')])
    expect(widgets.all.get()).toBe(before)
    expect(heard).toBe(0)
    expect(widgets.richText('gone')).toBeNull()
  })
})

describe('layout', () => {
  it('writes only what differs', () => {
    const { layout, doc } = alone()
    layout.setAll({ a: { x: 0, y: 0, w: 2, h: 2 }, b: { x: 2, y: 0, w: 2, h: 2 } })
    let updates = 0
    doc.on('update', () => { updates++ })
    layout.setAll({ a: { x: 0, y: 0, w: 2, h: 2 }, b: { x: 2, y: 0, w: 2, h: 2 } })
    expect(updates).toBe(0)
    const before = layout.all.get()
    layout.setAll({ a: { x: 0, y: 0, w: 2, h: 2 }, b: { x: 4, y: 1, w: 2, h: 2 } })
    expect(updates).toBe(1)
    expect(layout.all.get().a).toBe(before.a)
  })

  it('has one whole position after two drags of one widget', () => {
    for (let round = 0; round < 20; round++) {
      const { a, b, exchange } = pair()
      a.layout.set('w', { x: 0, y: 0, w: 2, h: 2 })
      exchange()
      for (let step = 1; step <= 5; step++) a.layout.move('w', { x: step, y: 0 })
      for (let step = 1; step <= 5; step++) b.layout.move('w', { x: 0, y: step })
      exchange()
      expect(a.layout.get('w')).toEqual(b.layout.get('w'))
      expect([{ x: 5, y: 0, w: 2, h: 2 }, { x: 0, y: 5, w: 2, h: 2 }]).toContainEqual(a.layout.get('w'))
    }
  })

  it('keeps a move and a resize that happen at the same time', () => {
    const { a, b, exchange } = pair()
    a.layout.set('w', { x: 0, y: 0, w: 2, h: 2 })
    exchange()
    a.layout.move('w', { x: 3, y: 1 })
    b.layout.resize('w', { w: 5, h: 4 })
    exchange()
    expect(a.layout.get('w')).toEqual({ x: 3, y: 1, w: 5, h: 4 })
    expect(b.layout.get('w')).toEqual({ x: 3, y: 1, w: 5, h: 4 })
  })

  it('shows nonsense as something that a grid can show', () => {
    const { layout, doc } = alone()
    doc.getMap('layout').set('w', { x: -3, y: 1.6, w: 0, h: 'tall' })
    expect(layout.get('w')).toEqual({ x: 0, y: 2, w: 1, h: 1 })
    layout.move('w', { x: 1, y: 1 })
    expect(layout.get('w')).toEqual({ x: 1, y: 1, w: 1, h: 1 })
  })
})

describe('filters', () => {
  const storage = (): Storage => {
    const map = new Map<string, string>()
    return {
      getItem: key => map.get(key) ?? null,
      setItem: (key, value) => { map.set(key, value) },
      removeItem: key => { map.delete(key) }
    } as Storage
  }

  it('are shared, private, or private first and shared then', () => {
    const { filters, doc } = alone()
    filters.set({ projects: ['a'], dateRange: '7d' })
    filters.setPrivate({ projects: ['b'] })
    expect(filters.effective.get()).toEqual({ projects: ['b'], dateRange: '7d' })
    expect(doc.getMap('filters').toJSON()).toEqual({ projects: ['a'], dateRange: '7d' })
    const effective = filters.effective.get()
    filters.promote()
    expect(filters.effective.get()).toBe(effective)
    expect(filters.private.get()).toEqual({})
    expect(doc.getMap('filters').toJSON()).toEqual({ projects: ['b'], dateRange: '7d' })
    filters.setPrivate({ dateRange: '1d', projects: [] })
    filters.reset('projects')
    expect(filters.effective.get()).toEqual({ projects: ['b'], dateRange: '1d' })
    filters.set({ projects: undefined })
    expect(filters.shared.get()).toEqual({ dateRange: '7d' })
  })

  it('of one browser are there again after a reload', () => {
    const shared = storage()
    const open = (): Dashboard => {
      const dashboard = client({ WebSocket: class {}, storage: shared }).dashboard('x', { connect: false })
      dashboard.filters.open()
      return dashboard
    }
    open().filters.setPrivate({ agents: ['me'] })
    expect(open().filters.effective.get()).toEqual({ agents: ['me'] })
    open().filters.promote('agents')
    expect(open().filters.private.get()).toEqual({})
  })
})

describe('undo', () => {
  it('takes back one’s own edits and leaves those of others', () => {
    const { a, b, exchange } = pair()
    const id = a.widgets.add({ type: 'chart', title: 'A' }, { x: 0, y: 0, w: 2, h: 2 })
    exchange()
    a.undo.cut()
    a.widgets.update(id, { title: 'A2' })
    b.layout.move(id, { x: 6, y: 0 })
    exchange()
    expect(a.undo.state.get()).toEqual({ canUndo: true, canRedo: false })
    a.undo.undo()
    expect(a.widgets.get(id)?.title).toBe('A')
    expect(a.layout.get(id)?.x).toBe(6)
    a.undo.redo()
    expect(a.widgets.get(id)?.title).toBe('A2')
    b.undo.undo()
    exchange()
    expect(a.layout.get(id)?.x).toBe(0)
    expect(a.widgets.get(id)?.title).toBe('A2')
  })

  it('has no step for an edit that changed nothing, and can still do again what was taken back', () => {
    const dashboard = alone()
    const { doc, undo, widgets } = dashboard
    dashboard.edit(() => {})
    expect(undo.state.get()).toEqual({ canUndo: false, canRedo: false })
    widgets.add({ id: 'w', type: 'chart' })
    undo.undo()
    undo.track('editor')
    doc.transact(() => {}, 'editor')
    expect(undo.state.get()).toEqual({ canUndo: false, canRedo: true })
  })

  it('takes back a whole drag at once', () => {
    const { undo, layout } = alone()
    layout.set('w', { x: 0, y: 0, w: 2, h: 2 })
    const end = undo.begin()
    for (let x = 1; x < 8; x++) layout.move('w', { x, y: 0 })
    end()
    layout.resize('w', { w: 4, h: 4 })
    undo.undo()
    expect(layout.get('w')).toEqual({ x: 7, y: 0, w: 2, h: 2 })
    undo.undo()
    expect(layout.get('w')).toEqual({ x: 0, y: 0, w: 2, h: 2 })
  })

  it('takes a drag back that was given up, and nothing before it', () => {
    const { undo, layout, widgets } = alone()
    layout.set('w', { x: 0, y: 0, w: 2, h: 2 })
    undo.begin()(true)
    expect(layout.get('w'), 'nothing was moved').toEqual({ x: 0, y: 0, w: 2, h: 2 })
    const end = undo.begin()
    layout.move('w', { x: 1, y: 0 })
    layout.move('w', { x: 2, y: 0 })
    end(true)
    expect(layout.get('w')).toEqual({ x: 0, y: 0, w: 2, h: 2 })
    expect(undo.state.get()).toEqual({ canUndo: true, canRedo: true })
    undo.undo()
    expect(layout.get('w')).toBeUndefined()
    expect(widgets.all.get()).toEqual({})
  })

  it('takes nothing else back when what was dragged is gone', () => {
    const { a, b, exchange } = pair()
    a.widgets.add({ id: 'w', type: 'chart' }, { x: 0, y: 0, w: 2, h: 2 })
    a.undo.cut()
    a.meta.set({ title: 'before the drag' })
    exchange()
    const end = a.undo.begin()
    a.layout.move('w', { x: 5, y: 0 })
    b.widgets.remove('w')
    exchange()
    end(true)
    expect(a.meta.shared.get().title).toBe('before the drag')
    expect(a.undo.state.get().canUndo).toBe(true)
    a.undo.undo()
    expect(a.meta.shared.get().title).toBeUndefined()
  })

  it('brings a removed widget back with its place', () => {
    const { undo, widgets, layout } = alone()
    const id = widgets.add({ type: 'chart', title: 'A', options: { unit: 's' } }, { x: 1, y: 2, w: 3, h: 4 })
    undo.cut()
    widgets.remove(id)
    undo.undo()
    expect(widgets.get(id)).toEqual({ id, type: 'chart', title: 'A', options: { unit: 's' } })
    expect(layout.get(id)).toEqual({ x: 1, y: 2, w: 3, h: 4 })
  })
})

describe('tables', () => {
  it('merge cell by cell, keep rows that two add at once, and rename columns without losing cells', () => {
    const { a, b, exchange } = pair()
    a.tables.add({ id: 'sales', title: 'Sales', columns: ['Month', 'Revenue'], rows: [{ Month: 'Jan', Revenue: 1 }, { Month: 'Feb', Revenue: 2 }] })
    exchange()
    a.tables.setCell('sales', 0, 'Revenue', 10)
    b.tables.setCell('sales', 0, 'Month', 'January')
    a.tables.insertRows('sales', [{ Month: 'Mar', Revenue: 3 }])
    b.tables.insertRows('sales', [{ Month: 'Apr', Revenue: 4 }])
    a.tables.renameColumn('sales', 'Revenue', 'Net revenue')
    b.tables.setCell('sales', 1, 'Revenue', 20)
    exchange()
    const { columns, rows } = a.tables.get('sales') ?? { columns: [], rows: [] }
    expect(b.tables.get('sales')).toEqual(a.tables.get('sales'))
    expect(columns).toEqual([{ id: 'Month', name: 'Month' }, { id: 'Revenue', name: 'Net revenue' }])
    expect(rows[0]).toEqual({ Month: 'January', Revenue: 10 })
    expect(rows[1]).toEqual({ Month: 'Feb', Revenue: 20 })
    expect(rows.slice(2).map(({ Month }) => Month).sort()).toEqual(['Apr', 'Mar'])
  })

  it('take cells, rows and columns away, and name no two columns the same', () => {
    const { tables, undo } = alone()
    const id = tables.add({ columns: ['A', 'A'], rows: [{ A: 1, 'A 2': 2 }, { A: null }] })
    expect(tables.get(id)).toEqual({ id, title: '', columns: [{ id: 'A', name: 'A' }, { id: 'A 2', name: 'A' }], rows: [{ A: 1, 'A 2': 2 }, {}] })
    expect(tables.addColumn(id, 'A')).toBe('A 3')
    tables.setCell(id, 5, 'A 3', 'below')
    tables.setCell(id, 0, 'A', null)
    tables.removeColumn(id, 'A 2')
    tables.removeRows(id, 1)
    expect(tables.get(id)?.columns.map(({ id }) => id)).toEqual(['A', 'A 3'])
    expect(tables.get(id)?.rows).toEqual([{}, { 'A 3': 'below' }])
    undo.undo()
    expect(tables.get(id)).toBeUndefined()
  })

  it('are read, and can be written, whoever made them of plain values', () => {
    const { tables, doc } = alone()
    doc.getMap('tables').set('plain', new Y.Map<unknown>([['title', 7], ['columns', ['Name', { name: 'Amount' }, null]], ['rows', [{ Name: 'a', Amount: 1 }, 'no row']]]))
    doc.getMap('tables').set('bare', new Y.Map<unknown>([['rows', [{ x: 1 }]]]))
    doc.getMap('tables').set('nothing', 'a text')
    expect(tables.get('plain')).toEqual({ id: 'plain', title: '', columns: [{ id: 'Name', name: 'Name' }, { id: 'Amount', name: 'Amount' }, { id: '', name: '' }], rows: [{ Name: 'a', Amount: 1 }, {}] })
    expect(tables.get('bare')?.columns).toEqual([{ id: 'x', name: 'x' }])
    expect(tables.get('nothing')).toBeUndefined()
    tables.setCell('plain', 0, 'Amount', 2)
    tables.renameColumn('plain', 'Name', 'Who')
    expect(tables.get('plain')?.rows[0]).toEqual({ Name: 'a', Amount: 2 })
    expect(tables.get('plain')?.columns[0]).toEqual({ id: 'Name', name: 'Who' })
  })
})
