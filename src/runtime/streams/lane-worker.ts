import { rm } from 'node:fs/promises'
import { parentPort, workerData } from 'node:worker_threads'
import type { DuckDBConnection } from '@duckdb/node-api'
import { MillraceError, asMillraceError } from '../../base/errors.ts'
import { SerialQueue } from '../../base/queue.ts'
import { Database, run } from '../../engine/duckdb/database.ts'
import type { WrittenFile } from '../../engine/duckdb/parquet.ts'
import { judgeSql } from '../../quality/gate.ts'
import { SeenKeys } from '../../quality/seen.ts'
import { type LaneMemory, type Refusal, Verdict } from '../../quality/verdict.ts'
import { writePartitioned } from '../partitioned.ts'
import {
  type BatchJob,
  type BatchResult,
  type LaneJob,
  type LaneRequest,
  type LaneResponse,
  type LaneWorkerOptions,
  type RestoreJob,
} from './lane-messages.ts'
import { misread, writeRefused } from './refused.ts'

/** Name of the temporary table of a batch that was prepared while the one before was judged. */
const PREPARED = 'prepared'

/**
 * A thread that runs lanes, with a single-threaded engine of its own: records pass in order, and the lanes of other
 * threads run beside it. Batches are judged one after the other; while one is, work on the next begins when a processor is
 * free for it. What is remembered (keys seen) can be rebuilt from the lake at any time.
 */
class LaneWorker {
  readonly #database: Database
  readonly #options: LaneWorkerOptions
  /** Those that no batch needs now; each is known to the engine by a name of its own. */
  readonly #judges: Judge[] = []
  #named = 0
  readonly #memories = new Map<string, LaneMemory>()
  /** Whether a lane's last batch had rows of several lake partitions. */
  readonly #spread = new Map<string, boolean>()
  /** Lanes whose last batch had records refused for their time: a trial of the next would hardly stand. */
  readonly #mistimed = new Set<string>()
  readonly #turns = new SerialQueue()
  /** Batches not yet answered. */
  readonly #open = new Set<Promise<unknown>>()
  /** Batches that wait for their turn, in order. */
  readonly #waiting: Waiting[] = []
  /** What the batch whose turn it is does. */
  #turn: 'none' | 'works' | 'awaits its trial' = 'none'
  /** Batches that are worked on before their turn. */
  #ahead = 0

  private constructor(database: Database, options: LaneWorkerOptions) {
    this.#database = database
    this.#options = options
  }

  static async open(options: LaneWorkerOptions): Promise<LaneWorker> {
    const database = await Database.open({ threads: 1, memory: options.memory, temporary: options.temporary })
    return new LaneWorker(database, options)
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
    if (this.#turn !== 'none') this.#goAhead()
    return this.#turns.run(async () => {
      this.#waiting.shift()
      const { trial, prepared } = waiting
      try {
        this.#turn = trial ? 'awaits its trial' : 'works'
        this.#goAhead()
        const judged = trial && (await this.#standing(job, trial))
        if (judged) return judged
        this.#turn = 'works'
        return await this.#take(job, prepared)
      } finally {
        this.#turn = 'none'
      }
    })
  }

  // Two at a time: one of them is the batch whose turn it is, when that works and does not wait for its own trial.
  #goAhead(): void {
    while (this.#ahead < (this.#turn === 'awaits its trial' ? 2 : 1)) {
      const next = this.#waiting.find(({ trial, prepared }) => !trial && !prepared)
      if (!next?.job.ahead) return
      this.#ahead++
      // The keys of the batch before are not known yet; without keys nothing but its event time matters.
      const { lane, unique, newestBefore } = next.job
      if (unique || newestBefore !== undefined || this.#mistimed.has(lane))
        next.prepared = this.#begun(this.#prepare(next.job))
      else next.trial = this.#begun(this.#try(next.job))
    }
  }

  #begun<T>(work: Promise<T>): Promise<T> {
    const done = work.finally(() => {
      this.#ahead--
      if (this.#turn !== 'none') this.#goAhead()
    })
    // Told in its turn.
    done.catch(() => undefined)
    return done
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

  /** Judges a batch before its turn. What goes wrong is met again in its turn. */
  async #try(job: BatchJob): Promise<Trial | undefined> {
    const newestMs = this.#memories.get(job.lane)?.newestMs ?? -Infinity
    const judge = await this.#judge()
    try {
      const judged = await this.#database.use((connection) =>
        this.#write(job, connection, `(${job.prepare})`, judge, { seen: undefined, newestMs }),
      )
      return { judged, judge }
    } catch {
      this.#judges.push(judge)
      return undefined
    }
  }

  /** What a trial came to, when what came before the batch since then would have changed nothing. */
  async #standing(job: BatchJob, begun: Promise<Trial | undefined>): Promise<Judged | undefined> {
    const trial = await begun
    if (!trial) return undefined
    const { judged, judge } = trial
    this.#judges.push(judge)
    const memory = this.#memoryOf(job)
    if (judge.verdict.standsAfter(memory.newestMs)) {
      memory.newestMs = Math.max(memory.newestMs, judged.newestMs)
      return { ...judged, newestMs: memory.newestMs }
    }
    await Promise.all(judged.files.map(({ path }) => rm(path, { force: true })))
    return undefined
  }

  async #take(job: BatchJob, prepared: Waiting['prepared']): Promise<Judged> {
    const connection = await (prepared ?? this.#database.take())
    const judge = await this.#judge()
    try {
      const memory = this.#memoryOf(job)
      if (memory.seen) this.#checkMemory(job.lane, memory.seen)
      return await this.#write(job, connection, prepared ? PREPARED : `(${job.prepare})`, judge, memory)
    } finally {
      this.#judges.push(judge)
      if (prepared) await connection.run(`DROP TABLE ${PREPARED}`)
      this.#database.release(connection)
    }
  }

  async #judge(): Promise<Judge> {
    const free = this.#judges.pop()
    if (free) return free
    const judge: Judge = { name: `gate_${this.#named++}`, verdict: new Verdict() }
    // One connection makes a function known to all of them.
    await this.#database.use(async (connection) => judge.verdict.register(connection, judge.name))
    return judge
  }

  #memoryOf(job: BatchJob): LaneMemory {
    const memory = job.remembers ? this.#memories.get(job.lane) : { seen: undefined, newestMs: -Infinity }
    if (!memory) throw forgotten(job)
    return memory
  }

  async #write(
    job: BatchJob,
    connection: DuckDBConnection,
    records: string,
    { name, verdict }: Judge,
    memory: LaneMemory,
  ): Promise<Judged> {
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
    const { files, spread } = await writePartitioned(connection, judgeSql(name, job.accepted, records), {
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
    if (refusals.size > 0) this.#mistimed.add(job.lane)
    else this.#mistimed.delete(job.lane)
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

/** A verdict, and the name by which SQL asks for it. */
interface Judge {
  readonly name: string
  readonly verdict: Verdict
}

/** What became of a batch that was judged before its turn, by what the lane remembered then. */
interface Trial {
  readonly judged: Judged
  /** As the batch left it. */
  readonly judge: Judge
}

interface Waiting {
  readonly job: BatchJob
  /** Holds the table `PREPARED`. */
  prepared?: Promise<DuckDBConnection>
  trial?: Promise<Trial | undefined>
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
