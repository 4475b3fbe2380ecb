import { tmpdir } from 'node:os'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Database } from '../../src/engine/duckdb/database.ts'
import { DUCKDB } from '../../src/engine/duckdb/dialect.ts'
import { sql, stream, t, table } from '../../src/index.ts'
import { frameOf } from '../../src/runtime/tables/frame.ts'

const events = stream('events', { columns: { at: t.timestamp() }, time: 'at' })

test('the windows of a slot are those of its moments, also before 1970 and at odd lengths', async () => {
  const database = await Database.open({ threads: 1, memory: 1e9, temporary: tmpdir() })
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 40 }),
      fc.array(fc.integer({ min: -100_000, max: 100_000 }), { minLength: 1, maxLength: 20 }),
      async (every, size, moments) => {
        fc.pre(size >= every)
        const window = { size: `${size} seconds`, every: `${every} seconds` } as const
        const frame = frameOf(table('counts', { window, sql: sql`select count(*) as n from ${events}` }))!
        const rows = await database.use(async (connection) => {
          const slot = frame.slotSql(DUCKDB, 'make_timestamp(ms * 1000)')
          const reader = await connection.runAndReadAll(
            `SELECT ms, epoch_ms(${slot}) AS slot FROM (SELECT unnest([${moments.join(', ')}])::BIGINT AS ms)`,
          )
          return reader.getRowObjects()
        })
        for (const { ms, slot } of rows) {
          const [length, distance, moment] = [size * 1_000, every * 1_000, Number(ms)]
          const first = Math.floor((moment - length) / distance) * distance
          const wanted: number[] = []
          for (let start = first; start <= moment; start += distance) if (start + length > moment) wanted.push(start)
          expect(frame.startsOf(Number(slot)).toSorted((a, b) => a - b)).toEqual(wanted)
        }
      },
    ),
    { numRuns: 60 },
  )
  await database.close()
})
