// Waiting for what a browser shows: on a machine that is busy with something else that may take its time.

import { eventually as poll } from '../../../tests/interop/lib/wait.js'

export const eventually = (check, options) => poll(check, { within: 20_000, ...options })
