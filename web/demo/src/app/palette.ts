/** Colours that a widget may have; the values are the style sheet's, one per theme. */
export const PALETTE = ['indigo', 'sky', 'emerald', 'amber', 'rose', 'violet'] as const

export type PaletteColor = typeof PALETTE[number]

export function paletteColor(value: unknown): PaletteColor {
  return PALETTE.find(color => color === value) ?? 'indigo'
}

/** The colours of a metric's parts: the widget's own first. */
export function partColors(first: PaletteColor, count: number): PaletteColor[] {
  const from = PALETTE.indexOf(first)
  return Array.from({ length: count }, (_, n) => PALETTE[(from + n * 2 + (n > 2 ? 1 : 0)) % PALETTE.length] as PaletteColor)
}

export function cssColor(color: PaletteColor): string {
  return `var(--${color})`
}

/** What a variable of the style sheet stands for now: canvases know no variables. */
export function resolved(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim()
}
