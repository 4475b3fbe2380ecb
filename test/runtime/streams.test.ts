import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { check, stream, t } from '../../src/index.ts'
import type { PartitionBy } from '../../src/index.ts'
import { partitionName } from '../../src/lake/partition.ts'
import type { PrimitiveType } from '../../src/lake/schema.ts'
import { transformValue } from '../../src/lake/transform.ts'
import { parseValue } from '../../src/lake/value.ts'
import { maintain } from '../../src/runtime/maintain.ts'
import { replayStream } from '../../src/runtime/replay.ts'
import { verify } from '../../src/runtime/verify.ts'
import { Home, batchOf, query, send, statusOf } from './home.ts'

describe('unknown fields', () => {
  const columns = { id: t.string(), n: t.int().nullable() }
  const sent = ['{"id":"a","n":1}', '{"id":"b","x":{"y":[1,null]},"N":2}', '{"id":"c","x":null}']

  test('drop: the record is accepted without them', async () => {
    const home = await Home.make()
    const runtime = await home.open([stream('s', { columns })])
    await send(runtime, 's', sent)
    await runtime.settle()
    expect(await query(runtime, 'SELECT * EXCLUDE (_partition, _offset) FROM {s} ORDER BY id')).toEqual([
      { id: 'a', n: 1 },
      { id: 'b', n: null },
      { id: 'c', n: null },
    ])
  })

  test('keep: in a json column', async () => {
    const home = await Home.make()
    const runtime = await home.open([stream('s', { columns, unknown: 'keep' })])
    await send(runtime, 's', sent)
    await runtime.settle()
    expect(await query(runtime, 'SELECT id, n, _extra FROM {s} ORDER BY id')).toEqual([
      { id: 'a', n: 1, _extra: null },
      { id: 'b', n: null, _extra: '{"x":{"y":[1,null]},"N":2}' },
      { id: 'c', n: null, _extra: '{"x":null}' },
    ])
  })

  test('quarantine: the record is refused, and says which', async () => {
    const home = await Home.make()
    const runtime = await home.open([stream('s', { columns, unknown: 'quarantine' })])
    await send(runtime, 's', sent)
    await runtime.settle()
    expect(await query(runtime, 'SELECT id FROM {s}')).toEqual([{ id: 'a' }])
    expect(await query(runtime, 'SELECT rule, reason FROM {quarantine.s} ORDER BY _offset')).toEqual([
      { rule: 'unknown_field', reason: 'fields that are not columns: {"x":{"y":[1,null]},"N":2}' },
      { rule: 'unknown_field', reason: 'fields that are not columns: {"x":null}' },
    ])
  })
})

describe('references', () => {
  const countries = stream('countries', { columns: { code: t.string().nullable(), name: t.string() } })
  const users = stream('users', {
    columns: { id: t.int(), country: t.string().nullable() },
    checks: [check.reference('country', countries, 'code')],
  })

  test('follow what is published when the batch runs; a null refers to nothing; replay brings in what was early', async () => {
    const home = await Home.make()
    const runtime = await home.open([countries, users])
    await send(runtime, 'countries', [
      { code: 'FR', name: 'France' },
      { code: null, name: 'nowhere' },
    ])
    await runtime.settle()
    await send(runtime, 'users', [
      { id: 1, country: 'FR' },
      { id: 2, country: 'UK' },
      { id: 3, country: null },
    ])
    await runtime.settle()
    expect(await query(runtime, 'SELECT id FROM {users} ORDER BY id')).toEqual([{ id: 1 }, { id: 3 }])
    expect(await query(runtime, 'SELECT rule, reason FROM {quarantine.users}')).toEqual([
      { rule: 'reference(country)', reason: "country 'UK' is not in countries.code" },
    ])
    await send(runtime, 'countries', [{ code: 'UK', name: 'United Kingdom' }])
    await runtime.settle()
    await send(runtime, 'users', [{ id: 4, country: 'UK' }])
    await runtime.settle()
    expect(await query(runtime, 'SELECT id FROM {users} ORDER BY id')).toEqual([{ id: 1 }, { id: 3 }, { id: 4 }])
    await replayStream(runtime.stream('users'), { database: runtime.database, from: [0], superseded: [] })
    expect(await query(runtime, 'SELECT id FROM {users} ORDER BY id')).toHaveLength(4)
    expect(runtime.stream('users').counts).toEqual({ received: 4, accepted: 4, duplicates: 0, quarantined: 0 })
  })
})

