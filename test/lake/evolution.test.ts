import type { DuckDBConnection } from '@duckdb/node-api'
import { beforeAll, describe, expect, test } from 'vitest'
import { evolveFields } from '../../src/lake/evolution.ts'
import { assignIds } from '../../src/lake/schema.ts'
import { fieldsOf, t } from '../../src/project/columns.ts'
import type { Columns, IdentifiedField } from '../../src/project/columns.ts'
import { append, openDuckdb, query, relation } from './support/duckdb.ts'
import { openLake, newRoot } from './support/lake.ts'

let duckdb: DuckDBConnection
beforeAll(async () => {
  duckdb = await openDuckdb()
})

const ID = { namespace: 'a', name: 'b' }

test('files of every age are read in the present schema', async () => {
  const root = await newRoot()
  const table = await (
    await openLake({ root })
  ).create(ID, {
    fields: fieldsOf({ id: t.int(), name: t.string(), price: t.decimal(8, 2), gone: t.string() }),
    partition: [{ column: 'id', transform: { kind: 'truncate', width: 10 } }],
  })
  await append(duckdb, table, `SELECT 1::INT AS id, 'a' AS name, 1.5::DECIMAL(8, 2) AS price, 'x' AS gone`)
  // Renamed, widened, made optional, reordered, added.
  await table.evolve(
    fieldsOf({
      label: t.string().formerly('title').formerly('name').doc('what it is called'),
      id: t.long(),
      price: t.decimal(20, 2),
      gone: t.string().nullable(),
      note: t.json().nullable(),
    }),
  )
  await append(
    duckdb,
    table,
    `SELECT 'b' AS label, 5000000000::BIGINT AS id, 123456789012.25::DECIMAL(20, 2) AS price, NULL::VARCHAR AS gone, '{"n":1}' AS note`,
  )
  const expected = [
    { label: 'a', id: '1', price: '1.50', gone: 'x', note: null },
    { label: 'b', id: '5000000000', price: '123456789012.25', gone: null, note: '{"n":1}' },
  ]
  for (const seen of [table, (await (await openLake({ root })).load(ID))!]) {
    expect(await query(duckdb, `SELECT * FROM ${await relation(seen)} ORDER BY id`)).toEqual(expected)
    expect(seen.fields.map(({ id, name, nullable }) => [id, name, nullable])).toEqual([
      [2, 'label', false],
      [1, 'id', false],
      [3, 'price', false],
      [4, 'gone', true],
      [5, 'note', true],
    ])
    expect(seen.fields[4]!.type.kind).toBe('json')
    // Bounds written as int are read as long.
    const filter = [{ column: 'id', op: '<', value: 100 }] as const
    expect(await seen.files(seen.snapshot()!, filter)).toHaveLength(1)
    expect(seen.partition).toEqual([{ column: 'id', transform: { kind: 'truncate', width: 10 }, name: 'id_trunc' }])
  }
  expect(table.snapshot()!.schemaId).toBe(1)
})

test('without a difference nothing is written', async () => {
  const columns = { id: t.int(), point: t.struct({ x: t.double() }).nullable() }
  const table = await (await openLake()).create(ID, { fields: fieldsOf(columns) })
  const { metadataPath } = table
  await table.evolve(fieldsOf(columns))
  expect(table.metadataPath).toBe(metadataPath)
})

describe('ids', () => {
  function evolved(stored: Columns, declared: Columns): readonly IdentifiedField[] {
    let last = 0
    const before = assignIds(fieldsOf(stored), () => ++last)
    return evolveFields(before, fieldsOf(declared), () => ++last)
  }

  test('follow columns inside structs and lists, new ones are never taken again', () => {
    const before = { p: t.struct({ x: t.int(), y: t.int() }), l: t.list(t.struct({ k: t.string() })) }
    const after = {
      l: t.list(t.struct({ k: t.string().nullable(), v: t.long().nullable() }).nullable()),
      p: t.struct({ x: t.long(), why: t.int().formerly('y') }),
    }
    expect(evolved(before, after)).toMatchObject([
      { id: 2, type: { elementId: 5, elementNullable: true, element: { fields: [{ id: 6 }, { id: 7, name: 'v' }] } } },
      {
        id: 1,
        type: {
          fields: [
            { id: 3, type: { kind: 'long' } },
            { id: 4, name: 'why' },
          ],
        },
      },
    ])
  })

  test('go by the present name before a former one', () => {
    expect(evolved({ a: t.int(), b: t.int() }, { b: t.int().formerly('a'), a: t.int().formerly('b') })).toMatchObject([
      { id: 2, name: 'b' },
      { id: 1, name: 'a' },
    ])
  })

  const refused: readonly [string, Columns, Columns, RegExp][] = [
    ['dropping', { a: t.int(), b: t.int() }, { a: t.int() }, /'b' is in the table and no longer declared/],
    ['adding a required column', { a: t.int() }, { a: t.int(), b: t.int() }, /'b' is new and required/],
    [
      'adding a required column in a struct',
      { a: t.struct({ x: t.int() }) },
      { a: t.struct({ x: t.int(), y: t.int() }) },
      /'a\.y' is new/,
    ],
    ['requiring', { a: t.int().nullable() }, { a: t.int() }, /'a' is nullable in the table/],
    ['requiring elements', { a: t.list(t.int().nullable()) }, { a: t.list(t.int()) }, /'a' has nullable elements/],
    ['narrowing', { a: t.long() }, { a: t.int() }, /'a' is long in the table and declared int/],
    ['another scale', { a: t.decimal(10, 2) }, { a: t.decimal(12, 3) }, /decimal\(10, 2\)/],
    ['fewer digits', { a: t.decimal(10, 2) }, { a: t.decimal(9, 2) }, /decimal\(9, 2\)/],
    ['another type', { a: t.list(t.int()) }, { a: t.list(t.string()) }, /'a\.element' is int/],
    ['text as json', { a: t.string() }, { a: t.json() }, /'a' is string/],
    ['a name twice', { a: t.int() }, { a: t.int(), A: t.int().nullable() }, /'A' is declared twice/],
  ]
  test.each(refused)('%s is refused with the column and the remedy', (_what, stored, declared, message) => {
    expect(() => evolved(stored, declared)).toThrow(
      expect.objectContaining({
        kind: 'invalid',
        code: 'incompatible-schema',
        message: expect.stringMatching(message),
        hint: expect.any(String),
      }),
    )
  })
})

test('partitions are checked when a table is made', async () => {
  const lake = await openLake()
  const fields = fieldsOf({ at: t.timestamp(), at_day: t.int(), kind: t.string() })
  const create = (column: string, name?: string) =>
    lake.create(ID, {
      fields,
      partition: [{ column, transform: { kind: 'day' }, ...(name === undefined ? {} : { name }) }],
    })
  await expect(create('att')).rejects.toMatchObject({ code: 'bad-partition', hint: expect.stringContaining('at') })
  await expect(create('kind')).rejects.toMatchObject({ code: 'bad-partition', context: { column: 'kind' } })
  await expect(create('at')).rejects.toMatchObject({ message: expect.stringContaining(`called 'at_day'`) })
  expect((await create('at', 'day')).partition).toEqual([{ column: 'at', transform: { kind: 'day' }, name: 'day' }])
})
