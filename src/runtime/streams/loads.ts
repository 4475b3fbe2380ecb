import type { Clock } from '../../base/clock.ts'
import { durationMs } from '../../base/duration.ts'
import { type MillraceError, asMillraceError } from '../../base/errors.ts'
import { SerialQueue } from '../../base/queue.ts'
import type { Database } from '../../engine/duckdb/database.ts'
import type { RecordBatch } from '../../log/log.ts'
import { type LoadProgress, type LoadReport, loadFiles, supersededOf } from './file-loader.ts'
import { replayStream } from '../replay.ts'
import type { StreamRunner } from './stream-runner.ts'

export interface LoadsOptions {
  /** Makes records durable in a stream. */
  append(stream: string, batch: RecordBatch): Promise<unknown>
  readonly projectDirectory: string
  readonly database: Database
  readonly clock: Clock
  /** Ends watching, and loads between two of their files. */
  readonly signal: AbortSignal
  /** A look at a stream's files went wrong; another follows. */
  onFailed(runner: StreamRunner, error: MillraceError): void
}

/** Brings the files of sources into their streams. One look at a stream's files at a time: two at once would both find the same files new. */
export class Loads {
  /** What the last load of each stream found. */
  readonly reports = new Map<string, LoadReport>()
  readonly #options: LoadsOptions
  readonly #queues = new Map<string, SerialQueue>()

  constructor(options: LoadsOptions) {
    this.#options = options
  }

  load(runner: StreamRunner, onProgress?: (progress: LoadProgress) => void): Promise<LoadReport> {
    const { name } = runner.stream
    const queue = this.#queues.get(name) ?? new SerialQueue()
    this.#queues.set(name, queue)
    return queue.run(() => this.#load(runner, onProgress))
  }

  /** Loads as often as the sources say, until the signal, the stream's end, or its going to another process. */
  async watch(runner: StreamRunner): Promise<void> {
    const { clock, signal, onFailed } = this.#options
    const every = Math.min(...runner.stream.sources.map((source) => durationMs(source.every ?? '10 seconds', 'every')))
    while (!signal.aborted && !runner.failure && runner.owned.includes(0)) {
      try {
        await this.load(runner)
      } catch (error) {
        if (runner.failure) return
        onFailed(runner, asMillraceError(error))
      }
      await clock.sleep(every, signal)
    }
  }

  async #load(runner: StreamRunner, onProgress?: (progress: LoadProgress) => void): Promise<LoadReport> {
    const { append, projectDirectory, clock, signal } = this.#options
    const progress = onProgress === undefined ? {} : { onProgress }
    const report = await loadFiles(runner, { append, projectDirectory, clock, signal, ...progress })
    this.reports.set(runner.stream.name, report)
    await this.#applySuperseded(runner)
    return report
  }

  /** Takes records back whose file has a newer version: those not yet gated are passed over, for others the stream is replayed. */
  async #applySuperseded(runner: StreamRunner): Promise<void> {
    const wanted = supersededOf(runner)
    const known = new Set(runner.committed.superseded.map((s) => `${s.partition}:${s.from}:${s.to}`))
    const fresh = wanted.filter((s) => !known.has(`${s.partition}:${s.from}:${s.to}`))
    if (fresh.length === 0) return
    await runner.drain()
    const from = runner.committed.offsets.map((end, i) =>
      Math.min(end, ...fresh.filter((s) => s.partition === i).map((s) => s.from)),
    )
    await replayStream(runner, { database: this.#options.database, from, superseded: wanted })
  }
}
