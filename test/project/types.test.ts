import { describe, expect, expectTypeOf, test } from 'vitest'
import { check, endpoint, source, sql, stream, t, table } from '../../src/index.ts'
import type { Column, RowOf, Stream } from '../../src/index.ts'

const columns = {
  id: t.string(),
  n: t.int(),
  big: t.long(),
  ratio: t.double(),
  price: t.decimal(10, 2),
  paid: t.boolean(),
  day: t.date(),
  at: t.timestamp(),
  extra: t.json(),
  tags: t.list(t.string()),
  scores: t.list(t.int().nullable()),
  place: t.struct({ city: t.string(), zip: t.int().nullable() }),
  visits: t.list(t.struct({ at: t.timestamp() })).nullable(),
  note: t.string().nullable().doc('A remark.').formerly('remark'),
}
const everything = stream('everything', { columns, time: 'at', unique: ['id'], key: 'id' })

// The compiler is what runs these: `npm run types`.
describe('types of rows follow from the declaration', () => {
  test('each column has the type of its values in JSON', () => {
    type Row = typeof everything.row
    expectTypeOf<Row>().toEqualTypeOf<{
      id: string
      n: number
      big: number | bigint
      ratio: number
      price: string
      paid: boolean
      day: string
      at: string
      extra: unknown
      tags: string[]
      scores: (number | null)[]
      place: { city: string; zip: number | null }
      visits: { at: string }[] | null
      note: string | null
    }>()
    expectTypeOf<RowOf<typeof columns>>().toEqualTypeOf<Row>()
    expectTypeOf(everything).toExtend<Stream>()
    expectTypeOf(everything).toExtend<Stream<typeof columns>>()
  })

  test('a declaration of a column keeps its type through every method', () => {
    expectTypeOf(t.int().doc('x').formerly('y')).toEqualTypeOf<Column<number>>()
    expectTypeOf(t.int().nullable().doc('x')).toEqualTypeOf<Column<number | null>>()
    expectTypeOf(t.list(t.decimal(5, 1).nullable())).toEqualTypeOf<Column<(string | null)[]>>()
  })

  test('options name columns that there are', () => {
    // @ts-expect-error there is no such column
    stream('s', { columns, time: 'when' })
    // @ts-expect-error there is no such column
    stream('s', { columns, unique: ['nope'] })
    // @ts-expect-error there is no such column
    stream('s', { columns, unique: { columns: ['id', 'nope'], horizon: '1 day' } })
    // @ts-expect-error there is no such column
    stream('s', { columns, key: 'nope' })
    // @ts-expect-error a partitioning that there is not
    stream('s', { columns, time: 'at', partitionBy: 'decade' })
    // @ts-expect-error buckets need a count
    stream('s', { columns, partitionBy: { column: 'id', by: 'bucket' } })
    // @ts-expect-error something else is done with unknown fields
    stream('s', { columns, unknown: 'ignore' })
    // @ts-expect-error a stream has columns
    expect(stream('s', {}).fields).toEqual([])
  })

  test('a table is of one kind', () => {
    const query = sql`select 1 as x`
    table('a', { sql: query })
    table('a', { sql: query, interval: 'day' })
    table('a', { sql: query, key: ['x'], version: 'x', deleted: 'x' })
    // @ts-expect-error an interval table has no key
    table('a', { sql: query, interval: 'day', key: 'x' })
    // @ts-expect-error there is no such interval
    table('a', { sql: query, interval: 'decade' })
    // @ts-expect-error a table is derived by a query
    expect(() => table('a', {})).toThrow(/table 'a': its SQL is missing/)
  })

  test('SQL is put together from datasets, templates and numbers', () => {
    expectTypeOf(sql`select * from ${everything} where n > ${3} and ${sql`true`}`.datasets).toExtend<
      readonly { name: string }[]
    >()
    // @ts-expect-error an object is nothing to put into SQL
    expect(() => sql`select ${{ a: 1 }}`).not.toThrow()
    // @ts-expect-error neither is nothing
    expect(() => sql`select ${undefined}`).toThrow()
  })

  test('checks and sources take what they need', () => {
    // @ts-expect-error a range is over one column
    check.range({ min: 1 })
    // @ts-expect-error a level is warn or block
    check.unique('id', { severity: 'fatal' })
    // @ts-expect-error a pattern is a regular expression
    expect(() => check.matches('id', '^x$')).toThrow(/takes a regular expression, not "\^x\$"/)
    // @ts-expect-error files have a path
    source.files({ name: 'x' })
    // @ts-expect-error there is no such format
    source.files({ path: '*', format: 'xlsx' })
  })
})

describe('what the compiler would have found is found without it', () => {
  const told = (code: string, message: RegExp, hint: RegExp) =>
    expect.objectContaining({
      kind: 'invalid',
      code,
      message: expect.stringMatching(message) as string,
      hint: expect.stringMatching(hint) as string,
    }) as Error

  test.each([
    ['a type that is not called', { id: t.string }],
    ['the name of a type', { id: 'string' }],
    ['nothing', { id: undefined }],
  ])('a column declared by %s', (_, wrong) => {
    expect(() => stream('s', { columns: wrong as never })).toThrow(
      told('bad-column', /Column 'id' is not declared with a type/, /id: t\.string\(\)/),
    )
  })

  test('SQL as a text', () => {
    const text = 'select 1' as never
    expect(() => table('a', { sql: text })).toThrow(told('not-sql', /table 'a': its SQL is a text/, /sql`select/))
    expect(() => endpoint('e', { sql: text })).toThrow(told('not-sql', /endpoint 'e'/, /sql`select/))
    expect(() => check.sql('c', text)).toThrow(told('not-sql', /check 'c'/, /sql`select/))
    expect(() => check.predicate('p', text)).toThrow(told('not-sql', /check 'p'/, /sql`select/))
  })
})

test('what is declared can be read back', () => {
  expect(everything.fields.find(({ name }) => name === 'note')).toEqual({
    name: 'note',
    type: { kind: 'string' },
    nullable: true,
    doc: 'A remark.',
    formerly: ['remark'],
  })
  expect(everything).toMatchObject({
    kind: 'stream',
    time: 'at',
    key: ['id'],
    partitions: 1,
    unknown: 'drop',
    sources: [],
    checks: [],
  })
  expect(everything.place?.file).toMatch(/types\.test\.ts$/)
  const query = sql`select * from ${everything} join ${everything} using (id) where n > ${'least'} and ${sql`n < ${'most'} or id = ${sql.literal("it's")}`} order by ${sql.identifier('a"b')} limit ${5}`
  expect(query.datasets).toEqual([everything])
  expect(query.parameters).toEqual(['least', 'most'])
  expect(query.toString()).toBe(
    `select * from "everything" join "everything" using (id) where n > $least and n < $most or id = 'it''s' order by "a""b" limit 5`,
  )
  expect(sql.join([sql`select 1`, sql`select ${'x'}`], 'union all').toString()).toBe('select 1 union all select $x')
})
