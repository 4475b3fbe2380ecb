import { createReadStream } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { createZstdDecompress } from 'node:zlib'
import type { DuckDBConnection } from '@duckdb/node-api'
import { MillraceError, assert } from '../../base/errors.ts'
import { engineError } from '../../engine/duckdb/database.ts'
import { type WrittenFile, copyToParquet } from '../../engine/duckdb/parquet.ts'
import { type QuarantinedRecord, malformed, quarantineLine, quarantineSelect } from '../../quality/quarantine.ts'
import type { Refusal } from '../../quality/verdict.ts'
import { storageError } from '../../storage/disk.ts'
import type { BatchJob } from './lane-messages.ts'

/**
 * Finds the reason of each refused record of a batch, from its original bytes, and writes it all as a file of the quarantine
 * table. `bad` are their ascending offsets; `refusals` tells of those that are good in themselves.
 */
export async function writeRefused(
  connection: DuckDBConnection,
  job: BatchJob,
  bad: readonly number[],
  refusals: ReadonlyMap<number, Refusal>,
): Promise<WrittenFile[]> {
  const lines = await readLines(job, bad)
  const refused = new Map<number, readonly (readonly [string, string])[]>()
  const asked: number[] = []
  bad.forEach((offset, i) => {
    const wrong = malformed(lines[i]!)
    if (wrong) refused.set(offset, [wrong])
    else asked.push(i)
  })
  const diagnosed = await diagnose(
    job,
    connection,
    asked.map((i) => lines[i]!),
  )
  asked.forEach((i, row) => {
    const { failures } = diagnosed[row]!
    const offset = bad[i]!
    const refusal = refusals.get(offset)
    if (refusal) failures.push([...refusal])
    if (failures.length === 0 && !job.exact) throw misread(job)
    refused.set(offset, failures.length > 0 ? failures : [['unknown', 'the record failed, but no rule says why']])
  })
  const origins = new Map(asked.map((i, row) => [bad[i]!, diagnosed[row]!]))
  const records = bad.map((offset, i): QuarantinedRecord => {
    const failures = refused.get(offset)!
    const origin = origins.get(offset)
    return {
      rule: failures[0]![0],
      reason: failures.map(([, reason]) => reason).join('; '),
      failures,
      raw: lines[i]!,
      source: origin?.source ?? null,
      file: origin?.file ?? null,
      line: origin?.line ?? null,
      receivedAtMs: job.arrivals.findLast((a) => a.offset <= offset)?.atMs ?? 0,
      code: job.code,
      partition: job.partition,
      offset,
    }
  })
  await writeLines(job.diagnosePath, records.map(quarantineLine))
  try {
    return await copyToParquet(connection, quarantineSelect(job.diagnosePath), {
      directory: job.quarantineDirectory,
      fields: job.quarantineFields,
    })
  } finally {
    await rm(job.diagnosePath, { force: true })
  }
}

/**
 * DuckDB's fast reader has taken a line that breaks off together with the next, and changed that one in its memory: it
 * cannot be read, or even falls into two lines.
 */
export function misread({ lane, segment }: BatchJob): MillraceError {
  return new MillraceError('unavailable', 'misread', `Lane ${lane}: ${segment.path} was not read line by line.`, {
    hint: 'The batch is read again, exactly.',
  })
}

interface Diagnosis {
  failures: [string, string][]
  source: string | null
  file: string | null
  line: number | null
}

/** Errors: as `storageError` has them. */
async function writeLines(path: string, lines: readonly string[]): Promise<void> {
  try {
    await writeFile(path, lines)
  } catch (error) {
    throw storageError(error, path)
  }
}

/** Why each of these records was refused, and where it came from. */
async function diagnose(job: BatchJob, connection: DuckDBConnection, lines: readonly string[]): Promise<Diagnosis[]> {
  if (lines.length === 0) return []
  await writeLines(
    job.diagnosePath,
    lines.map((line) => `${line}\n`),
  )
  try {
    const reader = await connection.runAndReadAll(job.diagnose)
    const rows = reader.getRowObjectsJson()
    assert(rows.length === lines.length, 'the diagnosis has a row for every record')
    return rows.map((row) => ({
      failures: row.failures as [string, string][],
      source: (row.$source as string | undefined) ?? null,
      file: (row.$file as string | undefined) ?? null,
      line: row.$line === undefined || row.$line === null ? null : Number(row.$line),
    }))
  } catch (error) {
    throw engineError(error, job.diagnose)
  } finally {
    await rm(job.diagnosePath, { force: true })
  }
}

/** The text of the records at these ascending offsets. */
async function readLines(job: BatchJob, offsets: readonly number[]): Promise<string[]> {
  const file = createReadStream(job.segment.path, { highWaterMark: 1 << 20 })
  const input: AsyncIterable<Buffer> = job.segment.compressed ? file.pipe(createZstdDecompress()) : file
  const wanted = linesOfOffsets(job, offsets)
  const found: string[] = []
  let line = 0
  let started: Buffer[] = []
  for await (const chunk of input) {
    // Lines end at a line feed and nowhere else: node:readline would also split at U+2028.
    let from = 0
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      if (line === wanted[found.length])
        found.push(Buffer.concat([...started, chunk.subarray(from, end)]).toString('utf8'))
      started = []
      from = end + 1
      line++
    }
    if (found.length === wanted.length) break
    if (line === wanted[found.length]) started.push(chunk.subarray(from))
  }
  file.destroy()
  assert(found.length === offsets.length, 'every failed record is in its segment')
  return found
}

/** Line numbers of the records at these ascending offsets. */
function linesOfOffsets(job: BatchJob, offsets: readonly number[]): number[] {
  const explicit = job.offsets && new Map(job.offsets.map((offset, ordinal) => [offset, ordinal]))
  let headers = 0
  return offsets.map((offset) => {
    const ordinal = explicit?.get(offset) ?? offset - job.segment.from
    while (headers < job.headerLines.length && job.headerLines[headers]! <= ordinal + headers) headers++
    return ordinal + headers
  })
}
