import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { readHeader, scanFiles } from '../../src/connectors/files.ts'
import { Database } from '../../src/engine/duckdb/database.ts'
import { source } from '../../src/project/source.ts'
import { failure, fieldsOf, folder, linesOf, put, records } from './support.ts'

async function write(directory: string, name: string, query: string): Promise<void> {
  const temporary = join(directory, 'temporary')
  mkdirSync(temporary, { recursive: true })
  const database = await Database.open({ threads: 1, memory: 256 << 20, temporary })
  try {
    await database.execute(`COPY (${query}) TO '${directory}/${name}' (FORMAT parquet, ROW_GROUP_SIZE 2048)`)
  } finally {
    await database.close()
  }
}

async function theLine(columns: string): Promise<string> {
  const directory = folder()
  await write(directory, 'a.parquet', `SELECT ${columns}`)
  const declared = source.files({ name: 's', path: 'a.parquet' })
  const [line] = await linesOf(declared, (await scanFiles(declared, directory))[0]!)
  return line!.replace('{"$source":"s","$file":"a.parquet","$line":1,', '{')
}

describe('Parquet', () => {
  test('numbers keep every digit', async () => {
    expect(
      await theLine(`1::TINYINT AS a, 9223372036854775807 AS b, 18446744073709551615::UBIGINT AS c, 1.10::DECIMAL(10, 2) AS d,
        12345678901234567890123456789.123456789::DECIMAL(38, 9) AS e, 0.1::FLOAT AS f, 1e300::DOUBLE AS g, 'nan'::DOUBLE AS h, '-inf'::DOUBLE AS i, true AS j, NULL::INTEGER AS k`),
    ).toBe(
      '{"a":1,"b":9223372036854775807,"c":18446744073709551615,"d":"1.10","e":"12345678901234567890123456789.123456789","f":0.1,"g":1e+300,"h":"nan","i":"-inf","j":true,"k":null}',
    )
  })

  test('dates and times are ISO 8601', async () => {
    expect(
      await theLine(`DATE '2025-01-31' AS a, TIMESTAMP '2025-01-31 10:11:12.123456' AS b, TIMESTAMPTZ '2025-01-31 10:11:12+02' AS c,
        TIMESTAMP_NS '2025-01-31 10:11:12.123456789' AS d, TIME '01:02:03.5' AS e`),
    ).toBe(
      '{"a":"2025-01-31","b":"2025-01-31T10:11:12.123456","c":"2025-01-31T08:11:12Z","d":"2025-01-31T10:11:12.123456789","e":"01:02:03.5"}',
    )
  })

  test('text, bytes and nested values', async () => {
    expect(
      await theLine(`'a"b' || chr(10) AS a, '\\xAA'::BLOB AS b, ('{"x": 1.50,' || chr(10) || '"y": 12345678901234567890.123456789}')::JSON AS c,
        [1.50::DECIMAL(3, 2), NULL] AS d, {'a b': 1, p: [{q: 1.10::DECIMAL(5, 2), t: TIMESTAMP '2025-01-31 00:00:00'}]} AS e,
        MAP {'k': 1.10::DECIMAL(5, 2)} AS f, NULL::STRUCT(z INTEGER) AS g, NULL::DECIMAL(3, 2)[] AS h, [[DATE '2025-01-31'], NULL] AS i`),
    ).toBe(
      '{"a":"a\\"b\\n","b":"\\\\xAA","c":{"x": 1.50, "y": 12345678901234567890.123456789},"d":["1.50",null],"e":{"a b":1,"p":[{"q":"1.10","t":"2025-01-31T00:00:00"}]},"f":{"k":"1.10"},"g":null,"h":null,"i":[["2025-01-31"],null]}',
    )
  })

  test('rows come in order over row groups, and from the middle', async () => {
    const directory = folder()
    await write(directory, 'a.parquet', 'SELECT i, i * 2 AS "Password" FROM range(20000) r(i)')
    const all = await records(directory, { path: 'a.parquet', exclude: ['password'] }, { batchBytes: 10_000 })
    expect(all.map((record) => [record.$line, record.i])).toEqual(Array.from({ length: 20_000 }, (_, i) => [i + 1, i]))
    expect(Object.keys(fieldsOf(all[0]!))).toEqual(['i'])
    expect(await records(directory, { path: 'a.parquet', exclude: ['password'] }, { fromRecord: 12_345 })).toEqual(
      all.slice(12_345),
    )
  })

  test('gzipped', async () => {
    const directory = folder()
    await write(directory, 'a.parquet', 'SELECT 1 AS x')
    put(directory, 'b.parquet.gz', gzipSync(readFileSync(join(directory, 'a.parquet'))))
    expect((await records(directory, { path: 'b.parquet.gz' })).map(fieldsOf)).toEqual([{ x: 1 }])
  })

  test('errors name the file', async () => {
    const directory = folder()
    put(directory, 'a.parquet', 'this is no parquet')
    expect(await failure(records(directory, { path: 'a.parquet' }))).toMatchObject({
      kind: 'invalid',
      code: 'bad-parquet',
      context: { file: 'a.parquet' },
    })
    await write(directory, 'b.parquet', 'SELECT 1 AS x, 2 AS y')
    const error = await failure(records(directory, { path: 'b.parquet', map: { a: 'x', b: 'z' } }))
    expect(error.message).toBe("b.parquet, line 1: there is no field 'z'. Fields found: x, y.")
    const declared = source.files({ path: 'b.parquet' })
    expect(await readHeader(declared, (await scanFiles(declared, directory))[0]!)).toEqual(['x', 'y'])
  })

  test('a file without rows holds no records', async () => {
    const directory = folder()
    await write(directory, 'a.parquet', 'SELECT 1 AS x WHERE false')
    expect(await records(directory, { path: 'a.parquet' })).toEqual([])
  })
})
