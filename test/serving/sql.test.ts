import { writeFile } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Fixture, ask, startFixture } from './fixture.ts'

let shop: Fixture

beforeAll(async () => {
  shop = await startFixture()
})
afterAll(() => shop.close())

const rowOf = async (sql: string) => {
  const { body, text } = await ask(shop.server, sql)
  expect(body.rows, text).toBeDefined()
  return body.rows[0] as unknown[]
}

describe('values in JSON', () => {
  test('columns and rows of a dataset, each type', async () => {
    const { status, body, text } = await ask(shop.server, "select * from orders where order_id = '1002'")
    expect(status).toBe(200)
    expect(body.columns.map((column: { type: string }) => column.type)).toEqual([
      'string',
      'int',
      'string',
      'long',
      'decimal(10, 2)',
      'double',
      'boolean',
      'date',
      'timestamp',
      'json',
      'list<string>',
      'struct<city: string, zip: string>',
    ])
    // As text, because JSON.parse would round the long and drop the decimal's zeros.
    expect(text).toContain(
      '["1002",1,"Germany",9007199254740993,0.10,"NaN",false,"2024-01-02","2024-01-02T00:00:00Z","x",["a\\"b"],{"city":"Köln","zip":"50667"}]',
    )
  })

  test.each([
    ["timestamp '2024-01-01 10:00:00.123456'", '"2024-01-01T10:00:00.123456Z"'],
    ["timestamp '2024-01-01 10:00:00.5'", '"2024-01-01T10:00:00.500Z"'],
    ["timestamp '1969-12-31 23:59:59.999999'", '"1969-12-31T23:59:59.999999Z"'],
    ["timestamp '0001-01-01 00:00:00'", '"0001-01-01T00:00:00Z"'],
    ["timestamp '12024-01-01 00:00:00'", '"12024-01-01T00:00:00Z"'],
    ["'infinity'::timestamp", '"infinity"'],
    ["timestamptz '2024-01-01 10:00:00+02'", '"2024-01-01T08:00:00Z"'],
    ["'2024-01-01 10:00:00.123456789'::timestamp_ns", '"2024-01-01T10:00:00.123456789Z"'],
    ["'2024-01-01 10:00:00'::timestamp_s", '"2024-01-01T10:00:00Z"'],
    ["date '2024-02-29'", '"2024-02-29"'],
    ["time '10:00:00'", '"10:00:00"'],
    ["interval '1 month 2 days'", '"1 month 2 days"'],
    ['170141183460469231731687303715884105727::hugeint', '170141183460469231731687303715884105727'],
    ['(-9223372036854775807)::bigint - 1', '-9223372036854775808'],
    ['18446744073709551615::ubigint', '18446744073709551615'],
    ['-0.001::decimal(38, 10)', '-0.0010000000'],
    ['0.1::float', '0.1'],
    ['0.1', '0.1'],
    ['1e300::double', '1e+300'],
    ["'-infinity'::double", '"-Infinity"'],
    ['null', 'null'],
    ["'\\x41\\x00'::blob", '"QQA="'],
    ["'5df2fe20-f4ba-4bb8-8b04-ad4b0dcd1a3c'::uuid", '"5df2fe20-f4ba-4bb8-8b04-ad4b0dcd1a3c"'],
    ["'a' || chr(10) || '\"'", '"a\\n\\""'],
    ['\'{"a": 1.10}\'::json', '{"a": 1.10}'],
    ['[1, null, 3]', '[1,null,3]'],
    ['[]', '[]'],
    ["{'a': 1, 'b': [{'c': null}]}", '{"a":1,"b":[{"c":null}]}'],
    ["map {'x': 1}", '[{"key":"x","value":1}]'],
    ['array_value(1, 2)', '[1,2]'],
    ['union_value(n := 5)', '5'],
    ["'a'::enum('a', 'b')", '"a"'],
    ["'101'::bit", '"101"'],
  ])('%s', async (expression, json) => {
    const { text, status } = await ask(shop.server, `select ${expression} as v`)
    expect(status, text).toBe(200)
    expect(text).toContain(`"rows":[[${json}]]`)
  })

  test('a json column that is not JSON after all becomes a string', async () => {
    expect(await rowOf("select json_object('a', 1), json_array()")).toEqual([{ a: 1 }, []])
  })

  test('columns of one name stay two columns', async () => {
    const { body } = await ask(shop.server, 'select 1 as a, 2 as a')
    expect(body).toEqual({
      columns: [
        { name: 'a', type: 'int' },
        { name: 'a', type: 'int' },
      ],
      rows: [[1, 2]],
    })
  })

  test.each([
    ['sum(1)', 'decimal(38, 0)'],
    ['1::uhugeint', 'decimal(38, 0)'],
    ['1::ubigint', 'decimal(20, 0)'],
    ['1::uinteger', 'long'],
    ['1::tinyint', 'int'],
    ['1::float', 'double'],
    ["'a'::enum('a', 'b')", 'string'],
    ['uuid()', 'string'],
    ["timestamp_s '2020-01-01'", 'timestamp'],
    ['null', 'int'],
    ['[1::utinyint]', 'list<int>'],
    ['array_value(1, 2)', 'list<int>'],
    ["{'n': sum(1)}", 'struct<n: decimal(38, 0)>'],
    ['map {1: 2.5}', 'map<int, decimal(2, 1)>'],
    ['[map {1: 1::hugeint}]', 'list<map<int, decimal(38, 0)>>'],
    ["'a'::blob", 'bytes'],
    ["time '10:00:00'", 'time'],
  ])('%s has the type %s, as in a table', async (expression, type) => {
    const { body, text } = await ask(shop.server, `select ${expression} as v`)
    expect(body.columns, text).toEqual([{ name: 'v', type }])
  })

  test('no rows', async () => {
    expect((await ask(shop.server, 'select 1 as a where false')).body).toEqual({
      columns: [{ name: 'a', type: 'int' }],
      rows: [],
    })
  })

  test('dataset names in any case', async () => {
    expect(await rowOf('select count(*) from Orders join NUMBERS on n = line where line = 2')).toEqual([1])
  })
})

