import { MillraceError } from '../../base/errors.ts'
import type { PartitionLog, RecordBatch, StreamLog } from '../../log/log.ts'
import { routeLines } from '../../log/route.ts'
import type { Stream } from '../../project/stream.ts'

export interface InletOptions {
  readonly stream: Stream
  readonly log: StreamLog
  /** Acknowledged, uncommitted bytes over which appends are refused. */
  readonly backlogBytes: number
}

export interface Received {
  readonly received: number
  /** An earlier append had the same idempotency key, and nothing was written. */
  readonly repeated: boolean
}

/** Where records enter a stream: bounds what waits, and finds each its partition. */
export class Inlet {
  readonly #options: InletOptions
  #turn = 0

  constructor(options: InletOptions) {
    this.#options = options
  }

  /** Makes records durable. Throws `unavailable`/`backlog-full` over the bound, and what `PartitionLog.append` throws. */
  async append(batch: RecordBatch): Promise<Received> {
    const { log, stream } = this.#options
    this.#checkBacklog()
    if (log.partitions.length === 1) return this.#appendTo(log.partitions[0]!, batch)
    if (stream.key.length === 0) {
      this.#turn = (this.#turn + 1) % log.partitions.length
      return this.#appendTo(log.partitions[this.#turn]!, batch)
    }
    const lines = [batch.lines].flat().map((part) => Buffer.from(part.buffer, part.byteOffset, part.byteLength))
    const parts = routeLines({ lines, records: batch.records }, stream.key, log.partitions.length)
    const results = await Promise.all(
      parts.map((part) =>
        this.#appendTo(log.partitions[part.partition]!, { ...batch, lines: part.lines, records: part.records }),
      ),
    )
    return { received: batch.records, repeated: results.every((result) => result.repeated) }
  }

  #checkBacklog(): void {
    const { log, stream, backlogBytes } = this.#options
    const backlog = log.partitions.reduce((sum, partition) => sum + partition.backlogBytes, 0)
    if (backlog <= backlogBytes) return
    throw new MillraceError(
      'unavailable',
      'backlog-full',
      `Stream '${stream.name}' has ${backlog} bytes waiting to be processed, over its bound of ${backlogBytes}.`,
      {
        hint: 'Send again after the time in Retry-After; nothing of this request was kept.',
        context: { dataset: stream.name },
      },
    )
  }

  async #appendTo(partition: PartitionLog, batch: RecordBatch): Promise<Received> {
    const { repeated } = await partition.append(batch)
    return { received: batch.records, repeated }
  }
}
