/** What a formula gives: one number, or one for each row. */
export type Result = number | readonly (number | null)[]

/** Finds what a name stands for: a table's column as `table` and `column`, or a widget by its title. */
export type Lookup = (name: string, column: string | null) => Result | null

/** Formulas are read to this length and depth. */
const LENGTH_MAX = 1_000
const DEPTH_MAX = 50

const FUNCTIONS: Readonly<Record<string, (values: readonly number[], rest: readonly number[]) => number | null>> = {
  sum: values => values.reduce((sum, value) => sum + value, 0),
  avg: values => values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length,
  min: values => values.length === 0 ? null : values.reduce((a, b) => Math.min(a, b)),
  max: values => values.length === 0 ? null : values.reduce((a, b) => Math.max(a, b)),
  count: values => values.length,
  first: values => values[0] ?? null,
  last: values => values.at(-1) ?? null
}

const EACH: Readonly<Record<string, (value: number, digits: number) => number>> = {
  round: (value, digits) => Math.round(value * 10 ** digits) / 10 ** digits,
  abs: value => Math.abs(value)
}

export const FUNCTION_NAMES = [...Object.keys(FUNCTIONS), ...Object.keys(EACH)]

const OPERATORS: Readonly<Record<string, readonly [rank: number, apply: (a: number, b: number) => number]>> = {
  '+': [1, (a, b) => a + b], '-': [1, (a, b) => a - b], '*': [2, (a, b) => a * b], '/': [2, (a, b) => a / b], '%': [2, (a, b) => a % b], '^': [3, (a, b) => a ** b]
}

/**
 * Works out `sum(Sales.Revenue) / count(Sales.Revenue)`. Names with spaces stand in brackets: `[Sales 2026].[Net revenue]`.
 *
 * @throws SyntaxError with a sentence for whoever wrote it
 */
export function evaluate(formula: string, lookup: Lookup): Result {
  if (formula.length > LENGTH_MAX) throw new SyntaxError(`A formula has at most ${LENGTH_MAX} characters.`)
  const tokens = tokensOf(formula)
  let at = 0
  let depth = 0
  const peek = (): string | undefined => tokens[at]?.text
  const expect = (text: string): void => {
    if (tokens[at]?.text !== text) throw new SyntaxError(tokens[at] === undefined ? `“${text}” is missing at the end.` : `“${text}” is missing before “${tokens[at]?.text}”.`)
    at++
  }

  const expression = (rank: number): Result => {
    if (++depth > DEPTH_MAX) throw new SyntaxError('This is nested too deeply.')
    let left = operand()
    for (;;) {
      const operator = OPERATORS[peek() ?? '']
      if (tokens[at]?.kind !== 'sign' || operator === undefined || operator[0] < rank) break
      at++
      left = combine(left, expression(operator[0] + (operator[0] === 3 ? 0 : 1)), operator[1])
    }
    depth--
    return left
  }

  const operand = (): Result => {
    const token = tokens[at++]
    if (token === undefined) throw new SyntaxError('Something is missing at the end.')
    if (token.text === '-') return combine(0, expression(3), (a, b) => a - b)
    if (token.text === '(') {
      const inner = expression(1)
      expect(')')
      return inner
    }
    if (token.kind === 'number') return Number(token.text)
    if (token.kind !== 'name') throw new SyntaxError(`“${token.text}” is not expected here.`)
    const name = token.text
    if (peek() === '(' && !token.isQuoted) return call(name.toLowerCase())
    let column: string | null = null
    if (peek() === '.') {
      at++
      const next = tokens[at++]
      if (next?.kind !== 'name') throw new SyntaxError(`The name of a column is missing after “${name}.”`)
      column = next.text
    }
    const found = lookup(name, column)
    if (found === null) throw new SyntaxError(column === null ? `Nothing here is called “${name}”.` : `There is no column “${column}” in “${name}”.`)
    return found
  }

  const call = (name: string): Result => {
    expect('(')
    const values: Result[] = []
    while (peek() !== ')') {
      values.push(expression(1))
      if (peek() !== ',') break
      at++
    }
    expect(')')
    const [first, second] = values
    if (first === undefined) throw new SyntaxError(`${name}() needs something to work with.`)
    const one = Object.hasOwn(EACH, name) ? EACH[name] : undefined
    if (one !== undefined) {
      const digits = typeof second === 'number' ? Math.min(Math.max(Math.round(second), 0), 10) : 0
      return typeof first === 'number' ? one(first, digits) : first.map(value => value === null ? null : one(value, digits))
    }
    const all = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined
    if (all === undefined) throw new SyntaxError(`There is no function “${name}”. There are ${FUNCTION_NAMES.join(', ')}.`)
    const numbers = values.flatMap(value => typeof value === 'number' ? [value] : value.filter(one => one !== null))
    return all(numbers, []) ?? NaN
  }

  if (tokens.length === 0) throw new SyntaxError('Write a formula such as sum(Sales.Revenue).')
  const result = expression(1)
  if (at < tokens.length) throw new SyntaxError(`“${tokens[at]?.text}” is not expected here.`)
  return result
}

function combine(a: Result, b: Result, apply: (a: number, b: number) => number): Result {
  if (typeof a === 'number' && typeof b === 'number') return apply(a, b)
  const length = Math.max(typeof a === 'number' ? 0 : a.length, typeof b === 'number' ? 0 : b.length)
  return Array.from({ length }, (_, n) => {
    const [left, right] = [typeof a === 'number' ? a : a[n] ?? null, typeof b === 'number' ? b : b[n] ?? null]
    return left === null || right === null ? null : apply(left, right)
  })
}

interface Token {
  readonly kind: 'number' | 'name' | 'sign'
  readonly text: string
  readonly isQuoted?: boolean
}

function tokensOf(formula: string): Token[] {
  const tokens: Token[] = []
  const pattern = /\s+|(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|\[([^\]]+)\]|([\p{L}_][\p{L}\p{N}_]*)|([-+*/%^(),.])/uy
  while (pattern.lastIndex < formula.length) {
    const from = pattern.lastIndex
    const match = pattern.exec(formula)
    if (match === null) throw new SyntaxError(`“${formula.slice(from, from + 1)}” is not understood here. Names with spaces stand in brackets: [Net revenue].`)
    const [, number, quoted, name, sign] = match
    if (number !== undefined) tokens.push({ kind: 'number', text: number })
    else if (quoted !== undefined) tokens.push({ kind: 'name', text: quoted.trim(), isQuoted: true })
    else if (name !== undefined) tokens.push({ kind: 'name', text: name })
    else if (sign !== undefined) tokens.push({ kind: 'sign', text: sign })
  }
  return tokens
}
