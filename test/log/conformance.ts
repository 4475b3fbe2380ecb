import { describe, expect, test } from 'vitest'
import type { PartitionLog, RecordBatch, Segment, StreamLog } from '../../src/log/log.ts'

/** What an adapter gives the suite. */
export interface LogHome {
  /** Opens the log of this home; a second call after `close` opens the same log again. */
  open(): Promise<StreamLog>
  /** Moves time on for the log opened next and the one open. */
  advance(ms: number): void
  remove(): Promise<void>
}

export function batchOf(
  records: readonly string[],
  more: Omit<Partial<RecordBatch>, 'lines' | 'records'> = {},
): RecordBatch {
  return { lines: Buffer.from(records.map((record) => `${record}\n`).join('')), records: records.length, ...more }
}

export function numbered(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => `{"n":${from + i}}`)
}

/** Every record at or after `from`, sealed first. */
export async function recordsFrom(partition: PartitionLog, from = partition.start): Promise<string[]> {
  const records: string[] = []
  for await (const segment of taken(partition, from)) {
    const offsets = (await partition.frames(segment))
      .flatMap(({ offset, records: count }) => Array.from({ length: count }, (_, i) => offset + i))
      .filter((offset) => offset >= from)
    for (const bytes of await partition.readRecords(segment, offsets)) records.push(bytes.toString())
  }
  return records
}

/** Takes segments until the end is reached, which they must do without a hole. */
export async function* taken(partition: PartitionLog, from: number): AsyncGenerator<Segment> {
  for (let next = from; next < partition.end;) {
    for (const segment of await partition.take(next)) {
      expect(segment.from).toBeLessThanOrEqual(next)
      yield segment
      next = segment.to
    }
  }
}

export async function segmentsOf(partition: PartitionLog, from = partition.start, to?: number): Promise<Segment[]> {
  const segments: Segment[] = []
  for await (const segment of partition.segments(from, to)) segments.push(segment)
  return segments
}

/** Offsets [from, to) that segments, each beginning where the one before ends, reach over. */
function reach(segments: readonly Segment[]): readonly [number, number] {
  segments.slice(1).forEach(({ from }, i) => expect(from).toBe(segments[i]!.to))
  return [segments[0]!.from, segments.at(-1)!.to]
}

