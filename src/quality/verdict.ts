import {
  BIGINT,
  DOUBLE,
  type DuckDBConnection,
  type DuckDBDataChunk,
  DuckDBScalarFunction,
  type DuckDBVector,
  TINYINT,
  UBIGINT,
} from '@duckdb/node-api'
import { MillraceError } from '../base/errors.ts'
import { STATE } from './gate.ts'
import { SEEN, type SeenKeys } from './seen.ts'
import type { EventTime } from '../project/event-time.ts'
import { formatMs } from '../base/duration.ts'

/** What a lane remembers of the records before. */
export interface LaneMemory {
  /** The keys seen, when the stream has a unique key. */
  readonly seen: SeenKeys | undefined
  /** Newest event time accepted, ms since the epoch; -Infinity before the first. */
  newestMs: number
}

/** Why the verdict refuses a record that is good in itself: the rule, and the reason. */
export type Refusal = readonly [rule: 'too_old' | 'late' | 'ahead', reason: string]

/** What a batch is, for the verdict on its records. */
export interface BatchOrder {
  /** Offset of the file's first record. */
  readonly from: number
  /** Line numbers of frame headers, ascending. */
  readonly headerLines: readonly number[]
  /** Offset ranges [from, to) to pass over: done before, or superseded by a newer version of their file. */
  readonly skip: readonly (readonly [number, number])[]
  /** Offsets of the records, when they do not follow each other: a replay from quarantine. */
  readonly offsets?: readonly number[]
  /** With `offsets`: the newest event time accepted before each. */
  readonly newestBefore?: readonly number[]
  /** When records arrived: those from `offset` on, ms since the epoch; ascending. */
  readonly arrivals: readonly { readonly offset: number; readonly atMs: number }[]
  /** How time moves, when the stream has an event time. */
  readonly eventTime: EventTime | undefined
  readonly memory: LaneMemory
}

/**
 * Decides about each record of a batch, in order: the JavaScript side of the SQL function `gate(state, hash, hash, time)`,
 * which returns the offset of an accepted record and NULL for any other. DuckDB calls it a vector (2,048 rows) at a time.
 *
 * Requires a single-threaded engine: the records of a file must come in their order.
 */
export class Verdict {
  #order: BatchOrder | undefined
  #line = 0
  #offset = 0
  #nextHeader = 0
  #nextArrival = 0
  accepted = 0
  duplicates = 0
  skipped = 0
  /** Offsets of records that failed. */
  bad: number[] = []
  /** Of `bad`, those that are good in themselves. */
  refusals = new Map<number, Refusal>()
  /** Oldest event time accepted, ms since the epoch; Infinity before the first. */
  oldestMs = Infinity

  /** Makes the function known, by this name, to a connection. */
  register(connection: DuckDBConnection, name: string): void {
    connection.registerScalarFunction(
      DuckDBScalarFunction.create({
        name,
        volatile: true,
        specialHandling: true,
        parameterTypes: [TINYINT, UBIGINT, UBIGINT, DOUBLE],
        returnType: BIGINT,
        mainFunction: (info, chunk, output) => {
          try {
            this.#decide(chunk, output)
          } catch (error) {
            info.setError(error instanceof Error ? error.message : String(error))
          }
        },
      }),
    )
  }

  begin(order: BatchOrder): void {
    this.#order = order
    this.#line = 0
    this.#offset = order.from
    this.#nextHeader = 0
    this.accepted = this.duplicates = this.skipped = 0
    this.bad = []
    this.refusals = new Map()
    this.oldestMs = Infinity
    this.#nextArrival = 0
  }

  /**
   * Whether the verdict would have been the same had the lane accepted records up to this event time before the batch: then
   * none of those accepted is late.
   */
  standsAfter(newestMs: number): boolean {
    const { latenessMs, acceptLateMs } = this.#order!.eventTime ?? TIMELESS
    return this.refusals.size === 0 && !(newestMs - this.oldestMs > latenessMs + acceptLateMs)
  }

  /** Whether the file held the frames and records it should. */
  isComplete(to: number): boolean {
    return this.#offset === to && this.#nextHeader === this.#order!.headerLines.length
  }

  /** Ends a batch. Throws corrupt/segment-mismatch when the file did not hold what its frames say. */
  end(to: number): void {
    if (!this.isComplete(to)) {
      throw new MillraceError(
        'corrupt',
        'segment-mismatch',
        `A log segment holds ${this.#offset - this.#order!.from} records where its frames say ${to - this.#order!.from}.`,
        {
          hint: 'Run `millrace verify`; restore the segment from a copy if it is damaged.',
        },
      )
    }
  }

