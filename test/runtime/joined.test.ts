import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { t } from '../../src/project/columns.ts'
import { stream } from '../../src/project/stream.ts'
import { groupsOf } from '../../src/runtime/streams/joined-segments.ts'
import { Home, query, send } from './home.ts'

const clicks = stream('clicks', { columns: { id: t.int(), at: t.timestamp() }, time: 'at', unique: ['id'] })
const second = (i: number) => new Date(Date.UTC(2026, 0, 1) + i * 1_000).toISOString()

test('many small segments are one batch: the same rows, refusals and offsets as one by one', async () => {
  const home = await Home.make()
  const first = await home.open([clicks])
  for (let i = 0; i < 20; i++) {
    const own = [{ id: i, at: second(i) }, '{"id":"broken ' + i + '"}', { id: i - (i % 2), at: second(i) }]
    await send(first, 'clicks', own)
    await first.stream('clicks').drain()
  }
  const rows = 'select id, "at"::text as time, _partition, _offset from {clicks} order by _offset'
  const refused = 'select _offset, rule, reason, raw from {quarantine.clicks} order by _offset'
  const before = [await query(first, rows), await query(first, refused), first.stream('clicks').counts] as const
  const segments: unknown[] = []
  for await (const segment of first.stream('clicks').log.partitions[0]!.segments(0)) segments.push(segment)
  expect(segments).toHaveLength(20)
  expect(before[1]).toHaveLength(20)
  await home.stop(first)
  // The lake is the checkpoint: without it everything begins anew.
  await rm(join(home.dataDirectory, 'lake'), { recursive: true })
  const again = await home.open([clicks])
  await again.stream('clicks').drain()
  expect([await query(again, rows), await query(again, refused), again.stream('clicks').counts]).toEqual(before)
  const table = again.lakeTable('clicks')
  expect(await table.files(table.snapshot()!)).toHaveLength(1)
})

test('groups hold all segments in order, and no more bytes than one batch should', () => {
  const size = fc.oneof(fc.integer({ min: 1, max: 1 << 20 }), fc.integer({ min: 1, max: 1 << 26 }))
  const compression = fc.constantFrom('none' as const, 'none' as const, 'none' as const, 'zstd' as const)
  fc.assert(
    fc.property(fc.array(fc.tuple(size, compression), { maxLength: 60 }), (drawn) => {
      const segments = drawn.map(([rawBytes, compression], i) => {
        return { partition: 0, path: String(i), compression, from: i, to: i + 1, bytes: rawBytes, rawBytes }
      })
      const groups = groupsOf(segments)
      expect(groups.flat()).toEqual(segments)
      for (const group of groups.filter(({ length }) => length > 1)) {
        expect(group.every((segment) => segment.compression === 'none')).toBe(true)
        expect(group.reduce((sum, { rawBytes }) => sum + rawBytes, 0)).toBeLessThanOrEqual(16 * 1024 ** 2)
      }
    }),
  )
})