describe('unique', () => {
  const columns = {
    a: t.string().nullable(),
    b: t.string().nullable(),
    n: t.int().nullable(),
    at: t.timestamp().nullable(),
  }

  test('two events are one only when their keys are, whatever the keys hold', async () => {
    const piece = fc.constantFrom(
      null,
      '',
      ' ',
      'a',
      'b',
      '\u001f',
      '\u001e',
      'a\u001f',
      '\u001fa',
      'null',
      'NULL',
      '\u0000',
      '1',
      'é',
      'e\u0301',
    )
    const home = await Home.make()
    const runtime = await home.open([
      stream('s', { columns, unique: ['a', 'b', 'n'] }),
      stream('one', { columns, unique: ['a'] }),
    ])
    const known = { s: new Set<string>(), one: new Set<string>() }
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ a: piece, b: piece, n: fc.constantFrom(null, 1, 11) }), { minLength: 1, maxLength: 60 }),
        async (records) => {
          // Something that is no part of the key, so that no record is empty.
          await Promise.all(
            (['s', 'one'] as const).map((name) =>
              send(
                runtime,
                name,
                records.map((record) => ({ ...record, at: '2026-01-01' })),
              ),
            ),
          )
          await runtime.settle()
          for (const { a, b, n } of records) {
            known.s.add(JSON.stringify([a, b, n]))
            known.one.add(JSON.stringify(a))
          }
          for (const name of ['s', 'one'] as const) expect(runtime.stream(name).counts.accepted).toBe(known[name].size)
        },
      ),
      { numRuns: 12 },
    )
  })

  test.each([
    ['without a horizon', ['id']],
    ['within a horizon', { columns: ['id'], horizon: '1 hour' }],
  ] as const)('%s: what was seen is known again after a restart, a crash and a compaction', async (_, unique) => {
    const declared = stream('s', {
      columns: { id: t.string(), at: t.timestamp() },
      time: 'at',
      unique,
      partitionBy: 'hour',
    })
    const home = await Home.make()
    let runtime = await home.open([declared])
    let accepted = 0
    const minute = (n: number) => new Date(Date.UTC(2026, 0, 1) + n * 60_000).toISOString()
    for (let round = 0; round < 5; round++) {
      // Half new, half from the round before; late ones first, so that files are not in the order of time.
      const records = Array.from({ length: 40 }, (_, i) => ({
        id: `e${round * 20 + i}`,
        at: minute(round * 20 + i),
      })).reverse()
      await send(runtime, 's', records)
      await send(runtime, 's', records)
      await runtime.settle()
      accepted += round === 0 ? 40 : 20
      expect(runtime.stream('s').counts, `round ${round}`).toMatchObject({ accepted, quarantined: 0 })
      await maintain(runtime, { minFiles: 2, rewriteBytesMax: 1e9 })
      if (round % 2 === 0) await home.stop(runtime)
      else await home.crash(runtime)
      runtime = await home.open([declared])
    }
    expect(await query(runtime, 'SELECT count(*)::INT AS n, count(DISTINCT id)::INT AS ids FROM {s}')).toEqual([
      { n: accepted, ids: accepted },
    ])
    expect(await verify(runtime, 's')).toMatchObject({ equal: true })
  })

  test('what has landed and is not committed counts as seen when a lane is restored', async () => {
    const declared = stream('s', { columns: { id: t.string() }, unique: ['id'] })
    const home = await Home.make()
    const runtime = await home.open([declared], { config: { ingest: { commitInterval: '1 hour' } } })
    const runner = runtime.stream('s')
    for (let round = 0; round < 6; round++) {
      // A line that breaks off makes the lane read again, with the keys it has rebuilt.
      await send(runtime, 's', [{ id: `e${round}` }, '{"id":', { id: `e${round - 1}` }, { id: 'x' }])
      while (runner.counts.received < (round + 1) * 4) await sleep(1)
    }
    await runtime.settle()
    expect(runner.counts).toEqual({ received: 24, accepted: 8, duplicates: 10, quarantined: 6 })
    expect(await query(runtime, 'SELECT count(*)::INT AS n, count(DISTINCT id)::INT AS ids FROM {s}')).toEqual([
      { n: 8, ids: 8 },
    ])
  })

  test('older than the horizon it cannot be told from a duplicate: refused, not dropped', async () => {
    const declared = stream('s', {
      columns: { id: t.string(), at: t.timestamp() },
      time: 'at',
      unique: { columns: ['id'], horizon: '80 minutes' },
    })
    const home = await Home.make()
    const runtime = await home.open([declared])
    await send(runtime, 's', [
      { id: 'a', at: '2026-01-01T00:00:00Z' },
      { id: 'b', at: '2026-01-01T03:00:00Z' },
      { id: 'c', at: '2026-01-01T02:00:00Z' },
      { id: 'd', at: '2026-01-01T01:00:00Z' },
      { id: 'a', at: '2026-01-01T03:00:00Z' },
      { id: 'c', at: '2026-01-01T03:10:00Z' },
    ])
    await runtime.settle()
    expect(await query(runtime, `SELECT id, strftime("at", '%H') AS h FROM {s} ORDER BY _offset`)).toEqual([
      { id: 'a', h: '00' },
      { id: 'b', h: '03' },
      { id: 'c', h: '02' },
      { id: 'a', h: '03' },
    ])
    expect(await query(runtime, 'SELECT rule, reason FROM {quarantine.s}')).toEqual([
      { rule: 'too_old', reason: 'older than the unique horizon: it cannot be told from a duplicate' },
    ])
    expect(runtime.stream('s').counts).toEqual({ received: 6, accepted: 4, duplicates: 1, quarantined: 1 })
  })
})

