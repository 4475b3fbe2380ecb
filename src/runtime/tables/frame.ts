import { durationMs } from '../../base/duration.ts'
import { DAY_MS, type Unit, intervalEnd, intervalStart, sqlDate, sqlTimestamp } from '../../base/interval.ts'
import { type Dialect, asTimestamp } from '../../engine/dialect.ts'
import { WINDOW_END, WINDOW_OPEN, WINDOW_START } from '../../project/event-time.ts'
import type { Table } from '../../project/table.ts'

/**
 * The windows of a table: calendar intervals, or spans of one length at equal distances, aligned to 1970-01-01. A window is
 * known by its start, in ms since the epoch.
 */
export interface Frame {
  /** The table's column that holds the start. */
  readonly column: string
  endOf(startMs: number): number
  /** Earliest start of a window that a moment may lie in. */
  firstOf(timeMs: number): number
  /** Start of the first window that has not ended at a watermark. */
  openAt(watermarkMs: number): number
  /** Whether a window's rows tell that it is open. */
  readonly marksOpen: boolean
  /** SQL, for a select list: starts of the windows that a moment lies in, a row each. */
  startsSql(dialect: Dialect, time: string): string
  /** SQL: the slot that a moment lies in, by its start. Windows consist of whole slots. */
  slotSql(dialect: Dialect, time: string): string
  /** Starts of the windows that a slot is part of. */
  startsOf(slotMs: number): number[]
  /** How many windows a moment lies in, at most. */
  readonly overlap: number
  /** SQL literal of a start. */
  literal(dialect: Dialect, startMs: number): string
  /** A start as the lake's filters take it. */
  text(startMs: number): string
  /** SQL: the columns a row gets for its window; `start` is an expression. With a watermark, ms, whether it is open. */
  columnsSql(dialect: Dialect, start: string, watermarkMs: number | undefined): string
}

/** The windows of a table; undefined when it has none, or sessions. */
export function frameOf({ name, materialization }: Table): Frame | undefined {
  if (materialization.kind === 'interval') return calendar(materialization.unit)
  if (materialization.kind !== 'window') return undefined
  const { size, every, emit } = materialization
  return sliding(durationMs(size, `${name}.size`), durationMs(every, `${name}.every`), emit === 'continuous')
}

function calendar(unit: Unit): Frame {
  const isTimestamp = unit === 'minute' || unit === 'hour'
  const text = (ms: number) => (isTimestamp ? sqlTimestamp(ms) : sqlDate(ms))
  return {
    column: unit,
    endOf: (start) => intervalEnd(unit, start),
    firstOf: (time) => time - LONGEST_MS[unit],
    openAt: (watermark) => intervalStart(unit, watermark),
    marksOpen: false,
    startsSql: (dialect, time) => dialect.truncated(unit, asTimestamp(dialect, time)),
    slotSql: (dialect, time) => dialect.truncated(unit, asTimestamp(dialect, time)),
    startsOf: (slot) => [slot],
    overlap: 1,
    literal: (dialect, ms) => (isTimestamp ? dialect.timestamp(ms) : `DATE '${text(ms)}'`),
    text,
    columnsSql: (dialect, start) =>
      `CAST(${start} AS ${dialect.type({ kind: isTimestamp ? 'timestamp' : 'date' })}) AS ${dialect.identifier(unit)}`,
  }
}

const LONGEST_MS: Record<Unit, number> = {
  minute: 60_000,
  hour: 3_600_000,
  day: DAY_MS,
  week: 7 * DAY_MS,
  month: 31 * DAY_MS,
  year: 366 * DAY_MS,
}

function sliding(sizeMs: number, everyMs: number, marksOpen: boolean): Frame {
  const overlap = Math.ceil(sizeMs / everyMs)
  const slotMs = divisor(sizeMs, everyMs)
  return {
    column: WINDOW_START,
    endOf: (start) => start + sizeMs,
    firstOf: (time) => time - sizeMs,
    openAt: (watermark) => Math.floor((watermark - sizeMs) / everyMs) * everyMs + everyMs,
    marksOpen,
    startsSql(dialect, time) {
      const at = asTimestamp(dialect, time)
      const last = dialect.bucket(at, everyMs)
      if (overlap === 1) return last
      // The earliest of them may end before the moment when the length is no multiple of the distance.
      const after = sizeMs % everyMs === 0 ? undefined : dialect.later(at, -sizeMs)
      return dialect.eachTimestamp(dialect.later(last, -(overlap - 1) * everyMs), last, everyMs, after)
    },
    slotSql: (dialect, time) => dialect.bucket(asTimestamp(dialect, time), slotMs),
    startsOf(slot) {
      const last = Math.floor(slot / everyMs) * everyMs
      const starts = Array.from({ length: overlap }, (_, i) => last - i * everyMs)
      return starts.filter((start) => start + sizeMs > slot)
    },
    overlap,
    literal: (dialect, ms) => dialect.timestamp(ms),
    text: sqlTimestamp,
    columnsSql(dialect, start, watermarkMs) {
      const end = dialect.later(`(${start})`, sizeMs)
      const open = watermarkMs === undefined ? 'true' : `${end} > ${dialect.timestamp(watermarkMs)}`
      return `${start} AS ${WINDOW_START}, ${end} AS ${WINDOW_END}${marksOpen ? `, ${open} AS ${WINDOW_OPEN}` : ''}`
    },
  }
}

/** The greatest common one of two whole numbers. */
function divisor(a: number, b: number): number {
  return b === 0 ? a : divisor(b, a % b)
}
