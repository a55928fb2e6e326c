// Who is here: a name and a colour for this tab, and the list of everybody else.

const COLOURS = ['#c2410c', '#b45309', '#4d7c0f', '#047857', '#0e7490', '#1d4ed8', '#6d28d9', '#a21caf', '#be123c']
const QUALITIES = ['Brisk', 'Calm', 'Deft', 'Keen', 'Merry', 'Nimble', 'Quiet', 'Sunny', 'Swift', 'Witty']
const ANIMALS = ['Badger', 'Crane', 'Falcon', 'Fox', 'Heron', 'Lynx', 'Marten', 'Otter', 'Owl', 'Robin', 'Seal', 'Wren']

const pick = list => list[Math.floor(Math.random() * list.length)]

export function showPeople (awareness) {
  const name = document.getElementById('my-name')
  const list = document.getElementById('people')
  const hint = document.getElementById('hint')
  const second = document.getElementById('second')
  const copy = document.getElementById('copy')

  // Per tab, so that two tabs of one browser are two people.
  const me = {
    name: sessionStorage.getItem('name') ?? `${pick(QUALITIES)} ${pick(ANIMALS)}`,
    colour: sessionStorage.getItem('colour') ?? pick(COLOURS)
  }
  const announce = () => {
    sessionStorage.setItem('name', me.name)
    sessionStorage.setItem('colour', me.colour)
    awareness.setLocalStateField('user', { ...me })
  }
  name.value = me.name
  document.getElementById('my-colour').style.background = me.colour
  name.addEventListener('change', () => {
    me.name = name.value.trim() || me.name
    name.value = me.name
    announce()
  })
  name.addEventListener('keydown', event => { if (event.key === 'Enter') name.blur() })

  second.href = location.href
  copy.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(location.href)
      copy.textContent = 'Copied'
    } catch {
      copy.textContent = 'Copy the address bar' // no clipboard on plain http beyond localhost
    }
    setTimeout(() => { copy.textContent = 'Copy link' }, 2_000)
  })

  const render = () => {
    const present = others(awareness)
    list.replaceChildren(...present.map(({ user }) => {
      const item = document.createElement('li')
      const swatch = document.createElement('span')
      swatch.className = 'swatch'
      swatch.style.background = user.colour
      const label = document.createElement('span')
      label.textContent = user.name
      item.append(swatch, label)
      return item
    }))
    hint.hidden = present.length > 0
  }
  awareness.on('change', render)
  announce()
  render()
}

/** Everybody else who has announced a name, in a stable order. What they announce is not to be trusted. */
export function others (awareness) {
  return [...awareness.getStates()]
    .filter(([id, state]) => id !== awareness.clientID && typeof state.user?.name === 'string')
    .sort(([a], [b]) => a - b)
    .map(([id, state]) => ({
      ...state,
      id,
      user: { name: state.user.name.slice(0, 32), colour: COLOURS.includes(state.user.colour) ? state.user.colour : COLOURS[id % COLOURS.length] }
    }))
}
