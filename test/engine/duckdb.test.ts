import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MillraceError } from '../../src/base/errors.ts'
import { Database, engineError } from '../../src/engine/duckdb/database.ts'
import { copyToParquet, parquetRelation } from '../../src/engine/duckdb/parquet.ts'
import { columnType, duckdbType } from '../../src/engine/duckdb/types.ts'
import { type ColumnType, type IdentifiedField, sameType, t, typeName } from '../../src/project/columns.ts'

let directory: string
let database: Database

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-engine-'))
  database = await Database.open({ threads: 2, memory: 256 * 1024 ** 2, temporary: join(directory, 'tmp') })
})
afterAll(async () => {
  await database.close()
  await rm(directory, { recursive: true, force: true })
})

describe('errors say what the caller can do', () => {
  test.each([
    ['selct 1', 'invalid', 'bad-sql', /^Parser error: syntax error at or near "selct"$/, /near «selct/],
    ['select order from (select 1 as "order")', 'invalid', 'bad-sql', /^Parser error/, /double quotes/],
    ['select nn from (select 1 as n)', 'invalid', 'bad-sql', /^Binder error: .*"nn"/, /Did you mean 'n'/],
    ['select * from nothing_here', 'invalid', 'bad-sql', /^Catalog error: .*nothing_here/, /./],
    ['select sume(1)', 'invalid', 'bad-sql', /^Catalog error: .*sume/, /Did you mean/],
    ["select 'x'::int", 'invalid', 'bad-sql', /^Conversion error: Could not convert string 'x'/, undefined],
    ['select 2147483647::int + 1::int', 'invalid', 'bad-sql', /^Out of Range error/, undefined],
    ["select strptime('x', '%Y')", 'invalid', 'bad-sql', /^Invalid Input error/, undefined],
    ["select * from read_parquet('/no/such/file')", 'internal', 'engine-io', /No files found/, undefined],
  ] as const)('%s', async (sql, kind, code, message, hint) => {
    const error = await database.rows(sql).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(MillraceError)
    expect(error).toMatchObject({ kind, code })
    expect((error as MillraceError).message).toMatch(message)
    if (hint) expect((error as MillraceError).hint).toMatch(hint)
    expect((error as MillraceError).context['sql']).toBe(sql)
    // The connection is as good as before.
    expect(await database.rows('select 1 as one')).toEqual([{ one: 1 }])
  })

  test('too little memory is no fault of the query: it may be tried again', async () => {
    const small = await Database.open({ threads: 1, memory: 16 * 1024 ** 2, temporary: '/proc/nowhere' })
    const error = await small.rows('select len(list(range)) from range(50000000)').catch((caught: unknown) => caught)
    expect(error).toMatchObject({
      kind: 'unavailable',
      code: 'engine-memory',
      hint: expect.stringContaining('limits.engineMemory') as string,
    })
    await small.close()
  })

  test.each([
    ['IO Error: Could not write all bytes: No space left on device', 'unavailable', 'disk-full'],
    ['INTERRUPT Error: Interrupted!', 'unavailable', 'interrupted'],
    ['INTERNAL Error: something broke', 'internal', 'engine'],
    ['no leading word at all', 'internal', 'engine'],
  ])('%s', (text, kind, code) => {
    expect(engineError(new Error(text), 'select 1')).toMatchObject({ kind, code, context: { sql: 'select 1' } })
  })

  test('a Millrace error stays what it is, and long SQL is cut', () => {
    const own = new MillraceError('denied', 'x', 'y')
    expect(engineError(own)).toBe(own)
    expect(String(engineError(new Error('x'), 'y'.repeat(1_000)).context['sql'])).toHaveLength(401)
  })
})

test('several queries at once have connections of their own, in UTC', async () => {
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, i) =>
      database.rows(`select ${i} as i, current_setting('TimeZone') as zone, sum(range) as s from range(100000)`),
    ),
  )
  expect(answers.map(([row]) => row!['i'])).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  expect(new Set(answers.map(([row]) => row!['zone']))).toEqual(new Set(['UTC']))
})

const TYPES: readonly ColumnType[] = [
  t.string(),
  t.int(),
  t.long(),
  t.double(),
  t.boolean(),
  t.date(),
  t.timestamp(),
  t.decimal(1, 0),
  t.decimal(38, 38),
  t.list(t.int()),
  t.struct({ a: t.string(), b: t.list(t.decimal(5, 2)) }),
].map(({ type }) => type)