describe('parameters', () => {
  test.each([
    [{ sql: 'select count(*) from orders where ordered_on = ?', parameters: ['2024-01-01'] }, 2],
    [{ sql: 'select count(*) from orders where country = $country', parameters: { country: 'France' } }, 2],
    [{ sql: 'select count(*) from orders where price > $1 and price < $2', parameters: [7.25, 100] }, 1],
    [{ sql: 'select $a', parameters: { a: null } }, null],
    [{ sql: 'select $a', parameters: { a: "'; drop table orders; --" } }, "'; drop table orders; --"],
    [{ sql: 'select $1 and true', parameters: [true] }, true],
  ])('%j', async (body, value) => {
    const answer = await ask(shop.server, body)
    expect(answer.body.rows, answer.text).toEqual([[value]])
  })

  test('whole numbers beyond 2^53 arrive exactly', async () => {
    const response = await fetch(`${shop.server.url}/v1/sql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"sql": "select $1::hugeint + 1", "parameters": [9007199254740993]}',
    })
    expect(await response.text()).toContain('[[9007199254740994]]')
  })

  test.each([
    [{ sql: 'select $a' }, 'missing-parameter', 'The parameter $a has no value.'],
    [{ sql: 'select $a', parameters: { a: 1, b: 2 } }, 'unknown-parameter', 'The SQL has no parameter $b.'],
    [{ sql: 'select ?', parameters: [1, 2] }, 'unknown-parameter', 'The SQL has no parameter $2.'],
    [{ sql: 'select $a', parameters: { a: [1] } }, 'bad-parameter', 'The parameter $a is a list or an object.'],
    [{ sql: 'select $toString' }, 'missing-parameter', 'The parameter $toString has no value.'],
  ])('%j', async (body, code, detail) => {
    const answer = await ask(shop.server, body)
    expect(answer).toMatchObject({ status: 400, body: { code, detail } })
    expect(answer.body.hint).toBeTruthy()
  })
})

describe('limits', () => {
  test('rows beyond the limit are left out, and it says so', async () => {
    const cut = await ask(shop.server, { sql: 'select n from numbers order by n', maxRows: 3 })
    expect(cut.body).toMatchObject({ rows: [[0], [1], [2]], truncated: true })
    const exact = await ask(shop.server, { sql: 'select n from numbers order by n limit 3', maxRows: 3 })
    expect(exact.body.truncated).toBeUndefined()
    expect((await ask(shop.server, { sql: 'select n from numbers', maxRows: 2_500 })).body.rows).toHaveLength(2_500)
    expect(await ask(shop.server, { sql: 'select 1', maxRows: 1e9 })).toMatchObject({ status: 400 })
  })
})

describe('CSV', () => {
  test('header, quoting, nulls against empty text', async () => {
    const { text, headers } = await ask(
      shop.server,
      `select * from (values ('a,b', 'say "x"', null, '', 1.50, [1], 'l' || chr(10) || 'm')) t("one, two", b, c, d, e, f, g)`,
      { accept: 'text/csv' },
    )
    expect(headers.get('content-type')).toBe('text/csv; charset=utf-8')
    expect(text).toBe('"one, two",b,c,d,e,f,g\r\n"a,b","say ""x""",,"",1.50,[1],"l\nm"\r\n')
  })

  test('says when rows are left out', async () => {
    const { headers, text } = await ask(shop.server, { sql: 'from numbers', maxRows: 2 }, { accept: 'text/csv' })
    expect(headers.get('millrace-truncated')).toBe('true')
    expect(text.split('\r\n')).toHaveLength(4)
  })
})

describe('Parquet', () => {
  const parquet = async (body: unknown) => {
    const response = await fetch(`${shop.server.url}/v1/sql?format=parquet`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    expect(response.headers.get('content-type'), await response.clone().text()).toBe('application/vnd.apache.parquet')
    const path = join(shop.folder, 'answer.parquet')
    await writeFile(path, Buffer.from(await response.arrayBuffer()))
    const connection = await (await DuckDBInstance.create(':memory:')).connect()
    const rows = (await connection.runAndReadAll(`from '${path}'`)).getRowsJson()
    return { rows, headers: response.headers }
  }

  test('holds the rows with their types, in order', async () => {
    const { rows } = await parquet({
      sql: 'select order_id, price, ordered_at from orders where country = $c order by price desc; -- the end',
      parameters: { c: 'France' },
    })
    expect(rows).toEqual([
      ['1001', '100.00', '2024-01-01 10:00:00.123456'],
      ['1001', '9.99', '2024-01-01 10:00:00'],
    ])
  })

  test('a sum of integers stays exact', async () => {
    const sql = `select 'x' as "a ""b", sum(9223372036854775807) as total, 1 as a from range(10)`
    expect((await parquet({ sql })).rows).toEqual([['x', '92233720368547758070', 1]])
  })

  test('the row limit holds', async () => {
    const { rows, headers } = await parquet({ sql: 'select n from numbers order by n desc', maxRows: 2 })
    expect(rows).toEqual([['2499'], ['2498']])
    expect(headers.get('millrace-truncated')).toBe('true')
  })

  test('leaves no file behind', async () => {
    const { readdir } = await import('node:fs/promises')
    await parquet({ sql: 'from numbers' })
    const left = (await readdir(join(shop.folder, 'tmp'), { recursive: true })).filter((name) =>
      name.endsWith('.parquet'),
    )
    expect(left).toEqual([])
  })

  test('errors are problem documents here too', async () => {
    const answer = await ask(shop.server, 'select nothing from orders', { accept: 'application/vnd.apache.parquet' })
    expect(answer).toMatchObject({ status: 400, body: { code: 'bad-sql' } })
  })
})

describe('errors say where and what to do', () => {
  test.each([
    ['select cuntry from orders', 400, 'bad-sql', /^Line 1, column 8: Referenced column "cuntry" not found/, /country/],
    [
      'select *\nfrom ordrs',
      404,
      'unknown-dataset',
      /^Line 2, column 6: There is no dataset 'ordrs'/,
      /Did you mean 'orders'/,
    ],
    ["from '/etc/passwd'", 404, 'unknown-dataset', /no dataset '\/etc\/passwd'/, /There are: orders, numbers/],
    ["from 'lake/orders.parquet'", 404, 'unknown-dataset', /no dataset/, /There are/],
    ['select foo(1)', 400, 'bad-sql', /Scalar Function with name foo does not exist/, /Did you mean/],
    ["select 'é', 'x'::int", 400, 'bad-sql', /^Line 1, column 16: Could not convert string 'x' to INT32/, /./],
    ['selec 1', 400, 'bad-sql', /^Line 1, column 1: syntax error/, /./],
    ['select sum(country) from orders', 400, 'bad-sql', /No function matches/, /./],
    ['select 1 from orders group by', 400, 'bad-sql', /syntax error/, /./],
    ['delete from orders', 400, 'not-a-query', /Only SELECT/, /Read with SELECT/],
    ['select 1; select 2', 400, 'several-statements', /2 statements/, /one SELECT/],
    ['select 9223372036854775807::bigint + 1::bigint', 400, 'bad-sql', /Overflow/i, /./],
    ["select error('my own')", 400, 'bad-sql', /my own/, /./],
  ])('%s', async (sql, status, code, detail, hint) => {
    const answer = await ask(shop.server, sql)
    expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8')
    expect(answer.body).toMatchObject({ status, code, type: `urn:millrace:problem:${code}` })
    expect(answer.status).toBe(status)
    expect(answer.body.detail).toMatch(detail)
    expect(answer.body.hint).toMatch(hint)
  })

  test.each([
    ['{"sql": 5}', 'bad-request', "'sql' must be string."],
    ['{}', 'bad-request', "The body lacks 'sql'."],
    ['{"sql": "select 1", "limit": 5}', 'bad-request', "The body has 'limit', which is not known here."],
    ['{"sql": "select 1"', 'bad-json', 'not JSON'],
    ['[]', 'bad-request', 'object'],
    ['', 'bad-json', 'not JSON'],
  ])('request body %s', async (body, code, detail) => {
    const response = await fetch(`${shop.server.url}/v1/sql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ code, detail: expect.stringContaining(detail) })
  })
})