describe('several partitions', () => {
  test('records of one key share a partition and keep their order; duplicates are found across requests', async () => {
    const declared = stream('s', {
      columns: { user: t.string(), id: t.int(), step: t.int() },
      unique: ['user', 'id'],
      key: 'user',
      partitions: 4,
    })
    const home = await Home.make()
    const runtime = await home.open([declared], { config: { limits: { laneWorkers: 2 } } })
    for (let round = 0; round < 6; round++) {
      const records = Array.from({ length: 100 }, (_, i) => ({
        user: `u${i % 17}`,
        id: Math.floor(i / 17),
        step: round,
      }))
      await send(runtime, 's', [...records, 'broken', '{"user":{"x":1},"id":1,"step":1}', '{"id":5,"step":1}'])
    }
    await runtime.settle()
    expect(runtime.stream('s').counts).toEqual({ received: 618, accepted: 101, duplicates: 505, quarantined: 12 })
    expect(await query(runtime, 'SELECT count(DISTINCT _partition)::INT AS n FROM {s}')).toEqual([{ n: 4 }])
    expect(await query(runtime, 'SELECT "user" FROM {s} GROUP BY 1 HAVING count(DISTINCT _partition) > 1')).toEqual([])
    // The first of each was kept, in the order it was sent.
    expect(await query(runtime, 'SELECT DISTINCT step FROM {s} WHERE "user" LIKE \'u%\'')).toEqual([{ step: 0 }])
    expect(
      await query(
        runtime,
        'SELECT "user" FROM (SELECT "user", id, lag(id) OVER (PARTITION BY "user" ORDER BY _offset) AS before FROM {s}) WHERE before > id',
      ),
    ).toEqual([])
    expect(await verify(runtime, 's')).toMatchObject({ equal: true })
    expect(statusOf(runtime, 's')).toMatchObject({ state: 'ok', lag: 0 })
  })

  test('without a key requests go round; more partitions may be declared later, fewer may not', async () => {
    const declared = (partitions: number) => stream('s', { columns: { n: t.int() }, partitions })
    const home = await Home.make()
    const first = await home.open([declared(2)])
    for (let n = 0; n < 6; n++) await send(first, 's', [{ n }])
    await first.settle()
    expect(first.stream('s').log.partitions.map(({ end }) => end)).toEqual([3, 3])
    await home.stop(first)
    const second = await home.open([declared(3)])
    for (let n = 6; n < 12; n++) await send(second, 's', [{ n }])
    await second.settle()
    expect(await query(second, 'SELECT count(DISTINCT n)::INT AS n FROM {s}')).toEqual([{ n: 12 }])
    expect(second.stream('s').log.partitions[2]!.end).toBe(2)
    await home.stop(second)
    await expect(home.open([declared(2)])).rejects.toMatchObject({ code: 'partitions-decreased' })
  })

  test('a request repeated with its key is taken once, in every partition', async () => {
    const declared = stream('s', { columns: { id: t.string() }, key: 'id', partitions: 3 })
    const home = await Home.make()
    let runtime = await home.open([declared])
    const records = Array.from({ length: 30 }, (_, i) => ({ id: `e${i}` }))
    expect(await runtime.append('s', batchOf(records, { key: 'k1' }))).toEqual({ received: 30, repeated: false })
    expect(await runtime.append('s', batchOf(records, { key: 'k1' }))).toEqual({ received: 30, repeated: true })
    await home.crash(runtime)
    runtime = await home.open([declared])
    expect(await runtime.append('s', batchOf(records, { key: 'k1' }))).toEqual({ received: 30, repeated: true })
    await runtime.settle()
    expect(runtime.stream('s').counts).toMatchObject({ received: 30, accepted: 30 })
  })
})

