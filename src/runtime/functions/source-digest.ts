import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'

/** A digest of a file's text: whether a thread has loaded what the process has. */
export function digestOf(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex')
}
