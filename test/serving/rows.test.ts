import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Fixture, ask, get, startFixture } from './fixture.ts'

let shop: Fixture

beforeAll(async () => {
  shop = await startFixture()
})
afterAll(() => shop.close())

const rows = (query: string) => get(shop.server, `/v1/datasets/orders/rows?${query}`)

describe('filters', () => {
  test.each([
    ['country=France', ['1001', '1001']],
    ['country=France&country=Germany', ['1001', '1001', '1002']],
    ['country=France&line=2', ['1001']],
    ['country.ne=France', ['1002', '1003', '1004', '1005']],
    ['country.null=true', ['1003']],
    ['country.null=false&gift=true', ['1001', '1004', '1005']],
    ['quantity.gte=5', ['1002', '1003']],
    ['quantity=9007199254740993', ['1002']],
    ['price.lt=7.25', ['1002', '1003']],
    ['price=100', ['1001']],
    ['price.gt=5&price.lte=9.990', ['1001', '1004', '1005']],
    ['weight=NaN', ['1002']],
    ['weight.gt=1e299&weight.lt=NaN', ['1003']],
    ['ordered_on.gte=2024-02-29', ['1004', '1005']],
    ['ordered_at=2024-01-01T10:00:00.123456Z', ['1001']],
    ['ordered_at=2024-01-01T11:00:00%2B01:00', ['1001']],
    ['ordered_at.lt=1970-01-01', ['1005']],
    ['country.starts=Ger', ['1002']],
    ['country.contains=an', ['1001', '1001', '1002']],
    ["country='%20or%20true%20--", []],
    ['extra.null=true', ['1001']],
    ['tags.null=false&order_id=1004', ['1004']],
  ])('%s', async (query, ids) => {
    const { body, text } = await rows(`${query}&order=order_id,line`)
    expect(
      body.rows?.map((row: { order_id: string }) => row.order_id),
      text,
    ).toEqual(ids)
  })

  test.each([
    ['cuntry=France', 'unknown-column', "orders has no column 'cuntry'.", "Did you mean 'country'?"],
    ['price.gr=1', 'unknown-operator', "There is no operator 'gr' (in 'price.gr').", 'Did you mean'],
    ['quantity=many', 'bad-value', "quantity: 'many' is not a valid long.", 'whole number'],
    ['quantity=9223372036854775808', 'bad-value', 'is not a valid long', 'whole number'],
    ['line=2147483648', 'bad-value', 'is not a valid int', '2147483647'],
    ['price=1.005', 'bad-value', 'is not a valid decimal(10, 2)', 'decimal'],
    ['gift=yes', 'bad-value', 'is not a valid boolean', 'true or false'],
    ['ordered_on=2024-02-30', 'bad-value', 'is not a valid date', '2026-01-31'],
    ['ordered_at=2024-01-01T10:00:00+01:00', 'bad-value', 'is not a valid timestamp', '%2B'],
    ['country.null=maybe', 'bad-value', 'is not a valid boolean', 'true or false'],
    ['quantity.starts=1', 'bad-filter', "needs a string column; 'quantity' is of type long", 'eq'],
    ['tags=x', 'bad-filter', "'tags' is of type list", '/v1/sql'],
    ['order=tags', 'bad-order', "cannot be ordered by 'tags'", 'simple'],
    ['order=nothing', 'unknown-column', "no column 'nothing'", 'There are'],
    ['columns=order_id,nope', 'unknown-column', "no column 'nope'", 'There are'],
    ['limit=0', 'bad-limit', 'limit=0', '10000'],
    ['limit=10001', 'bad-limit', 'limit=10001', '10000'],
    ['order=line&order=price', 'repeated-parameter', "'order' is given more than once", 'commas'],
    ['limit=ten', 'bad-limit', 'limit=ten', '10000'],
    ['cursor=abc', 'bad-cursor', 'cursor', 'next'],
    ['cursor=W10', 'bad-cursor', 'cursor', 'next'],
    [Array.from({ length: 101 }, (_, i) => `line=${i}`).join('&'), 'too-many-conditions', '101', '/v1/sql'],
  ])('refuses %s', async (query, code, detail, hint) => {
    const { status, body } = await rows(query)
    expect(body).toMatchObject({ code, detail: expect.stringContaining(detail), hint: expect.stringContaining(hint) })
    expect(status).toBe(400)
  })

  test('a column named like a control word is reached with an operator', async () => {
    const { body } = await rows('order.eq=5')
    expect(body).toMatchObject({ code: 'unknown-column', detail: "orders has no column 'order'." })
  })
})

