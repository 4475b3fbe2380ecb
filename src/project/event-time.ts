import { durationMs } from '../base/duration.ts'
import type { Field } from './columns.ts'
import type { Dataset } from './dataset.ts'
import type { Stream } from './stream.ts'
import type { Table } from './table.ts'

/** How a stream's event time moves, and which of its records come too late or too early. Milliseconds; Infinity where nothing is declared. */
export interface EventTime {
  /** The watermark of a partition is the newest event time it accepted, less this. */
  readonly latenessMs: number
  /** How far behind the watermark a record may lie. */
  readonly acceptLateMs: number
  /** How far beyond its arrival a record's time may lie: a device's clock in the far future must not close every window. */
  readonly aheadMs: number
  /** A partition without records for so long holds no watermark back. */
  readonly idleMs: number
}

/** The column that gives a dataset's rows a time; undefined when they have none. */
export function timeColumn(dataset: Dataset): string | undefined {
  if (dataset.kind === 'stream') return dataset.time
  const { materialization } = dataset
  if (materialization.kind === 'interval') return materialization.unit
  if (materialization.kind === 'function') return materialization.time
  return materialization.kind === 'window' || materialization.kind === 'session' ? WINDOW_START : undefined
}

/** Columns of windowed tables. */
export const WINDOW_START = 'window_start'
export const WINDOW_END = 'window_end'
export const WINDOW_OPEN = 'window_open'

/** The columns a table gets beside those of its query: which interval or window a row is of. A session's key is not among them. */
export function windowFields(dataset: Dataset): Field[] {
  if (dataset.kind === 'stream') return []
  const { materialization } = dataset
  if (materialization.kind === 'interval') return [intervalField(materialization.unit)]
  if (materialization.kind !== 'window' && materialization.kind !== 'session') return []
  const what = materialization.kind
  const bound = (name: string, doc: string): Field => ({ name, type: { kind: 'timestamp' }, nullable: false, doc })
  return [
    bound(WINDOW_START, what === 'session' ? 'First event of the session, UTC.' : 'Start of the window, UTC.'),
    bound(
      WINDOW_END,
      what === 'session' ? 'When the session ends without another event, UTC.' : 'End of the window, not in it, UTC.',
    ),
    ...(materialization.emit === 'continuous'
      ? [
          {
            name: WINDOW_OPEN,
            type: { kind: 'boolean' },
            nullable: false,
            doc: `Whether more events of the ${what} may come on time.`,
          } as const,
        ]
      : []),
  ]
}

/** The column an interval table gets: the start of its interval. */
function intervalField(unit: string): Field {
  return {
    name: unit,
    type: { kind: unit === 'minute' || unit === 'hour' ? 'timestamp' : 'date' },
    nullable: false,
    doc: `Start of the ${unit}, UTC.`,
  }
}

/** The stream whose event time a dataset goes by: itself, or that of the records which functions make its rows of. Undefined without one. */
export function timedStream(dataset: Dataset): Stream | undefined {
  if (timeColumn(dataset) === undefined) return undefined
  if (dataset.kind === 'stream') return dataset
  return dataset.materialization.kind === 'function' ? timedStream(dataset.transform!.input!) : undefined
}

/**
 * The event time of a stream; undefined when it has none. A record is too late when no window of `readers`, the datasets
 * that read what goes by the stream's time, would take it up: each has to declare `acceptLate`, and the longest counts.
 */
export function eventTimeOf(stream: Stream, readers: readonly Dataset[]): EventTime | undefined {
  if (stream.time === undefined) return undefined
  const windowed = readers.filter((reader) => reader.kind === 'table' && isWindowed(reader))
  const accepted = windowed.map((reader) =>
    reader.kind === 'table' && reader.acceptLate !== undefined
      ? durationMs(reader.acceptLate, `${reader.name}.acceptLate`)
      : Infinity,
  )
  return {
    latenessMs: durationMs(stream.lateness ?? '0 s', `${stream.name}.lateness`),
    acceptLateMs: accepted.length === 0 ? Infinity : Math.max(...accepted),
    aheadMs: stream.ahead === undefined ? Infinity : durationMs(stream.ahead, `${stream.name}.ahead`),
    idleMs: stream.idle === undefined ? Infinity : durationMs(stream.idle, `${stream.name}.idle`),
  }
}

/** Whether a table is computed by interval, window or session. */
export function isWindowed(table: Table): boolean {
  return ['interval', 'window', 'session'].includes(table.materialization.kind)
}
