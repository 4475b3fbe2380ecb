import type { Clock } from '../../base/clock.ts'
import type { LakeTable } from '../../lake/table.ts'
import type { RecordBatch, StreamLog } from '../../log/log.ts'
import type { Stream } from '../../project/stream.ts'
import { Inlet, type Received } from './inlet.ts'
import type { LogEvents, Parts } from '../parts.ts'
import { newestStep } from '../warehouse.ts'

/** Time between two looks at what other processes have appended, ms. */
const LOOK_MS = 1_000

export interface StreamLogsOptions {
  readonly open: Parts['openLog']
  readonly clock: Clock
  /** Bytes of a stream that may wait to be processed. */
  readonly backlogBytes: number
}

/** The logs of a project's streams, where records come in and wait. */
export class StreamLogs {
  readonly #options: StreamLogsOptions
  readonly #logs = new Map<string, StreamLog>()
  readonly #inlets = new Map<string, Inlet>()

  constructor(options: StreamLogsOptions) {
    this.#options = options
  }

  /** Opens the log of a stream whose rows are in a table. */
  async open(stream: Stream, table: LakeTable, events: LogEvents): Promise<void> {
    const log = await this.#options.open(stream, events)
    this.#logs.set(stream.name, log)
    this.#inlets.set(stream.name, new Inlet({ stream, log, backlogBytes: this.#options.backlogBytes }))
    this.checkpoint(stream.name, table)
  }

  get(stream: string): StreamLog | undefined {
    return this.#logs.get(stream)
  }

  /** Why no records come from elsewhere, if they do not. */
  waitingFor(stream: string): string | undefined {
    return this.#logs.get(stream)?.waitingFor?.()?.message
  }

  /** Makes records durable. Errors: those of `Inlet.append`. */
  append(stream: string, batch: RecordBatch): Promise<Received> {
    return this.#inlets.get(stream)!.append(batch)
  }

  /** Tells the log how far the lake is: what waits beyond is the backlog. */
  checkpoint(stream: string, table: LakeTable): void {
    const offsets = newestStep(table)?.record.offsets ?? []
    this.#logs.get(stream)?.partitions.forEach((partition, i) => {
      if (offsets[i] !== undefined && offsets[i] <= partition.end) partition.checkpointed(offsets[i])
    })
  }

  /** Acknowledged records that are not in a committed snapshot of the table; undefined without the log. */
  lag(stream: string, table: LakeTable): number | undefined {
    const offsets = newestStep(table)?.record.offsets
    return this.#logs
      .get(stream)
      ?.partitions.reduce((sum, { end, start }, i) => sum + Math.max(0, end - (offsets?.[i] ?? start)), 0)
  }

  /** Finds out, until the signal, what others append to partitions that are not this process's: for the backlog and the lag. */
  async watch(signal: AbortSignal, owned: (stream: string) => readonly number[]): Promise<void> {
    while (!signal.aborted) {
      const others = [...this.#logs].flatMap(([name, { partitions }]) =>
        partitions.filter(({ partition }) => !owned(name).includes(partition)),
      )
      // A log that is out of reach for a while is told of by whoever appends.
      await Promise.allSettled(others.map((partition) => partition.look()))
      await this.#options.clock.sleep(LOOK_MS, signal)
    }
  }

  /** Closes all. Throws the first error, once all are closed. */
  async close(): Promise<void> {
    const closed = await Promise.allSettled([...this.#logs.values()].map((log) => log.close()))
    const failed = closed.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
  }
}