describe('what a query reads', () => {
  test('a new version of a dataset is seen by the next query, an old answer is not given', async () => {
    const sql = 'select count(*) from numbers'
    const first = await ask(shop.server, sql)
    const again = await ask(shop.server, sql)
    expect(again.headers.get('etag')).toBe(first.headers.get('etag'))
    shop.platform.versions = { numbers: '2' }
    const changed = await ask(shop.server, sql)
    expect(changed.headers.get('etag')).not.toBe(first.headers.get('etag'))
    shop.platform.versions = {}
  })

  test('an answer that may change has no ETag', async () => {
    expect((await ask(shop.server, 'select now()')).headers.get('etag')).toBeNull()
  })

  test('relations are released, whatever happens', async () => {
    await ask(shop.server, 'select count(*) from orders, numbers')
    await ask(shop.server, 'select missing from orders, numbers')
    await ask(shop.server, 'select * from orders, missing')
    expect(shop.platform.readsOpen).toBe(0)
  })
})

describe('query processes', () => {
  test('queries run side by side, more than there are processes', async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => ask(shop.server, `select sum(n) + ${i} from numbers, range(200)`)),
    )
    expect(answers.map((answer) => answer.status)).toEqual(Array.from({ length: 20 }, () => 200))
  })

  test('a client that goes away stops its query', async () => {
    const abort = new AbortController()
    const gone = fetch(`${shop.server.url}/v1/sql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ sql: 'select count(*) from orders, range(1000000000000)' }),
      signal: abort.signal,
    })
    await wait(300)
    expect(shop.platform.readsOpen).toBe(1)
    abort.abort()
    await expect(gone).rejects.toThrow()
    while (shop.platform.readsOpen > 0) await wait(20)
    expect(await rowOf('select 1')).toEqual([1])
  })
})

test.each([
  ['frmat=csv', "The URL has 'frmat', which is not known here."],
  ['format=xml', "'format' must be one of json, csv, parquet."],
])('a URL with %s is refused', async (parameter, detail) => {
  const response = await fetch(`${shop.server.url}/v1/sql?${parameter}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"sql":"select 1"}',
  })
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ code: 'bad-request', detail })
})
