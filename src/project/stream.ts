import type { Duration } from '../base/duration.ts'
import { MillraceError } from '../base/errors.ts'
import { DECLARED } from './dataset.ts'
import { type Columns, type Field, type RowOf, fieldsOf } from './columns.ts'
import type { Check } from './check.ts'
import { type Transforms, withTransforms } from './function.ts'
import { type Place, callerPlace } from './place.ts'
import type { Source } from './source.ts'

/** How rows are laid out in the lake; pruning follows it. */
export type PartitionBy =
  | 'year'
  | 'month'
  | 'day'
  | 'hour'
  | { readonly column: string; readonly by: 'identity' | 'year' | 'month' | 'day' | 'hour' }
  | { readonly column: string; readonly by: 'bucket'; readonly count: number }
  | { readonly column: string; readonly by: 'truncate'; readonly width: number }

export interface StreamOptions<C extends Columns> {
  columns: C
  /** The event-time column. Needed by interval tables, time partitions and a unique horizon. */
  time?: keyof C & string
  /** How much older than the newest event one may be and still be on time: the watermark is the newest event time less this. Default: 0. */
  lateness?: Duration
  /** How far beyond its arrival an event's time may lie; an event from further ahead goes to quarantine. Default: no bound. */
  ahead?: Duration
  /** A partition without events for so long holds no window open for the others. Default: it holds them for ever. */
  idle?: Duration
  /** Columns whose records keep their order and share a log partition. Default: the unique columns. */
  key?: (keyof C & string) | readonly (keyof C & string)[]
  /** Columns that identify an event: a second one is counted as a duplicate and dropped. Nulls compare equal. */
  unique?: readonly (keyof C & string)[] | { columns: readonly (keyof C & string)[]; horizon: Duration }
  /**
   * Where the log is on Kafka: the topic of others that it reads, beside what Millrace takes itself. It must be there, with as many
   * partitions as declared; `key` names what its producers write by. Default: a topic of its own.
   */
  topic?: string
  /** Log partitions, one lane each. Default 1. */
  partitions?: number
  /** One transform of the time column by name, or a list of transforms. */
  partitionBy?: PartitionBy | readonly PartitionBy[]
  /** Fields not among the columns: `drop` (default), `keep` them in the json column `_extra`, or `quarantine` the record. */
  unknown?: 'drop' | 'keep' | 'quarantine'
  /** Row checks send rows to quarantine; dataset checks hold back the snapshot. */
  checks?: readonly Check[]
  source?: Source | readonly Source[]
  /** How long received records are kept in the log after they are in the lake. Default: for ever. */
  retention?: Duration
  doc?: string
}

/** Append-only events. */
export interface Stream<C extends Columns = Columns> extends Transforms<C> {
  readonly [DECLARED]: true
  readonly kind: 'stream'
  readonly name: string
  readonly fields: readonly Field[]
  readonly time: string | undefined
  readonly lateness: Duration | undefined
  readonly ahead: Duration | undefined
  readonly idle: Duration | undefined
  readonly key: readonly string[]
  readonly unique: { readonly columns: readonly string[]; readonly horizon: Duration | undefined } | undefined
  readonly topic: string | undefined
  readonly partitions: number
  readonly partitionBy: readonly PartitionBy[]
  readonly unknown: 'drop' | 'keep' | 'quarantine'
  readonly checks: readonly Check[]
  readonly sources: readonly Source[]
  readonly retention: Duration | undefined
  readonly doc: string | undefined
  readonly place: Place | undefined
  /** Options given that there are not: types, which would have told, are stripped where a project runs. */
  readonly stray: readonly string[]
  /** Only carries the row's type: `type Order = typeof orders.row`. */
  readonly row: RowOf<C>
}

/**
 * Declares a stream. Wrong options are found by `millrace plan`, all at once, with file and line.
 *
 *     export const orders = stream('orders', { columns: { order_id: t.string(), ordered_at: t.timestamp() }, time: 'ordered_at' })
 */
export function stream<const C extends Columns>(name: string, options: StreamOptions<C>): Stream<C> {
  if (typeof options !== 'object' || options === null)
    throw new MillraceError('invalid', 'no-options', `stream '${name}' says nothing of its columns.`, {
      hint: "Write stream('name', { columns: { id: t.string() } }).",
    })
  const unique =
    options.unique === undefined
      ? undefined
      : 'columns' in options.unique
        ? options.unique
        : { columns: options.unique, horizon: undefined }
  // Whoever writes to a topic of others decides where records go.
  const own = options.topic === undefined ? (unique?.columns ?? []) : []
  const key = options.key === undefined ? own : typeof options.key === 'string' ? [options.key] : options.key
  return withTransforms<C, Omit<Stream<C>, keyof Transforms<C>>>({
    [DECLARED]: true,
    kind: 'stream',
    name,
    fields: fieldsOf(options.columns),
    time: options.time,
    lateness: options.lateness,
    ahead: options.ahead,
    idle: options.idle,
    key,
    unique,
    topic: options.topic,
    partitions: options.partitions ?? 1,
    partitionBy: listOf(options.partitionBy),
    unknown: options.unknown ?? 'drop',
    checks: options.checks ?? [],
    sources: listOf(options.source),
    retention: options.retention,
    doc: options.doc,
    place: callerPlace(),
    stray: Object.keys(options).filter((option) => !STREAM_OPTIONS.includes(option)),
    row: undefined as unknown as RowOf<C>,
  })
}

/** What a stream may be told. */
export const STREAM_OPTIONS: readonly string[] = Object.keys({
  columns: true,
  time: true,
  lateness: true,
  ahead: true,
  idle: true,
  key: true,
  unique: true,
  topic: true,
  partitions: true,
  partitionBy: true,
  unknown: true,
  checks: true,
  source: true,
  retention: true,
  doc: true,
} satisfies Record<keyof StreamOptions<Columns>, true>)

function listOf<T>(value: T | readonly T[] | undefined): readonly T[] {
  if (value === undefined) return []
  return Array.isArray(value) ? (value as readonly T[]) : [value as T]
}