describe('pages', () => {
  const allPages = async (path: string) => {
    const found: Record<string, unknown>[] = []
    for (let next: string | undefined = path, pages = 0; next !== undefined && pages < 500; pages++) {
      const { body, status, text, headers } = await get(shop.server, next)
      expect(status, text).toBe(200)
      found.push(...body.rows)
      next = body.next
      expect(headers.get('link')).toBe(next === undefined ? null : `<${next}>; rel="next"`)
    }
    return found
  }

  test.each([
    '',
    '&order=digit',
    '&order=-digit,n',
    '&order=word',
    '&order=-n',
    '&order=word,digit',
    '&digit.gte=5&order=digit',
  ])('hold every row once: limit=300%s', async (query) => {
    const found = await allPages(`/v1/datasets/numbers/rows?limit=300${query}`)
    const expected = query.includes('digit.gte') ? 1_250 : 2_500
    expect(new Set(found.map((row) => row['n'])).size).toBe(expected)
    expect(found).toHaveLength(expected)
  })

  test('property: for any order and page size, pages joined are the ordered rows', async () => {
    const columns = ['order_id', 'line', 'country', 'quantity', 'price', 'weight', 'gift', 'ordered_on', 'ordered_at']
    const order = fc.uniqueArray(fc.tuple(fc.constantFrom(...columns), fc.boolean()), {
      minLength: 1,
      maxLength: 3,
      selector: ([column]) => column,
    })
    await fc.assert(
      fc.asyncProperty(order, fc.integer({ min: 1, max: 6 }), async (keys, limit) => {
        const found = await allPages(
          `/v1/datasets/orders/rows?columns=order_id,line&limit=${limit}&order=${keys.map(([column, down]) => (down ? '-' : '') + column).join(',')}`,
        )
        const by = keys.map(([column, down]) => `${column} ${down ? 'desc' : 'asc'} nulls last`)
        const rest = columns.filter((column) => !keys.some(([key]) => key === column))
        const { body } = await ask(
          shop.server,
          `select order_id, line from orders order by ${[...by, ...rest].join(', ')}`,
        )
        expect(found.map((row) => [row['order_id'], row['line']])).toEqual(body.rows)
      }),
      { numRuns: 40 },
    )
  })

  test('chosen columns only, whatever orders them', async () => {
    const { body } = await rows('columns=price,country&order=-ordered_at&limit=1')
    expect(body.columns).toEqual([
      { name: 'price', type: 'decimal(10, 2)' },
      { name: 'country', type: 'string' },
    ])
    expect(body.rows).toEqual([{ price: 7.25, country: 'Spain' }])
  })

  test('without an order a page is pinned to its version; with one it goes on', async () => {
    const plain = await get(shop.server, '/v1/datasets/numbers/rows?limit=10')
    const ordered = await get(shop.server, '/v1/datasets/numbers/rows?limit=10&order=n')
    shop.platform.versions = { numbers: '2' }
    const changed = await get(shop.server, plain.body.next)
    expect(changed).toMatchObject({
      status: 409,
      body: { code: 'rows-changed', hint: expect.stringContaining('order=') },
    })
    expect((await get(shop.server, ordered.body.next)).body.rows[0]).toMatchObject({ n: 10 })
    shop.platform.versions = {}
  })

  test('a cursor of another question is refused', async () => {
    const { body } = await get(shop.server, '/v1/datasets/numbers/rows?limit=10&order=n')
    const cursor = new URL(body.next, shop.server.url).searchParams.get('cursor')
    expect((await get(shop.server, `/v1/datasets/numbers/rows?limit=10&order=-n&cursor=${cursor}`)).body.code).toBe(
      'bad-cursor',
    )
    expect((await get(shop.server, `/v1/datasets/orders/rows?limit=10&order=line&cursor=${cursor}`)).body.code).toBe(
      'bad-cursor',
    )
  })

  test('a forged cursor is input like any other', async () => {
    const { body } = await get(shop.server, '/v1/datasets/numbers/rows?limit=10&order=n')
    const cursor = new URL(body.next, shop.server.url).searchParams.get('cursor')!
    const [version, question] = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as string[]
    for (const [skip, keys] of [
      [0, ['1; drop table numbers']],
      [-1, ['1']],
      [0.5, ['1']],
      [0, ['1', '2']],
      [0, null],
      [0, [1]],
      [0, 'x'],
    ]) {
      const forged = Buffer.from(JSON.stringify([version, question, skip, keys])).toString('base64url')
      const answer = await get(shop.server, `/v1/datasets/numbers/rows?limit=10&order=n&cursor=${forged}`)
      expect(answer.status, answer.text).toBe(400)
    }
  })
})

