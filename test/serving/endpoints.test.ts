import { afterAll, beforeAll, expect, test } from 'vitest'
import { t } from '../../src/project/columns.ts'
import { endpoint } from '../../src/project/endpoint.ts'
import { sql } from '../../src/project/sql.ts'
import { type Fixture, get, startFixture } from './fixture.ts'

let shop: Fixture

beforeAll(async () => {
  shop = await startFixture()
  shop.platform.endpointList.push(
    endpoint('types', {
      params: {
        s: t.string(),
        i: t.int(),
        l: t.long(),
        d: t.double(),
        p: t.decimal(12, 3),
        b: t.boolean(),
        day: t.date(),
        at: t.timestamp(),
        j: t.json(),
      },
      sql: sql`select ${'s'} as s, ${'i'} as i, ${'l'} as l, ${'d'} as d, ${'p'} as p, ${'b'} as b, ${'day'} as day, ${'at'} as at, ${'j'}::json as j`,
    }),
    endpoint('paged', { params: { n: t.int() }, sql: sql`select n from numbers order by n limit ${'n'}` }),
    endpoint('formats', { params: { format: t.string() }, sql: sql`select ${'format'} as format` }),
    endpoint('broken', { sql: sql`select nothing from numbers` }),
  )
})
afterAll(() => shop.close())

const call = (query: string, headers = {}) => get(shop.server, `/v1/endpoints/${query}`, headers)

test('answers with typed parameters', async () => {
  expect((await call('top-countries?day=2024-01-01')).body).toEqual({
    columns: [
      { name: 'country', type: 'string' },
      { name: 'revenue', type: 'decimal(38, 2)' },
    ],
    rows: [{ country: 'France', revenue: 109.99 }],
  })
  expect((await call('top-countries?day=2024-01-01&country=Spain')).body.rows).toEqual([])
  expect((await call('top-countries?day=2024-01-01&least=50.00')).body.rows).toEqual([
    { country: 'France', revenue: 100 },
  ])
  expect((await call('paged?n=2')).body.rows).toEqual([{ n: 0 }, { n: 1 }])
})

test('every type arrives as declared', async () => {
  const { body, text } = await call(
    "types?s=it's&i=-5&l=9007199254740993&d=1e3&p=-12.5&b=true&day=2024-02-29&at=2024-01-01T00:00:00.000001%2B00:30&j={%22a%22:[1]}",
  )
  expect(body.columns.map((column: { type: string }) => column.type)).toEqual([
    'string',
    'int',
    'long',
    'double',
    'decimal(12, 3)',
    'boolean',
    'date',
    'timestamp',
    'json',
  ])
  expect(text).toContain(
    '{"s":"it\'s","i":-5,"l":9007199254740993,"d":1000,"p":-12.500,"b":true,"day":"2024-02-29","at":"2023-12-31T23:30:00.000001Z","j":{"a":[1]}}',
  )
})

test('a parameter is a value, never SQL', async () => {
  const { body } = await call(`top-countries?day=2024-01-01&country=${encodeURIComponent("France' or '1'='1")}`)
  expect(body.rows).toEqual([])
})

test.each([
  ['top-countries', 'missing-parameter', "needs the parameter 'day'", 'day=… (date)'],
  ['top-countries?dy=2024-01-01', 'unknown-parameter', "no parameter 'dy'", "Did you mean 'day'?"],
  ['top-countries?day=2024-13-01', 'bad-value', "day: '2024-13-01' is not a valid date.", 'Give a date'],
  ['top-countries?day=', 'bad-value', "day: '' is not a valid date.", 'Give a date'],
  ['top-countries?day=2024-01-01&day=2024-01-02', 'repeated-parameter', '2 times', 'once'],
  ['paged?n=1.5', 'bad-value', 'is not a valid int', 'whole number'],
  ['broken', 'bad-sql', 'Referenced column "nothing" not found', 'n'],
])('%s', async (path, code, detail, hint) => {
  expect(await call(path)).toMatchObject({
    status: 400,
    body: { code, detail: expect.stringContaining(detail), hint: expect.stringContaining(hint) },
  })
})

test('an unknown endpoint', async () => {
  expect(await call('top-contries')).toMatchObject({
    status: 404,
    body: { code: 'unknown-endpoint', hint: "Did you mean 'top-countries'?" },
  })
})

test('a parameter called format wins over the form of the answer', async () => {
  expect((await call('formats?format=csv')).body.rows).toEqual([{ format: 'csv' }])
  expect((await call('paged?n=1&format=csv')).text).toBe('n\r\n0\r\n')
})

test('is not asked again while nothing changed', async () => {
  const first = await call('top-countries?day=2024-01-01')
  const reads = shop.platform.readsTotal
  const etag = first.headers.get('etag')!
  expect((await call('top-countries?day=2024-01-01', { 'if-none-match': etag })).status).toBe(304)
  expect((await call('top-countries?day=2024-01-02', { 'if-none-match': etag })).status).toBe(200)
  expect(shop.platform.readsTotal).toBeGreaterThan(reads)
  expect((await call('clock')).headers.get('etag')).toBeNull()
})

test('all endpoints with their parameters', async () => {
  const { body } = await get(shop.server, '/v1/endpoints')
  expect(body.endpoints[0]).toEqual({
    name: 'top-countries',
    doc: 'Revenue of a day by country.',
    url: '/v1/endpoints/top-countries',
    params: [
      { name: 'day', type: 'date', required: true },
      { name: 'country', type: 'string', required: false },
      { name: 'least', type: 'decimal(10, 2)', required: false },
    ],
  })
})
