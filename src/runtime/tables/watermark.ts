import { durationMs } from '../../base/duration.ts'
import { eventTimeOf, timeColumn, timedStream } from '../../project/event-time.ts'
import type { Stream } from '../../project/stream.ts'
import type { Table } from '../../project/table.ts'
import type { Reach } from '../../project/window.ts'
import { frameOf } from './frame.ts'
import type { Pin, Pins } from './inputs.ts'
import { readRecord } from '../record.ts'
import type { SqlTemplate } from '../../project/sql.ts'

/** Log partitions that have brought an input nothing for longer than the `idle` of its stream, and bring nothing more of before. */
export type IdlePartitions = (pin: Pin) => ReadonlySet<number>

/** How far a reach goes, in milliseconds. */
export function reachMs({ before, after }: Reach): { beforeMs: number; afterMs: number } {
  return {
    beforeMs: before === 'always' ? Infinity : durationMs(before, 'within.before'),
    afterMs: durationMs(after, 'within.after'),
  }
}

/**
 * The moment up to which all events a query reads have come, as far as they are on time, ms since the epoch: the least of
 * its inputs' watermarks, less what is read ahead. Undefined while an input has none.
 */
export function queryWatermark(sql: SqlTemplate, pins: Pins, idle: IdlePartitions): number | undefined {
  const ahead = new Map<string, number>()
  for (const { dataset, reach } of sql.withins)
    ahead.set(dataset.name, Math.max(ahead.get(dataset.name) ?? 0, reachMs(reach).afterMs))
  let least = Infinity
  for (const [name, pin] of pins) {
    if (timeColumn(pin.dataset) === undefined) continue
    const watermark = watermarkOf(pin, idle)
    if (watermark === undefined) return undefined
    least = Math.min(least, watermark - (ahead.get(name) ?? 0))
  }
  return least === Infinity ? undefined : least
}

/** Whether a table has windows that end between two watermarks of a dataset it reads, and waits for that. */
export function closesBetween(table: Table, input: string, beforeMs: number, afterMs: number): boolean {
  if (afterMs <= beforeMs || !waitsForTime(table)) return false
  const frame = frameOf(table)
  // Sessions end at any moment: a second is soon enough to look.
  if (!frame) return Math.floor(beforeMs / 1_000) !== Math.floor(afterMs / 1_000)
  if (beforeMs === -Infinity) return true
  const ahead = table.sql.withins
    .filter(({ dataset }) => dataset.name === input)
    .map(({ reach }) => reachMs(reach).afterMs)
  const aheadMs = Math.max(0, ...ahead)
  return frame.openAt(beforeMs - aheadMs) !== frame.openAt(afterMs - aheadMs)
}

/** Whether time alone can make a table due: a window closes when the watermark passes it. */
export function waitsForTime({ materialization }: Table): boolean {
  switch (materialization.kind) {
    case 'interval':
      return materialization.emit === 'closed'
    case 'window':
    case 'session':
      return true
    default:
      return false
  }
}

/** The watermark of an input at the snapshot that is read; Infinity when it is idle and never had a record. */
function watermarkOf(pin: Pin, idle: IdlePartitions): number | undefined {
  const { dataset, snapshot } = pin
  const record = snapshot && readRecord(snapshot.summary)
  const stream = timedStream(dataset)
  if (stream) return streamWatermark(stream, record?.newest ?? [], idle(pin))
  if (dataset.kind === 'stream' || record?.watermark === undefined) return undefined
  return record.frontier ?? frameOf(dataset)?.openAt(record.watermark)
}

/**
 * The watermark of a stream whose partitions have accepted events up to `newest`: the least of theirs, each its newest
 * event less the lateness. Partitions that are idle, or never had an event, hold nothing back; when all are idle nothing
 * is on its way any more, and the lateness is waived.
 */
export function streamWatermark(
  stream: Stream,
  newest: readonly (number | null)[],
  idle: ReadonlySet<number>,
): number | undefined {
  const { latenessMs } = eventTimeOf(stream, [])!
  const known = newest.flatMap((ms, partition) => (ms === null ? [] : [{ ms, isIdle: idle.has(partition) }]))
  const active = known.filter(({ isIdle }) => !isIdle)
  if (active.length > 0) return Math.min(...active.map(({ ms }) => ms)) - latenessMs
  if (known.length > 0) return Math.max(...known.map(({ ms }) => ms))
  return idle.size >= stream.partitions ? Infinity : undefined
}
