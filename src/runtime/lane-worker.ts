import { createReadStream } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { createZstdDecompress } from 'node:zlib'
import type { DuckDBConnection } from '@duckdb/node-api'
import { MillraceError, asMillraceError, assert } from '../base/errors.ts'
import { SerialQueue } from '../base/queue.ts'
import { Database, engineError } from '../engine/duckdb/database.ts'
import { type WrittenFile, copyToParquet } from '../engine/duckdb/parquet.ts'
import { type QuarantinedRecord, malformed, quarantineLine, quarantineSelect } from '../quality/quarantine.ts'
import { SeenKeys } from '../quality/seen.ts'
import { Verdict } from '../quality/verdict.ts'
import { writePartitioned } from './partitioned.ts'
import type {
  BatchJob,
  BatchResult,
  LaneJob,
  LaneRequest,
  LaneResponse,
  LaneWorkerOptions,
  RestoreJob,
} from './lane-messages.ts'

/**
 * A thread that runs lanes, with a single-threaded engine of its own: records pass in order, and the lanes of other
 * threads run beside it. What it remembers (keys seen) can be rebuilt from the lake at any time.
 */
class LaneWorker {
  readonly #connection: DuckDBConnection
  readonly #options: LaneWorkerOptions
  readonly #verdict = new Verdict()
  readonly #seen = new Map<string, SeenKeys>()
  /** Whether a lane's last batch had rows of several lake partitions. */
  readonly #spread = new Map<string, boolean>()

  constructor(connection: DuckDBConnection, options: LaneWorkerOptions) {
    this.#connection = connection
    this.#options = options
    this.#verdict.register(connection)
  }

  /** The result, or a promise of it. */
  run(job: LaneJob): unknown {
    switch (job.kind) {
      case 'batch':
        return this.#batch(job)
      case 'restore':
        return this.#restore(job)
      case 'forget':
        return void this.#seen.delete(job.lane)
    }
  }

  async #batch(job: BatchJob): Promise<BatchResult> {
    const seen = job.unique ? this.#seen.get(job.lane) : undefined
    assert(!job.unique || seen, `lane ${job.lane} has been restored before its first batch`)
    if (seen) this.#checkMemory(job.lane, seen)
    const verdict = this.#verdict
    verdict.begin({
      from: job.segment.from,
      headerLines: job.headerLines,
      skip: job.skip,
      ...(job.offsets === undefined ? {} : { offsets: job.offsets }),
      seen,
    })
    try {
      const { files, spread } = await writePartitioned(this.#connection, job.select, {
        directory: job.directory,
        fields: job.fields,
        partition: job.partitionBy,
        spread: this.#spread.get(job.lane) ?? false,
        hot: true,
      })
      this.#spread.set(job.lane, spread)
      if (!job.exact && !verdict.isComplete(job.segment.to)) throw misread(job)
      verdict.end(job.segment.to)
      const quarantineFiles = verdict.bad.length === 0 ? [] : await this.#quarantine(job)
      return {
        files,
        quarantineFiles,
        accepted: verdict.accepted,
        duplicates: verdict.duplicates,
        quarantined: verdict.bad.length,
        skipped: verdict.skipped,
      }
    } catch (error) {
      // The keys of the failed batch are in the set already: only the lake can tell which of them are true.
      this.#seen.delete(job.lane)
      throw error
    }
  }

  #checkMemory(lane: string, seen: SeenKeys): void {
    if (seen.bytes <= this.#options.uniqueMemory) return
    throw new MillraceError(
      'invalid',
      'unique-memory',
      `Lane ${lane} remembers ${seen.size} keys in ${seen.bytes} bytes, over limits.uniqueMemory (${this.#options.uniqueMemory}).`,
      {
        hint: "Declare a horizon (unique: { columns, horizon: '1 day' }), use more partitions, or raise limits.uniqueMemory; then start again. Nothing acknowledged is lost.",
      },
    )
  }

  /** Finds the reason of each failed record, from its original bytes, and writes it all as a file of the quarantine table. */
  async #quarantine(job: BatchJob): Promise<WrittenFile[]> {
    const { bad, tooOld } = this.#verdict
    const lines = await readLines(job, bad)
    const refused = new Map<number, readonly (readonly [string, string])[]>()
    const asked: number[] = []
    bad.forEach((offset, i) => {
      const wrong = malformed(lines[i]!)
      if (wrong) refused.set(offset, [wrong])
      else asked.push(i)
    })
    const diagnosed = await this.#diagnose(
      job,
      asked.map((i) => lines[i]!),
    )
    asked.forEach((i, row) => {
      const { failures } = diagnosed[row]!
      const offset = bad[i]!
      if (tooOld.has(offset))
        failures.push(['too_old', 'older than the unique horizon: it cannot be told from a duplicate'])
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
    await writeFile(job.diagnosePath, records.map(quarantineLine))
    try {
      return await copyToParquet(this.#connection, quarantineSelect(job.diagnosePath), {
        directory: job.quarantineDirectory,
        fields: job.quarantineFields,
      })
    } finally {
      await rm(job.diagnosePath, { force: true })
    }
  }

  async #diagnose(job: BatchJob, lines: readonly string[]): Promise<Diagnosis[]> {
    if (lines.length === 0) return []
    await writeFile(
      job.diagnosePath,
      lines.map((line) => `${line}\n`),
    )
    try {
      const reader = await this.#connection.runAndReadAll(job.diagnose)
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

  async #restore(job: RestoreJob): Promise<{ keys: number }> {
    const seen = new SeenKeys(job.horizonMs)
    if (job.sql !== undefined) {
      const result = await this.#connection.stream(job.sql)
      for (;;) {
        const chunk = await result.fetchChunk()
        if (!chunk || chunk.rowCount === 0) break
        const rows = chunk.rowCount
        const [first, second, time] = [0, 1, 2].map(
          (i) => (chunk.getColumnVector(i) as unknown as { items: BigUint64Array | Float64Array }).items,
        )
        const a = new Uint32Array(first!.buffer, first!.byteOffset, rows * 2)
        const b = new Uint32Array(second!.buffer, second!.byteOffset, rows * 2)
        for (let i = 0; i < rows; i++)
          seen.restore(a[2 * i]!, a[2 * i + 1]!, b[2 * i]!, b[2 * i + 1]!, (time as Float64Array)[i]!)
      }
    }
    this.#seen.set(job.lane, seen)
    return { keys: seen.size }
  }
}

/**
 * DuckDB's fast reader has taken a line that breaks off together with the next, and changed that one in its memory: it
 * cannot be read, or even falls into two lines.
 */
function misread({ lane, segment }: BatchJob): MillraceError {
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

if (parentPort) {
  const port = parentPort
  const options = workerData as LaneWorkerOptions
  const database = await Database.open({ threads: 1, memory: options.memory, temporary: options.temporary })
  const worker = new LaneWorker(await database.connect(), options)
  const queue = new SerialQueue()
  port.on('message', (request: LaneRequest | 'close') => {
    if (request === 'close') {
      void queue.idle().then(() => {
        database.close()
        port.close()
      })
      return
    }
    void queue
      .run(async () => worker.run(request))
      .then(
        (result): LaneResponse => ({ id: request.id, result }),
        (error: unknown): LaneResponse => ({ id: request.id, error: asMillraceError(error).toJSON() }),
      )
      .then((response) => port.postMessage(response))
  })
  port.postMessage({ id: 0, result: 'ready' } satisfies LaneResponse)
}
