// What is in the binary: an SBOM (CycloneDX 1.5) and the licences of all crates, from what cargo resolved for this machine.
//
//   node scripts/package.mjs VERSION DIRECTORY

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const [version, directory] = process.argv.slice(2)
const host = /host: (.*)/.exec(execFileSync('rustc', ['-vV'], { encoding: 'utf8' }))[1]
const metadata = JSON.parse(
  execFileSync('cargo', ['metadata', '--format-version', '1', '--locked', '--filter-platform', host], {
    encoding: 'utf8',
    maxBuffer: 1 << 28
  })
)

const packages = new Map(metadata.packages.map((one) => [one.id, one]))
const nodes = new Map(metadata.resolve.nodes.map((one) => [one.id, one]))
const root = metadata.packages.find((one) => one.name === 'ydash' && one.source === null)

// Dependencies of tests are not shipped, and those of builds only ran.
const shipped = new Set([root.id])
const edges = new Map()
for (const id of shipped) {
  const next = nodes.get(id).deps.filter((dep) => dep.dep_kinds.some((kind) => kind.kind === null)).map((dep) => dep.pkg)
  edges.set(id, next)
  for (const one of next) shipped.add(one)
}

const checksums = new Map()
for (const entry of readFileSync('Cargo.lock', 'utf8').split('[[package]]').slice(1)) {
  const field = (name) => new RegExp(`^${name} = "(.*)"`, 'm').exec(entry)?.[1]
  checksums.set(`${field('name')} ${field('version')}`, field('checksum'))
}

const purl = (one) => `pkg:cargo/${one.name}@${one.version}`
const crates = [...shipped]
  .filter((id) => id !== root.id)
  .map((id) => packages.get(id))
  .sort((a, b) => (purl(a) < purl(b) ? -1 : 1))

const component = (one) => {
  const checksum = checksums.get(`${one.name} ${one.version}`)
  return {
    type: 'library',
    'bom-ref': purl(one),
    name: one.name,
    version: one.version,
    ...(one.license && { licenses: [{ expression: one.license.replaceAll('/', ' OR ') }] }),
    ...(checksum && { hashes: [{ alg: 'SHA-256', content: checksum }] }),
    purl: purl(one)
  }
}
const binary = createHash('sha256').update(readFileSync(join(directory, 'ydash'))).digest('hex')
const bom = {
  bomFormat: 'CycloneDX',
  specVersion: '1.5',
  version: 1,
  metadata: {
    component: {
      type: 'application',
      'bom-ref': purl(root),
      name: 'ydash',
      version,
      licenses: [{ expression: root.license }],
      hashes: [{ alg: 'SHA-256', content: binary }],
      purl: purl(root)
    }
  },
  components: crates.map(component),
  dependencies: [root, ...crates].map((one) => ({
    ref: purl(one),
    dependsOn: [...new Set(edges.get(one.id).map((id) => purl(packages.get(id))))].sort()
  }))
}
writeFileSync(join(directory, 'ydash.cdx.json'), JSON.stringify(bom, null, 1) + '\n')

// Texts that many crates share are there once.
const texts = new Map()
const without = []
for (const one of crates.filter((one) => one.source !== null)) {
  const folder = dirname(one.manifest_path)
  const files = readdirSync(folder).filter((file) => /^(licen[cs]e|copying|notice|unlicense)/i.test(file) && !file.endsWith('.rs'))
  if (files.length === 0) without.push(one)
  for (const file of files.sort()) {
    let text
    try {
      text = readFileSync(join(folder, file), 'utf8').trim()
    } catch {
      continue // a folder of them
    }
    texts.set(text, [...(texts.get(text) ?? []), `${one.name} ${one.version}`])
  }
}
const list = crates.filter((one) => one.source !== null).map((one) => `| ${one.name} | ${one.version} | ${one.license ?? one.license_file} |`)
const parts = [...texts].map(([text, names]) => `## ${[...new Set(names)].join(', ')}\n\n\`\`\`\n${text}\n\`\`\`\n`)
writeFileSync(
  join(directory, 'THIRD-PARTY.md'),
  `# What is in ydash, by others\n\n| crate | version | licence |\n|---|---|---|\n${list.join('\n')}\n\n` +
    (without.length ? `These name their licence and carry no text: ${without.map((one) => one.name).join(', ')}.\n\n` : '') +
    parts.join('\n')
)
console.log(`${crates.length} crates, ${texts.size} texts of licences`)