describe('forms', () => {
  test('CSV and Parquet, with the next page in a header', async () => {
    const csv = await rows('columns=order_id,line&limit=2&order=order_id,line&format=csv')
    expect(csv.text).toBe('order_id,line\r\n1001,1\r\n1001,2\r\n')
    expect(csv.headers.get('link')).toMatch(/^<\/v1\/datasets\/orders\/rows\?.*cursor=.*>; rel="next"$/)
    const parquet = await fetch(`${shop.server.url}/v1/datasets/orders/rows`, {
      headers: { accept: 'application/vnd.apache.parquet;q=0.9, text/html' },
    })
    expect(
      Buffer.from(await parquet.arrayBuffer())
        .subarray(0, 4)
        .toString(),
    ).toBe('PAR1')
    expect(parquet.headers.get('vary')).toBe('Accept, Authorization')
  })

  test.each([
    ['text/html', 406, 'not-acceptable'],
    ['application/json;q=0', 406, 'not-acceptable'],
  ])('Accept: %s', async (accept, status, code) => {
    expect(await get(shop.server, '/v1/datasets/orders/rows', { accept })).toMatchObject({ status, body: { code } })
  })

  test.each(['*/*', 'application/*', 'text/html, */*;q=0.1', 'application/json, text/csv;q=0.5'])(
    'Accept: %s',
    async (accept) => {
      expect((await get(shop.server, '/v1/datasets/orders/rows', { accept })).headers.get('content-type')).toMatch(
        /^application\/json/,
      )
    },
  )

  test('an unknown format', async () => {
    expect(await rows('format=xml')).toMatchObject({
      status: 400,
      body: { code: 'bad-format', hint: 'Formats: json, csv, parquet.' },
    })
  })
})

describe('ETags', () => {
  test('the same rows are not sent again', async () => {
    const first = await rows('country=France')
    const etag = first.headers.get('etag')!
    const again = await get(shop.server, '/v1/datasets/orders/rows?country=France', { 'if-none-match': `"x", ${etag}` })
    expect(again).toMatchObject({ status: 304, text: '' })
    expect(again.headers.get('etag')).toBe(etag)
    shop.platform.versions = { orders: '2' }
    const changed = await get(shop.server, '/v1/datasets/orders/rows?country=France', { 'if-none-match': etag })
    expect(changed.status).toBe(200)
    shop.platform.versions = {}
  })

  test('differ by question, page and form', async () => {
    const etags = await Promise.all(
      [
        'country=France',
        'country=Spain',
        'limit=3',
        'limit=4',
        'format=csv',
        'columns=line',
        'order=line',
        'order=-line',
      ].map(async (query) => (await rows(query)).headers.get('etag')),
    )
    expect(new Set(etags).size).toBe(etags.length)
  })
})

test('quarantine is read the same way', async () => {
  const { body } = await get(shop.server, '/v1/datasets/orders/quarantine?reason.starts=not-null&limit=2')
  expect(body.rows).toEqual([
    { reason: 'not-null(line)', record: '{"line":null}' },
    { reason: 'not-null(line)', record: '{"line":null}' },
  ])
  expect((await get(shop.server, body.next)).body).toMatchObject({ rows: [{}], columns: [{}, {}] })
})

test('datasets and one of them', async () => {
  const { body } = await get(shop.server, '/v1/datasets')
  expect(body.datasets.map((dataset: { name: string }) => dataset.name)).toEqual(['orders', 'numbers'])
  expect((await get(shop.server, '/v1/datasets/orders')).body).toMatchObject({
    name: 'orders',
    snapshot: '9007199254740993',
  })
  for (const path of ['/v1/datasets/ordrs', '/v1/datasets/ordrs/rows', '/v1/datasets/ordrs/quarantine']) {
    expect(await get(shop.server, path)).toMatchObject({
      status: 404,
      body: { code: 'unknown-dataset', hint: "Did you mean 'orders'?" },
    })
  }
})

test('relations are released after every kind of answer', async () => {
  for (const query of ['', 'cuntry=x', 'format=xml', 'format=parquet', 'order=-line&limit=1']) await rows(query)
  expect(shop.platform.readsOpen).toBe(0)
})
