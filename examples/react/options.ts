// What this application keeps in a widget's options, which are anybody's JSON.

import type { Box, Widget, WidgetPatch } from '@ydash/client'

export const projectOf = ({ options }: Widget): string => typeof options.project === 'string' ? options.project : 'None'

export const percentOf = ({ options }: Widget): number => typeof options.percent === 'number' ? options.percent : 0

export const first: readonly [WidgetPatch & { id: string, type: 'goal' }, Box][] = [
  [{ id: 'sign-up', type: 'goal', title: 'Sign up in one minute', options: { project: 'Web', percent: 62 } }, { x: 0, y: 0, w: 4, h: 2 }],
  [{ id: 'search', type: 'goal', title: 'Search that finds', options: { project: 'Web', percent: 35 } }, { x: 4, y: 0, w: 4, h: 2 }],
  [{ id: 'offline', type: 'goal', title: 'Works in a tunnel', options: { project: 'App', percent: 80 } }, { x: 8, y: 0, w: 4, h: 2 }]
]