  #decide(chunk: DuckDBDataChunk, output: DuckDBVector): void {
    const { headerLines, skip, memory, eventTime, from, offsets: explicit, newestBefore } = this.#order!
    const { seen } = memory
    const { latenessMs, acceptLateMs, aheadMs } = eventTime ?? TIMELESS
    const lateBeyondMs = latenessMs + acceptLateMs
    const rows = chunk.rowCount
    const state = items(chunk.getColumnVector(0), Int8Array)
    const first = halves(items(chunk.getColumnVector(1), BigUint64Array), rows)
    const second = halves(items(chunk.getColumnVector(2), BigUint64Array), rows)
    const time = items(chunk.getColumnVector(3), Float64Array)
    const offsets = halves(items(output, BigInt64Array), rows)
    for (let i = 0; i < rows; i++) {
      const line = this.#line++
      if (line === headerLines[this.#nextHeader]) {
        this.#nextHeader++
        output.setItem(i, null)
        continue
      }
      const ordinal = this.#offset++
      const offset = explicit === undefined ? ordinal : explicit[ordinal - from]!
      // oxlint-disable-next-line no-useless-length-check -- saves a closure for each row
      if (skip.length > 0 && skip.some(([from, to]) => offset >= from && offset < to)) {
        this.skipped++
        output.setItem(i, null)
        continue
      }
      if (state[i]! !== STATE.good) {
        this.bad.push(offset)
        output.setItem(i, null)
        continue
      }
      const timeMs = time[i]!
      const a = first[2 * i]!
      const b = first[2 * i + 1]!
      const c = second[2 * i]!
      const d = second[2 * i + 1]!
      if (newestBefore !== undefined) memory.newestMs = Math.max(memory.newestMs, newestBefore[ordinal - from]!)
      if (
        memory.newestMs - timeMs > lateBeyondMs ||
        (aheadMs !== Infinity && timeMs - this.#arrivalOf(offset) > aheadMs)
      ) {
        // One that comes again is a duplicate, whenever it does.
        if (seen !== undefined && seen.has(a, b, c, d)) this.duplicates++
        else {
          this.bad.push(offset)
          this.refusals.set(offset, this.#mistimed(offset, timeMs))
        }
        output.setItem(i, null)
        continue
      }
      const outcome: number = seen === undefined ? SEEN.fresh : seen.add(a, b, c, d, timeMs)
      if (outcome === SEEN.fresh) {
        this.accepted++
        if (timeMs > memory.newestMs) memory.newestMs = timeMs
        if (timeMs < this.oldestMs) this.oldestMs = timeMs
        // The two halves of a little-endian 64-bit integer: BigInt arithmetic per row would cost more than the check.
        offsets[2 * i] = offset >>> 0
        offsets[2 * i + 1] = Math.floor(offset / 0x1_0000_0000)
      } else {
        if (outcome === SEEN.duplicate) this.duplicates++
        else {
          this.bad.push(offset)
          this.refusals.set(offset, TOO_OLD)
        }
        output.setItem(i, null)
      }
    }
    output.flush()
  }

  /** Why a record's time puts it out of the stream: that depends on the records before it alone, however they were batched. */
  #mistimed(offset: number, timeMs: number): Refusal {
    const { eventTime, memory } = this.#order!
    const { latenessMs, acceptLateMs, aheadMs } = eventTime!
    const lateMs = memory.newestMs - latenessMs - timeMs
    if (lateMs > acceptLateMs)
      return [
        'late',
        `${formatMs(lateMs)} behind the watermark; no window takes up what is over ${formatMs(acceptLateMs)} late`,
      ]
    const earlyMs = timeMs - this.#arrivalOf(offset)
    return [
      'ahead',
      `its time is ${formatMs(earlyMs)} ahead of its arrival, over the ${formatMs(aheadMs)} the stream allows`,
    ]
  }

  #arrivalOf(offset: number): number {
    const { arrivals } = this.#order!
    while (this.#nextArrival + 1 < arrivals.length && arrivals[this.#nextArrival + 1]!.offset <= offset)
      this.#nextArrival++
    return arrivals[this.#nextArrival]?.atMs ?? Infinity
  }
}

/** A stream without an event time. */
const TIMELESS: EventTime = { latenessMs: 0, acceptLateMs: Infinity, aheadMs: Infinity, idleMs: Infinity }

const TOO_OLD: Refusal = ['too_old', 'older than the unique horizon: it cannot be told from a duplicate']

function items<T>(vector: DuckDBVector, kind: abstract new (...args: never[]) => T): T {
  const found = (vector as unknown as { items: unknown }).items
  if (!(found instanceof kind)) throw new MillraceError('internal', 'vector', `Expected a ${kind.name} vector.`)
  return found
}

function halves(values: BigUint64Array | BigInt64Array, rows: number): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, rows * 2)
}
