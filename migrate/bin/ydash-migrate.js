#!/usr/bin/env node
// The command line: docs/MIGRATING.md.

import { parseArgs } from 'node:util'
import { OUTCOMES, carry } from '../src/carry.js'
import { target } from '../src/target.js'

const HELP = `ydash-migrate SOURCE FROM --to http://HOST:1234 [options]

Carries the documents of another Yjs server into a running ydash. Nothing is deleted or replaced on either side: documents
merge, so repeating a run does no harm, and goes on where the last one was broken off. Each document is read back and compared.

Sources
  leveldb DIRECTORY     y-websocket-server with YPERSISTENCE; the server must be stopped
  sqlite FILE           Hocuspocus with its SQLite extension; needs the command sqlite3
  files DIRECTORY       Yjs updates v1 as NAME.bin: Hocuspocus' S3 extension, after a sync to disk
  y-sweet DIRECTORY     y-sweet's store, or its bucket after a sync to disk
  lines FILE            lines {"name", "update": BASE64} of any database, {"dashboard", "update"} of ydash export --yjs; - for stdin
  server URL            a running server: ws://HOST:PORT[/PATH] with or without {name}, or hocuspocus+ws://HOST:PORT; takes --names

Options
  --to URL              a running ydash; ws:// or hocuspocus+ws:// to go back to a running server
  --check               writes nothing, says what is missing
  --dry-run             reads the source only, and says what it holds
  --print lines         writes the documents to standard output, as lines
  --workspace NAME      takes all names as they are, into this workspace
  --names FILE          the documents of a server, one name per line
  --token TOKEN         for hocuspocus+ws://
  --protocol NAME       a WebSocket subprotocol to offer to a server
  --header 'NAME: VALUE'  with every request to ydash; may be repeated
  --jobs N              documents at once [4]
  --quiet               names only what needs attention

Exit status: 0 if everything is there, 1 if something is not, 2 if it could not begin.`

const SOURCES = ['leveldb', 'sqlite', 'files', 'y-sweet', 'lines', 'server']

main().catch(error => {
  console.error(`ydash-migrate: ${error.message}`)
  process.exitCode = 2
})

async function main () {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      to: { type: 'string' },
      check: { type: 'boolean', default: false },
      'dry-run': { type: 'boolean', default: false },
      print: { type: 'string' },
      workspace: { type: 'string' },
      names: { type: 'string' },
      token: { type: 'string' },
      protocol: { type: 'string' },
      header: { type: 'string', multiple: true, default: [] },
      jobs: { type: 'string', default: '4' },
      quiet: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false }
    }
  })
  if (values.help) return console.log(HELP)
  const [kind, from, ...more] = positionals
  if (kind === undefined) throw new Error('which source? see ydash-migrate --help')
  if (!SOURCES.includes(kind)) throw new Error(`there is no source ${kind}, but ${SOURCES.join(', ')}; see --help`)
  if (from === undefined) throw new Error(`${kind} needs to be told where; see ydash-migrate --help`)
  if (more.length > 0) throw new Error(`what is ${more.join(' ')}? one source at a time, and --to before the target`)
  const isReading = values['dry-run'] || values.print !== undefined
  if (!isReading && values.to === undefined) throw new Error('where to? --to http://HOST:1234, or --dry-run')
  if (values.print !== undefined && values.print !== 'lines') throw new Error('--print takes lines')
  const jobs = Number(values.jobs)
  if (!Number.isInteger(jobs) || jobs < 1) throw new Error('--jobs takes a number from 1 on')

  const source = await import(`../src/sources/${kind}.js`)
  const { names, token, protocol, workspace } = values
  const headers = Object.fromEntries(values.header.map(header => header.split(/:\s*/, 2)))
  const counts = Object.fromEntries(OUTCOMES.map(outcome => [outcome, 0]))
  const says = values.print === undefined ? console.log : console.error
  await carry(source.documents(from, { names, token, protocol }), {
    target: isReading ? null : target(values.to, { headers, token, protocol, workspace }),
    writes: !values.check,
    rule: source.names ?? source.namesAt(from),
    workspace,
    jobs,
    report: told => {
      counts[told.outcome]++
      if (values.print !== undefined && told.update) {
        console.log(JSON.stringify({ dashboard: told.name, update: Buffer.from(told.update).toString('base64') }))
      }
      const isWell = told.outcome !== 'failed' && told.outcome !== 'missing' && !told.pending
      if (!(values.quiet && isWell)) says(line(told, isReading))
    }
  })
  const total = OUTCOMES.filter(outcome => counts[outcome] > 0)
    .map(outcome => `${counts[outcome]} ${isReading && outcome === 'there' ? 'read' : outcome}`)
  says(total.join(', ') || 'no documents')
  if (counts.failed + counts.missing > 0) process.exitCode = 1
}

function line ({ outcome, name, bytes, pending, hasMore, why }, isReading) {
  const facts = []
  if (bytes !== undefined && outcome !== 'empty') facts.push(`${bytes} bytes`)
  if (hasMore) facts.push('edited since')
  if (pending > 0) facts.push(`${pending} bytes wait for edits that the source does not have, and stay behind`)
  if (why) facts.push(why)
  const word = isReading && outcome === 'there' ? 'read' : outcome
  return `${word.padEnd(8)} ${name}${facts.length > 0 ? `   ${facts.join('; ')}` : ''}`
}