describe('types', () => {
  test.each(TYPES.map((type) => [typeName(type), type] as const))('%s is the same on the way back', async (_, type) => {
    const found = await typeOf(`NULL::${duckdbType(type)}`)
    // A query tells nothing about nulls within a value.
    const loose = (text: string) => text.replaceAll(/\?/g, '')
    expect(found && loose(typeName(found))).toBe(loose(typeName(type)))
  })

  test.each([
    ['1::TINYINT', 'int'],
    ['1::UTINYINT', 'int'],
    ['1::SMALLINT', 'int'],
    ['1::USMALLINT', 'int'],
    ['1::UINTEGER', 'long'],
    ['1::UBIGINT', 'decimal(20, 0)'],
    ['1::HUGEINT', 'decimal(38, 0)'],
    ['sum(1::INTEGER)', 'decimal(38, 0)'],
    ['count(*)', 'long'],
    ['1::FLOAT', 'double'],
    ["'1'::JSON", 'json'],
    ["'a'::ENUM('a')", 'string'],
    ['uuid()', 'string'],
    ['NULL', 'int'],
    ["'2026-01-01'::TIMESTAMPTZ", 'timestamp'],
    ["'2026-01-01'::TIMESTAMP_MS", 'timestamp'],
    ["'2026-01-01'::TIMESTAMP_NS", 'timestamp'],
  ])('%s becomes %s', async (expression, name) => {
    const found = await typeOf(expression)
    expect(found && typeName(found)).toBe(name)
  })

  test.each(['INTERVAL 1 DAY', "'12:00'::TIME", "'x'::BLOB", "MAP {'a': 1}", '[INTERVAL 1 DAY]', "{'a': '1'::BLOB}"])(
    '%s has none',
    async (expression) => {
      expect(await typeOf(expression)).toBeUndefined()
    },
  )

  test('are compared by what they are', () => {
    expect(sameType(t.decimal(5, 2).type, t.decimal(5, 2).type)).toBe(true)
    expect(sameType(t.decimal(5, 2).type, t.decimal(5, 1).type)).toBe(false)
    expect(sameType(t.list(t.int()).type, t.list(t.long()).type)).toBe(false)
  })
})

async function typeOf(expression: string): Promise<ColumnType | undefined> {
  return database.use(async (connection) =>
    columnType((await connection.run(`select ${expression} as x`)).columnType(0)),
  )
}

describe('Parquet', () => {
  const fields: IdentifiedField[] = [
    { id: 1, name: 'id', type: { kind: 'int' }, nullable: false },
    { id: 2, name: 'text', type: { kind: 'string' }, nullable: true },
    {
      id: 3,
      name: 'list',
      type: { kind: 'list', elementId: 4, element: { kind: 'int' }, elementNullable: true },
      nullable: true,
    },
    {
      id: 5,
      name: 'row',
      type: { kind: 'struct', fields: [{ id: 6, name: 'a', type: { kind: 'string' }, nullable: true }] },
      nullable: true,
    },
  ]
  const write = (query: string, partitionColumns: readonly string[] = []) =>
    database.use((connection) => copyToParquet(connection, query, { directory, fields, partitionColumns }))
  const read = (files: readonly string[], as: readonly IdentifiedField[]) =>
    database.use(async (connection) =>
      (await connection.runAndReadAll(`SELECT * FROM ${parquetRelation(files, as)} ORDER BY 1`)).getRowObjectsJson(),
    )
  const rows = `SELECT range::INT AS id, 'x' || range AS text, [range::INT, NULL] AS list, {a: 'y'} AS "row" FROM range(3)`

  test('what is written can be read under other names and wider types; what is new is null', async () => {
    const [file] = await write(rows)
    expect(file).toMatchObject({ records: 3, partitionValues: {} })
    expect(file!.columnStatistics['"id"']).toMatchObject({ min: '0', max: '2', null_count: '0' })
    expect(await read([file!.path], fields)).toEqual(
      [0, 1, 2].map((id) => ({ id, text: `x${id}`, list: [id, null], row: { a: 'y' } })),
    )
    const later: IdentifiedField[] = [
      { id: 9, name: 'added', type: { kind: 'string' }, nullable: true },
      { id: 2, name: 'renamed', type: { kind: 'string' }, nullable: true },
      { id: 1, name: 'text', type: { kind: 'long' }, nullable: false },
    ]
    expect(await read([file!.path], later)).toEqual(expect.arrayContaining([{ added: null, renamed: 'x1', text: '1' }]))
  })

  test('no files are no rows of the right columns; no rows are no file', async () => {
    expect(await read([], fields)).toEqual([])
    expect(await write(`${rows} WHERE false`)).toEqual([])
  })

  test('a file for each partition, without the column that says which', async () => {
    const files = await write(
      `SELECT *, id % 2 AS part, CASE WHEN id = 1 THEN NULL ELSE 'a/b=c' END AS other FROM (${rows})`,
      ['part', 'other'],
    )
    expect(
      files
        .map(({ partitionValues, records }) => [partitionValues['part'], partitionValues['other'], records])
        .toSorted((a, b) => String(a).localeCompare(String(b))),
    ).toEqual([
      ['0', 'a/b=c', 2],
      ['1', null, 1],
    ])
    expect(
      await read(
        files.map(({ path }) => path),
        fields,
      ),
    ).toHaveLength(3)
  })
})
