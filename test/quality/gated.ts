import type { Stream } from '../../src/project/stream.ts'
import type { Counts } from '../../src/runtime/record.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { Home, type Row, query, send } from '../runtime/home.ts'

export interface Gated {
  /** Accepted rows by the position of their line. */
  readonly rows: Map<number, Row>
  /** Refused lines by their position. */
  readonly refused: Map<number, Row>
  readonly counts: Counts
}

export interface GateHome {
  /** Sends lines as one request through the whole way: log, lane, lake; and reads back what became of them. */
  gate(lines: readonly string[], select?: string): Promise<Gated>
}

/** A stream of a real runtime that lines can be put through, batch after batch; a new one after a failure. */
export async function gateHome(stream: Stream): Promise<GateHome> {
  const { name } = stream
  const begin = async (): Promise<Runtime> => (await Home.make()).open([stream])
  let runtime = await begin()
  return {
    gate: async (lines, select = '*') => {
      if (runtime.stream(name).failure !== undefined) runtime = await begin()
      const from = runtime.stream(name).log.partitions[0]!.end
      const before = runtime.stream(name).committed.counts
      await send(runtime, name, lines)
      await runtime.settle()
      const { counts } = runtime.stream(name)
      const byLine = (rows: Row[]) => new Map(rows.map((row) => [Number(row['position']) - from, row]))
      const reached = `WHERE _offset >= ${from} ORDER BY _offset`
      return {
        rows: byLine(await query(runtime, `SELECT ${select}, _offset AS position FROM {${name}} ${reached}`)),
        refused: byLine(
          await query(
            runtime,
            `SELECT rule, reason, failures, raw, hex(raw) AS bytes, _offset AS position FROM {quarantine.${name}} ${reached}`,
          ),
        ),
        counts: {
          received: counts.received - before.received,
          accepted: counts.accepted - before.accepted,
          duplicates: counts.duplicates - before.duplicates,
          quarantined: counts.quarantined - before.quarantined,
        },
      }
    },
  }
}