const laid = {
  s: t.string().nullable(),
  i: t.int().nullable(),
  l: t.long().nullable(),
  m: t.decimal(9, 2).nullable(),
  day: t.date().nullable(),
  at: t.timestamp(),
}

const LAYOUTS: readonly (readonly [string, PartitionBy | readonly PartitionBy[]])[] = [
  ...(['year', 'month', 'day', 'hour'] as const).map((by) => [by, by] as const),
  ...(['year', 'month', 'day'] as const).map((by) => [`${by} of a date`, { column: 'day', by }] as const),
  ...(['s', 'i', 'l', 'm', 'day', 'at'] as const).map(
    (column) => [`identity of ${column}`, { column, by: 'identity' }] as const,
  ),
  ...(['s', 'i', 'l', 'm', 'day', 'at'] as const).map(
    (column) => [`bucket of ${column}`, { column, by: 'bucket', count: 4 }] as const,
  ),
  ...(['s', 'i', 'l', 'm'] as const).map(
    (column) => [`truncate of ${column}`, { column, by: 'truncate', width: 3 }] as const,
  ),
  ['two columns', ['day', { column: 's', by: 'bucket', count: 2 }]],
]

test('however a stream is partitioned, every row is in a file of its own partition', async () => {
  const streams = LAYOUTS.map(([, partitionBy], i) => stream(`s${i}`, { columns: laid, time: 'at', partitionBy }))
  const home = await Home.make()
  const runtime = await home.open(streams)
  const record = (i: number) => ({
    s: i % 5 === 0 ? null : ['Aa', 'abc', 'abcd', 'éàü-x', '', 'z'][i % 6],
    i: i % 7 === 0 ? null : i * 5 - 50,
    l: i % 7 === 0 ? null : i * 50_000_000_000 - 1,
    m: i % 7 === 0 ? null : `${i * 3 - 20}.05`,
    day: i % 9 === 0 ? null : `20${19 + (i % 3)}-0${1 + (i % 3)}-15`,
    at: new Date(Date.UTC(1969, 11, 31, 22) + i * 40 * 60_000 * (i % 4 === 0 ? 1_000 : 1)).toISOString(),
  })
  // One partition at first, then many, then one again: files are spread whether that is expected or not.
  for (const records of [[record(1)], Array.from({ length: 24 }, (_, i) => record(i)), [record(2)]]) {
    await Promise.all(streams.map(({ name }) => send(runtime, name, records)))
    await runtime.settle()
  }
  for (const [i, [layout]] of LAYOUTS.entries()) {
    const lake = runtime.lakeTable(`s${i}`)
    const files = new Map((await lake.files(lake.snapshot()!)).map((file) => [file.path, file]))
    const paths = [...files.keys()].map((path) => `'${path}'`).join(', ')
    const rows = await query(
      runtime,
      `SELECT *, filename FROM read_parquet([${paths}], filename = true, hive_partitioning = false)`,
    )
    expect(rows.length, layout).toBe(26)
    for (const row of rows)
      lake.partition.forEach((field, at) => {
        const type = lake.fields.find(({ name }) => name === field.column)!.type as PrimitiveType
        const text = row[field.column] as string | number | null
        const wanted = text === null ? null : transformValue(field.transform, type, parseValue(type, String(text))!)
        const found = files.get(String(row['filename']))!.partition[at]
        expect(String(found), `${layout}: ${partitionName(field)} of ${String(text)}`).toBe(String(wanted))
      })
    expect(await verify(runtime, `s${i}`), layout).toMatchObject({ equal: true })
  }
})
