// Who this tab is: a name, and a colour that is readable under white text.

const names = ['Ada', 'Alan', 'Barbara', 'Edsger', 'Frances', 'Grace', 'Hedy', 'Karen', 'Katherine', 'Leslie', 'Niklaus', 'Radia']
const colors = ['#b91c1c', '#c2410c', '#4d7c0f', '#047857', '#0e7490', '#1d4ed8', '#6d28d9', '#a21caf', '#be123c']

const any = list => list[Math.floor(Math.random() * list.length)]

export const me = { name: any(names), color: any(colors) }
