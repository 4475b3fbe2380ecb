import { durationMs } from '../base/duration.ts'
import { DAY_MS, type Unit, intervalEnd, intervalStart, sqlDate, sqlTimestamp } from '../base/interval.ts'
import { WINDOW_END, WINDOW_OPEN, WINDOW_START } from '../project/event-time.ts'
import type { Table } from '../project/table.ts'

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
  /** SQL: starts of the windows that a timestamp lies in, a row each. */
  startsSql(time: string): string
  /** SQL literal of a start. */
  literal(startMs: number): string
  /** A start as the lake's filters take it. */
  text(startMs: number): string
  /** SQL: the columns a row gets for its window; `start` is an expression. With a watermark, ms, whether it is open. */
  columnsSql(start: string, watermarkMs: number | undefined): string
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
    startsSql: (time) => `date_trunc('${unit}', ${time}::TIMESTAMP)::TIMESTAMP`,
    literal: (ms) => `${isTimestamp ? 'TIMESTAMP' : 'DATE'} '${text(ms)}'`,
    text,
    columnsSql: (start) => `(${start})::${isTimestamp ? 'TIMESTAMP' : 'DATE'} AS "${unit}"`,
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
  const last = (time: string) => `time_bucket(${milliseconds(everyMs)}, ${time}::TIMESTAMP, TIMESTAMP '1970-01-01')`
  const literal = (ms: number) => `TIMESTAMP '${sqlTimestamp(ms)}'`
  return {
    column: WINDOW_START,
    endOf: (start) => start + sizeMs,
    firstOf: (time) => time - sizeMs,
    openAt: (watermark) => Math.floor((watermark - sizeMs) / everyMs) * everyMs + everyMs,
    startsSql(time) {
      if (overlap === 1) return last(time)
      const starts = `generate_series(${last(time)} - ${milliseconds((overlap - 1) * everyMs)}, ${last(time)}, ${milliseconds(everyMs)})`
      // The earliest of them may end before the moment when the length is no multiple of the distance.
      return sizeMs % everyMs === 0
        ? `unnest(${starts})`
        : `unnest(list_filter(${starts}, lambda s: s > ${time}::TIMESTAMP - ${milliseconds(sizeMs)}))`
    },
    literal,
    text: sqlTimestamp,
    columnsSql(start, watermarkMs) {
      const end = `(${start}) + ${milliseconds(sizeMs)}`
      const open = watermarkMs === undefined ? 'true' : `${end} > ${literal(watermarkMs)}`
      return `${start} AS ${WINDOW_START}, ${end} AS ${WINDOW_END}${marksOpen ? `, ${open} AS ${WINDOW_OPEN}` : ''}`
    },
  }
}

/** An interval of so many milliseconds, as SQL. */
export function milliseconds(ms: number): string {
  return `INTERVAL '${ms} milliseconds'`
}
