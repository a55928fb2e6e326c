// The row of avatars: everybody who announces a user in the awareness.

export function showPeople (element, awareness) {
  const show = () => {
    const users = [...awareness.getStates()].filter(([, state]) => state.user)
    element.replaceChildren(...users.map(([id, { user }]) => {
      const avatar = document.createElement('span')
      avatar.className = 'avatar'
      avatar.style.background = user.color
      avatar.title = id === awareness.clientID ? `${user.name} (you)` : user.name
      avatar.textContent = user.name[0]
      return avatar
    }))
    element.setAttribute('aria-label', `Here: ${users.map(([, { user }]) => user.name).join(', ')}`)
  }
  awareness.on('change', show)
  show()
}
