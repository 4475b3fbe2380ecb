import { parentPort, workerData } from 'node:worker_threads'
import type { DuckDBConnection } from '@duckdb/node-api'
import { MillraceError, asMillraceError } from '../base/errors.ts'
import { SerialQueue } from '../base/queue.ts'
import { Database, run } from '../engine/duckdb/database.ts'
import type { WrittenFile } from '../engine/duckdb/parquet.ts'
import { SeenKeys } from '../quality/seen.ts'
import { type LaneMemory, type Refusal, Verdict } from '../quality/verdict.ts'
import { writePartitioned } from './partitioned.ts'
import {
  type BatchJob,
  type BatchResult,
  type LaneJob,
  type LaneRequest,
  type LaneResponse,
  type LaneWorkerOptions,
  PREPARED,
  type RestoreJob,
} from './lane-messages.ts'
import { misread, writeRefused } from './refused.ts'

/**
 * A thread that runs lanes, with a single-threaded engine of its own: records pass in order, and the lanes of other
 * threads run beside it. Batches are judged one after the other; while one is, the next is prepared when a processor is
 * free for it. What is remembered (keys seen) can be rebuilt from the lake at any time.
 */
class LaneWorker {
  readonly #database: Database
  readonly #options: LaneWorkerOptions
  readonly #verdict = new Verdict()
  readonly #memories = new Map<string, LaneMemory>()
  /** Whether a lane's last batch had rows of several lake partitions. */
  readonly #spread = new Map<string, boolean>()
  readonly #turns = new SerialQueue()
  /** Batches not yet answered. */
  readonly #open = new Set<Promise<unknown>>()
  /** Batches that wait for their turn, in order. */
  readonly #waiting: Waiting[] = []
  #judging = false
  #preparing = false

  private constructor(database: Database, options: LaneWorkerOptions) {
    this.#database = database
    this.#options = options
  }

