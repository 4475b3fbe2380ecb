import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { MillraceError } from '../../src/base/errors.ts'
import { type ReadFileOptions, readFile, scanFiles } from '../../src/connectors/files.ts'
import { type FilesOptions, source } from '../../src/project/source.ts'

export type Rec = Record<string, unknown>

/** A folder that is gone after the test. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'millrace-files-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

export function put(directory: string, name: string, content: string | Uint8Array, mtime?: number): string {
  const path = join(directory, name)
  writeFileSync(path, content)
  if (mtime !== undefined) utimesSync(path, mtime, mtime)
  return path
}

/** All records of the files of a source, parsed; batches must be whole lines and only the last one marked. */
export async function records(
  directory: string,
  options: FilesOptions & { name?: string },
  reading: ReadFileOptions = {},
): Promise<Rec[]> {
  const declared = source.files({ name: 's', ...options })
  const found: Rec[] = []
  for (const file of await scanFiles(declared, directory)) found.push(...(await readAll(declared, file, reading)))
  return found
}

export async function readAll(
  declared: Parameters<typeof readFile>[0],
  file: Parameters<typeof readFile>[1],
  reading: ReadFileOptions = {},
): Promise<Rec[]> {
  return (await linesOf(declared, file, reading)).map((line) => JSON.parse(line) as Rec)
}

/** The lines of a file as text. */
export async function linesOf(
  declared: Parameters<typeof readFile>[0],
  file: Parameters<typeof readFile>[1],
  reading: ReadFileOptions = {},
): Promise<string[]> {
  const found: string[] = []
  let ended = false
  for await (const batch of readFile(declared, file, reading)) {
    if (ended) throw new Error('a batch follows the last one')
    ended = batch.last
    const text = Buffer.from(batch.lines).toString()
    if (text !== '' && !text.endsWith('\n')) throw new Error('a batch ends within a line')
    const lines = text.split('\n').slice(0, -1)
    if (lines.length !== batch.records) throw new Error('a batch miscounts its records')
    found.push(...lines)
  }
  if (!ended) throw new Error('no batch is the last one')
  return found
}

/** Without the position. */
export function fieldsOf(record: Rec): Rec {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !['$source', '$file', '$line'].includes(key)))
}

export async function failure(work: Promise<unknown>): Promise<MillraceError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof MillraceError)) throw new Error(`a MillraceError was expected, not ${String(error)}`)
  return error
}
