// A directory of Yjs updates v1, one file per document: `NAME.bin`, as Hocuspocus' S3 extension names its objects.
//
// A name with slashes lies in directories, as `aws s3 sync` puts it there. Other files are passed over.

import { readdir, readFile } from 'node:fs/promises'
import { join, sep } from 'node:path'

export const names = 'short'

const SUFFIX = '.bin'

/** Yields every document as `{ name, updates }`, in the order of names. */
export async function * documents (directory) {
  const files = await readdir(directory, { recursive: true })
  for (const file of files.filter(file => file.endsWith(SUFFIX)).sort()) {
    const name = file.slice(0, -SUFFIX.length).split(sep).join('/')
    yield { name, updates: [await readFile(join(directory, file))] }
  }
}
