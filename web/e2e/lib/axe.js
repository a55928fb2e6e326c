// Whether everybody can use a page, as far as axe can tell.

import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

/** What axe finds, in one line per element. */
export async function violations (page) {
  await page.waitForTimeout(400) // what fades in has its contrast only then
  // Evaluated, not added as a script: the page's own policy holds for what is added.
  const source = await readFile(AXE, 'utf8')
  await page.evaluate(source)
  return page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
    return violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary.replaceAll('\n', ' ')}`))
  })
}
