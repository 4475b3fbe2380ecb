import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { catalogSettings, checkCatalog } from '../../../src/engine/spark/catalog.ts'
import { quoteName, quoteText } from '../../../src/engine/spark/quote.ts'
import { SparkSession } from '../../../src/engine/spark/session.ts'
import { columnList, sparkType } from '../../../src/engine/spark/types.ts'
import { fieldsOf, sameType, t } from '../../../src/project/columns.ts'
import { sparkUrl } from './spark.ts'

let session: SparkSession
beforeAll(async () => {
  session = await SparkSession.open({ url: sparkUrl() })
})
afterAll(() => session.close())

test('rows are plain values of every type', async () => {
  const [row] = await session.rows(`SELECT 1 AS i, 9007199254740993L AS big, 5L AS small, 'é😀' AS s, -1.50BD AS d,
    CAST('-12345678901234567890123456789.012345678' AS DECIMAL(38, 9)) AS wide, DATE '1969-12-31' AS day, DATE '0001-01-01' AS first,
    TIMESTAMP '1969-12-31 23:59:59.999999' AS at, TIMESTAMP '2026-01-31 12:00:00' AS whole, TIMESTAMP '2026-01-31 12:00:00.5' AS ms,
    TIMESTAMP_LTZ '2026-01-31 12:00:00+02:00' AS moment, true AS b, CAST(NULL AS STRING) AS n, double('NaN') AS nan, -0.0D AS zero,
    array(1, NULL) AS a, array(array(1L), array()) AS aa, named_struct('x', 1, 'y', array(named_struct('z', 'q'))) AS st`)
  expect(row).toEqual({
    i: 1,
    big: 9007199254740993n,
    small: 5,
    s: 'é😀',
    d: '-1.50',
    wide: '-12345678901234567890123456789.012345678',
    day: '1969-12-31',
    first: '0001-01-01',
    at: '1969-12-31T23:59:59.999999Z',
    whole: '2026-01-31T12:00:00Z',
    ms: '2026-01-31T12:00:00.500Z',
    moment: '2026-01-31T10:00:00Z',
    b: true,
    n: null,
    nan: NaN,
    zero: -0,
    a: [1, null],
    aa: [[1], []],
    st: { x: 1, y: [{ z: 'q' }] },
  })
})

test('results of many batches come whole and in order, bounded by what the caller takes', async () => {
  const rows = await session.rows("SELECT id, repeat('x', 100) AS s FROM range(200000) ORDER BY id")
  expect(rows.length).toBe(200_000)
  expect(rows.every((row, i) => row['id'] === i)).toBe(true)
  expect(await session.rows('SELECT 1 AS x WHERE 1 = 0')).toEqual([])
  await expect(session.rows('SELECT id FROM range(100000)', { bytesMax: 1_000 })).rejects.toMatchObject({
    kind: 'invalid',
    code: 'result-too-large',
  })
})

test('our types are declared, and told back', async () => {
  const fields = fieldsOf({
    a: t.string().nullable(),
    b: t.decimal(20, 3).nullable(),
    c: t.timestamp().nullable(),
    'd `e`': t.struct({ f: t.list(t.long().nullable()).nullable(), 'g h': t.date().nullable() }).nullable(),
  })
  const nulls = fields.map(({ name, type }) => `CAST(NULL AS ${sparkType(type)}) AS ${quoteName(name)}`)
  const told = await session.analyze(`SELECT ${nulls.join(', ')}`)
  expect(told.map(({ name, nullable }) => [name, nullable])).toEqual(fields.map(({ name }) => [name, true]))
  told.forEach(({ type }, i) => expect(sameType(type, fields[i]!.type)).toBe(true))
  expect(columnList(fields)).toContain('`a` STRING')
  await expect(session.analyze("SELECT map('a', 1) AS m")).rejects.toMatchObject({ code: 'bad-type' })
})

test('quoted texts are what they were', async () => {
  const texts = ["it's", 'a\\nb', '\\', "\\'", '%_\\%', '"', '`', 'x\ny', '😀', '']
  const [row] = await session.rows(`SELECT array(${texts.map(quoteText).join(', ')}) AS texts`)
  expect(row!['texts']).toEqual(texts)
})

describe('errors say what the caller can do', () => {
  test.each([
    ['selct 1', 'invalid', 'bad-sql', /^Syntax error at or near 'selct'\.$/, /near «selct 1»/],
    ['select nn from (select 1 as n)', 'invalid', 'bad-sql', /`nn` cannot be resolved/, /Did you mean 'n'\?/],
    ['select * from nothing_here', 'invalid', 'bad-sql', /`nothing_here` cannot be found/, /«nothing_here»/],
    ['select sume(1)', 'invalid', 'bad-sql', /`sume`/, /«sume\(1\)»/],
    ["select cast(concat('x', id) as int) from range(3)", 'invalid', 'bad-sql', /^The value 'x\d'/, /«cast\(concat/],
    ['select 2147483647 + 1', 'invalid', 'bad-sql', /overflow/, /«2147483647 \+ 1»/],
    ["select raise_error('no')", 'invalid', 'bad-sql', /no/, undefined],
  ] as const)('%s', async (sql, kind, code, message, hint) => {
    const error = await session.rows(sql).then(
      () => undefined,
      (caught: unknown) => caught as { message: string; hint?: string },
    )
    expect(error).toMatchObject({ kind, code, context: { sql } })
    expect(error!.message).toMatch(message)
    if (hint) expect(error!.hint).toMatch(hint)
  })

  test('a server that is not there', async () => {
    const missing = SparkSession.open({ url: 'sc://127.0.0.1:1' })
    await expect(missing).rejects.toMatchObject({ kind: 'unavailable', code: 'engine-unreachable', retryable: true })
  })

  test('a catalog of classes that are not there, or at an address where nothing is', async () => {
    const none = await SparkSession.open({
      url: sparkUrl(),
      settings: { 'spark.sql.catalog.millrace': 'org.apache.iceberg.spark.NotThere' },
    })
    await expect(checkCatalog(none)).rejects.toMatchObject({ kind: 'invalid', code: 'no-iceberg' })
    await none.close()
    const away = await SparkSession.open({ url: sparkUrl(), settings: catalogSettings({ uri: 'http://127.0.0.1:1' }) })
    await expect(checkCatalog(away)).rejects.toMatchObject({ kind: 'unavailable', code: 'catalog-unreachable' })
    await away.close()
  })
})

test('a query is interrupted by its caller, and all of a session at once', async () => {
  const long = 'SELECT count(*) FROM range(100000000000) WHERE sqrt(id) = -1'
  const abort = new AbortController()
  const alone = session.rows(long, { signal: abort.signal })
  setTimeout(() => abort.abort(), 500)
  await expect(alone).rejects.toMatchObject({ code: 'interrupted' })
  const two = [session.rows(long), session.rows(long)]
  setTimeout(() => void session.interrupt(), 500)
  for (const one of await Promise.allSettled(two)) expect(one).toMatchObject({ reason: { code: 'interrupted' } })
  expect(await session.rows('SELECT 1 AS x')).toEqual([{ x: 1 }])
})

test('explains, and keeps settings', async () => {
  expect(await session.explain('SELECT 1 AS x')).toContain('== Optimized Logical Plan ==')
  await session.config({ 'spark.sql.shuffle.partitions': '3' })
  expect(await session.rows('SET spark.sql.shuffle.partitions')).toMatchObject([{ value: '3' }])
})