  static async open(options: LaneWorkerOptions): Promise<LaneWorker> {
    const database = await Database.open({ threads: 1, memory: options.memory, temporary: options.temporary })
    const worker = new LaneWorker(database, options)
    // One connection makes a function known to all of them.
    await database.use(async (connection) => worker.#verdict.register(connection))
    return worker
  }

  /** Ends when everything asked for is done. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#open, this.#turns.idle()])
    await this.#database.close()
  }

  run(job: LaneJob): Promise<unknown> {
    switch (job.kind) {
      case 'batch': {
        const result = this.#batch(job)
        this.#open.add(result)
        return result.finally(() => this.#open.delete(result))
      }
      case 'restore':
        return this.#turns.run(() => this.#restore(job))
      case 'forget':
        return this.#turns.run(async () => this.#memories.delete(job.lane))
    }
  }

  async #batch(job: BatchJob): Promise<BatchResult> {
    try {
      const { bad, refusals, ...judged } = await this.#inTurn(job)
      // Beside the next batch's turn: nothing rests on it.
      const quarantineFiles =
        bad.length === 0 ? [] : await this.#database.use((connection) => writeRefused(connection, job, bad, refusals))
      return { ...judged, partition: job.partition, quarantined: bad.length, quarantineFiles }
    } catch (error) {
      // The keys of the failed batch are remembered already: only the lake can tell which of them are true.
      this.#memories.delete(job.lane)
      throw error
    }
  }

  #inTurn(job: BatchJob): Promise<Judged> {
    const waiting: Waiting = { job }
    this.#waiting.push(waiting)
    if (this.#judging) this.#prepareNext()
    return this.#turns.run(async () => {
      this.#waiting.shift()
      this.#judging = true
      this.#prepareNext()
      try {
        return await this.#take(job, waiting.prepared)
      } finally {
        this.#judging = false
      }
    })
  }

  // One at a time: the batch under judgement has the other processor.
  #prepareNext(): void {
    const next = this.#waiting.find((batch) => !batch.prepared)
    if (this.#preparing || !next?.job.ahead) return
    this.#preparing = true
    next.prepared = this.#prepare(next.job).finally(() => {
      this.#preparing = false
      this.#prepareNext()
    })
    // Told in its turn.
    next.prepared.catch(() => undefined)
  }

  async #prepare(job: BatchJob): Promise<DuckDBConnection> {
    const connection = await this.#database.take()
    const sql = `CREATE TEMP TABLE ${PREPARED} AS ${job.prepare}`
    try {
      await run(sql, () => connection.run(sql))
      return connection
    } catch (error) {
      this.#database.release(connection)
      throw error
    }
  }

  async #take(job: BatchJob, prepared: Waiting['prepared']): Promise<Judged> {
    const connection = await (prepared ?? this.#database.take())
    try {
      return await this.#judge(job, connection, prepared ? job.judge.prepared : job.judge.streamed)
    } finally {
      if (prepared) await connection.run(`DROP TABLE ${PREPARED}`)
      this.#database.release(connection)
    }
  }

  async #judge(job: BatchJob, connection: DuckDBConnection, sql: string): Promise<Judged> {
    const memory = job.remembers ? this.#memories.get(job.lane) : { seen: undefined, newestMs: -Infinity }
    if (!memory) throw forgotten(job)
    if (memory.seen) this.#checkMemory(job.lane, memory.seen)
    const verdict = this.#verdict
    verdict.begin({
      from: job.segment.from,
      headerLines: job.headerLines,
      skip: job.skip,
      ...(job.offsets === undefined ? {} : { offsets: job.offsets }),
      ...(job.newestBefore === undefined ? {} : { newestBefore: job.newestBefore }),
      arrivals: job.arrivals,
      eventTime: job.eventTime,
      memory,
    })
    const { files, spread } = await writePartitioned(connection, sql, {
      directory: job.directory,
      fields: job.fields,
      partition: job.partitionBy,
      spread: this.#spread.get(job.lane) ?? false,
      hot: true,
    })
    this.#spread.set(job.lane, spread)
    if (!job.exact && !verdict.isComplete(job.segment.to)) throw misread(job)
    verdict.end(job.segment.to)
    const { accepted, duplicates, skipped, bad, refusals } = verdict
    return { files, accepted, duplicates, skipped, bad, refusals, newestMs: memory.newestMs }
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

  async #restore(job: RestoreJob): Promise<{ keys: number }> {
    const { lane, keys, newestMs } = job
    const seen = keys && new SeenKeys(keys.horizonMs)
    const sql = keys?.sql
    if (seen && sql !== undefined) await this.#database.use((connection) => restoreKeys(seen, connection, sql))
    this.#memories.set(lane, { seen, newestMs })
    return { keys: seen?.size ?? 0 }
  }
}

async function restoreKeys(seen: SeenKeys, connection: DuckDBConnection, sql: string): Promise<void> {
  const result = await connection.stream(sql)
  for (;;) {
    const chunk = await result.fetchChunk()
    if (!chunk || chunk.rowCount === 0) return
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

/** What became of a batch's records. */
interface Judged {
  readonly files: readonly WrittenFile[]
  readonly accepted: number
  readonly duplicates: number
  readonly skipped: number
  /** Offsets of those refused, and why those among them were that are good in themselves. */
  readonly bad: readonly number[]
  readonly refusals: ReadonlyMap<number, Refusal>
  readonly newestMs: number
}

interface Waiting {
  readonly job: BatchJob
  /** Holds the table `PREPARED`. */
  prepared?: Promise<DuckDBConnection>
}

/** The batch before has failed, and the keys went with it. */
function forgotten({ lane }: BatchJob): MillraceError {
  return new MillraceError('unavailable', 'lane-forgotten', `Lane ${lane} has lost what it remembered.`, {
    hint: 'It is restored from the lake, and the batch is gated again.',
  })
}

if (parentPort) {
  const port = parentPort
  const worker = await LaneWorker.open(workerData as LaneWorkerOptions)
  port.on('message', (request: LaneRequest | 'close') => {
    if (request === 'close') {
      void worker.close().then(() => port.close())
      return
    }
    void worker
      .run(request)
      .then(
        (result): LaneResponse => ({ id: request.id, result }),
        (error: unknown): LaneResponse => ({ id: request.id, error: asMillraceError(error).toJSON() }),
      )
      .then((response) => port.postMessage(response))
  })
  port.postMessage({ id: 0, result: 'ready' } satisfies LaneResponse)
}