/** The promises of the port, for any adapter with two partitions. */
export function conformance(name: string, makeHome: () => Promise<LogHome>): void {
  const withLog = (run: (log: StreamLog, home: LogHome) => Promise<void>) => async () => {
    const home = await makeHome()
    const log = await home.open()
    try {
      await run(log, home)
    } finally {
      await log.close().catch(() => undefined)
      await home.remove()
    }
  }
  const first = (log: StreamLog): PartitionLog => log.partitions[0]!

  describe(`log conformance: ${name}`, () => {
    test(
      'an empty log starts and ends at 0 and has nothing to take',
      withLog(async (log) => {
        expect(log.partitions.map((p) => p.partition)).toEqual([0, 1])
        for (const partition of log.partitions) {
          expect([partition.start, partition.end, partition.checkpoint, partition.backlogBytes]).toEqual([0, 0, 0, 0])
          expect(await partition.take(0)).toEqual([])
        }
      }),
    )

    test(
      'appends get consecutive offsets, in the order of the calls',
      withLog(async (log) => {
        const appended = await Promise.all([
          first(log).append(batchOf(numbered(0, 3))),
          first(log).append(batchOf(numbered(3, 4))),
          first(log).append(batchOf(numbered(4, 9))),
        ])
        expect(appended).toEqual([
          { from: 0, to: 3, repeated: false },
          { from: 3, to: 4, repeated: false },
          { from: 4, to: 9, repeated: false },
        ])
        expect(first(log).end).toBe(9)
        expect(log.partitions[1]!.end).toBe(0)
      }),
    )

    test(
      'records come back byte for byte',
      withLog(async (log) => {
        const records = [
          '{"a": 1}',
          'not json at all',
          '{"big":12345678901234567890}',
          '{"text":"ünï\\u0000 😀"}',
          '{"$millrace":[1,0,1,1,1,null,null,0,0]}',
          ' x ',
        ]
        await first(log).append(batchOf(records))
        expect(await recordsFrom(first(log))).toEqual(records)
      }),
    )

    test(
      'lines may come in several buffers',
      withLog(async (log) => {
        await first(log).append({ lines: [Buffer.from('{"a":1}\n'), Buffer.from('{"a":2}\n{"a":3}\n')], records: 3 })
        expect(await recordsFrom(first(log))).toEqual(['{"a":1}', '{"a":2}', '{"a":3}'])
      }),
    )

    test(
      'take seals what is acknowledged and returns each record once',
      withLog(async (log) => {
        await first(log).append(batchOf(numbered(0, 5)))
        const one = await first(log).take(0)
        expect(one.map(({ from, to }) => [from, to])).toEqual([[0, 5]])
        expect(await first(log).take(5)).toEqual([])
        await first(log).append(batchOf(numbered(5, 7)))
        expect((await first(log).take(5)).map(({ from, to }) => [from, to])).toEqual([[5, 7]])
        expect(reach(await first(log).take(0))).toEqual([0, 7])
      }),
    )

    test(
      'take during appends loses and repeats nothing',
      withLog(async (log) => {
        const offsets: number[] = []
        const appends: Promise<unknown>[] = []
        let next = 0
        for (let round = 0; round < 30; round++) {
          for (let i = 0; i < 5; i++)
            appends.push(first(log).append(batchOf(numbered(round * 5 + i, round * 5 + i + 1))))
          for (const segment of await first(log).take(next)) {
            for (let offset = segment.from; offset < segment.to; offset++) offsets.push(offset)
            next = segment.to
          }
        }
        await Promise.all(appends)
        for await (const segment of taken(first(log), next))
          for (let offset = segment.from; offset < segment.to; offset++) offsets.push(offset)
        expect(offsets).toEqual(Array.from({ length: 150 }, (_, i) => i))
        expect(await recordsFrom(first(log))).toEqual(numbered(0, 150))
      }),
    )

    test(
      'a range can be read again, also what was taken and what was not',
      withLog(async (log) => {
        await first(log).append(batchOf(numbered(0, 5)))
        await first(log).take(0)
        await first(log).append(batchOf(numbered(5, 8)))
        expect(reach(await segmentsOf(first(log), 0))).toEqual([0, 8])
        const records: string[] = []
        for await (const segment of first(log).segments(2, 4)) {
          const offsets = [2, 3].filter((offset) => offset >= segment.from && offset < segment.to)
          records.push(...(await first(log).readRecords(segment, offsets)).map(String))
        }
        expect(records).toEqual(numbered(2, 4))
        expect(await segmentsOf(first(log), 8)).toEqual([])
        expect(await recordsFrom(first(log))).toEqual(numbered(0, 8))
      }),
    )

    test(
      'a time leads to the first record that arrived then or later',
      withLog(async (log, home) => {
        await first(log).append(batchOf(numbered(0, 2)))
        home.advance(10_000)
        await first(log).append(batchOf(numbered(2, 5)))
        const [segment] = await first(log).take(0)
        const [one, two] = await first(log).frames(segment!)
        expect(await first(log).offsetAt(one!.atMs)).toBe(0)
        expect(await first(log).offsetAt(one!.atMs + 1)).toBe(2)
        expect(await first(log).offsetAt(two!.atMs + 1)).toBe(5)
      }),
    )

    test(
      'frames tell which lines are headers, when each append came and from where',
      withLog(async (log, home) => {
        await first(log).append(batchOf(numbered(0, 2), { source: { file: 'a.csv' } }))
        home.advance(1_000)
        await first(log).append(batchOf(numbered(2, 5)))
        const [segment] = await first(log).take(0)
        const frames = await first(log).frames(segment!)
        expect(frames.map(({ offset, records, line, mark }) => ({ offset, records, line, mark }))).toEqual([
          { offset: 0, records: 2, line: 0, mark: { file: 'a.csv' } },
          { offset: 2, records: 3, line: 3, mark: undefined },
        ])
        expect(frames[1]!.atMs - frames[0]!.atMs).toBe(1_000)
      }),
    )

    test(
      'acknowledged records survive closing and opening',
      withLog(async (log, home) => {
        await first(log).append(batchOf(numbered(0, 5)))
        await first(log).take(0)
        await first(log).append(batchOf(numbered(5, 8)))
        await log.close()
        const again = await home.open()
        expect([first(again).start, first(again).end]).toEqual([0, 8])
        await first(again).append(batchOf(numbered(8, 9)))
        expect(await recordsFrom(first(again))).toEqual(numbered(0, 9))
        await again.close()
      }),
    )

    test(
      'a repeated key changes nothing and gets the first offsets, at once and after a restart',
      withLog(async (log, home) => {
        const batch = batchOf(numbered(0, 3), { key: 'k' })
        const [one, two] = await Promise.all([first(log).append(batch), first(log).append(batch)])
        expect([one, two]).toEqual([
          { from: 0, to: 3, repeated: false },
          { from: 0, to: 3, repeated: true },
        ])
        await first(log).append(batchOf(numbered(3, 4)))
        expect(await first(log).append(batch)).toEqual({ from: 0, to: 3, repeated: true })
        await log.close()
        const again = await home.open()
        expect(await first(again).append(batch)).toEqual({ from: 0, to: 3, repeated: true })
        expect(first(again).end).toBe(4)
        await again.close()
      }),
    )

    test(
      'a key with other bytes is refused',
      withLog(async (log) => {
        await first(log).append(batchOf(['{"a":1}'], { key: 'k' }))
        await expect(first(log).append(batchOf(['{"a":2}'], { key: 'k' }))).rejects.toMatchObject({
          kind: 'invalid',
          code: 'idempotency-mismatch',
          hint: expect.stringContaining('very same body'),
        })
        expect(first(log).end).toBe(1)
      }),
    )

    test(
      'a key is forgotten after its window',
      withLog(async (log, home) => {
        await first(log).append(batchOf(['{"a":1}'], { key: 'k' }))
        home.advance(25 * 3_600_000)
        expect(await first(log).append(batchOf(['{"a":2}'], { key: 'k' }))).toEqual({ from: 1, to: 2, repeated: false })
      }),
    )

    test(
      'source marks are listed, neighbours with equal ones as one, also after a restart',
      withLog(async (log, home) => {
        await first(log).append(batchOf(numbered(0, 2), { source: { file: 'a' } }))
        await first(log).append(batchOf(numbered(2, 4), { source: { file: 'a' } }))
        await first(log).append(batchOf(numbered(4, 5)))
        await first(log).append({ lines: [], records: 0, source: { file: 'empty' } })
        await log.partitions[1]!.append(batchOf(numbered(0, 1), { source: { file: 'b' } }))
        const expected = [
          { partition: 0, offset: 0, to: 4, mark: { file: 'a' } },
          { partition: 0, offset: 5, to: 5, mark: { file: 'empty' } },
          { partition: 1, offset: 0, to: 1, mark: { file: 'b' } },
        ]
        expect(log.marks()).toEqual(expected)
        await log.close()
        const again = await home.open()
        expect(again.marks()).toEqual(expected)
        await again.close()
      }),
    )

    test(
      'the checkpoint counts the backlog, never goes back and never passes the end',
      withLog(async (log) => {
        await first(log).append(batchOf(numbered(0, 10)))
        expect(first(log).backlogRecords).toBe(10)
        expect(first(log).backlogBytes).toBeGreaterThan(80)
        first(log).checkpointed(10)
        expect([first(log).backlogRecords, first(log).backlogBytes]).toEqual([0, 0])
        first(log).checkpointed(4)
        expect(first(log).checkpoint).toBe(10)
        expect(() => first(log).checkpointed(11)).toThrow(/holds records up to offset 11, the log ends at 10/)
      }),
    )

    test(
      'reading before the start and beyond the end is refused',
      withLog(async (log) => {
        await first(log).append(batchOf(numbered(0, 3)))
        await expect(first(log).take(4)).rejects.toMatchObject({ kind: 'corrupt', code: 'log-behind' })
        await expect(segmentsOf(first(log), 4)).rejects.toMatchObject({ kind: 'corrupt', code: 'log-behind' })
        const [segment] = await first(log).take(0)
        await expect(first(log).readRecords(segment!, [3])).rejects.toMatchObject({
          kind: 'invalid',
          code: 'not-in-segment',
        })
      }),
    )

    test(
      'records are read in the order asked',
      withLog(async (log) => {
        await first(log).append(batchOf(numbered(0, 10)))
        await first(log).append(batchOf(numbered(10, 20)))
        const [segment] = await first(log).take(0)
        const read = await first(log).readRecords(segment!, [17, 3, 3, 0, 19])
        expect(read.map(String)).toEqual(['{"n":17}', '{"n":3}', '{"n":3}', '{"n":0}', '{"n":19}'])
        expect(await first(log).readRecords(segment!, [])).toEqual([])
      }),
    )

    test(
      'a closed log refuses appends',
      withLog(async (log) => {
        const last = first(log).append(batchOf(numbered(0, 1)))
        await log.close()
        await expect(last).resolves.toMatchObject({ to: 1 })
        await expect(first(log).append(batchOf(numbered(1, 2)))).rejects.toMatchObject({
          kind: 'unavailable',
          code: 'log-closed',
        })
      }),
    )

    test(
      'verify finds a whole log in order',
      withLog(async (log) => {
        await first(log).append(batchOf(numbered(0, 10)))
        await first(log).take(0)
        await first(log).append(batchOf(numbered(10, 12)))
        expect(await first(log).verify()).toMatchObject({ frames: 2, records: 12 })
        expect((await first(log).verify()).corruption).toBeUndefined()
      }),
    )
  })
}
