import { existsSync } from 'node:fs'
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Fixture, ask, startFixture } from './fixture.ts'

/** Queries made to take the server down. Each must end with a clear error, and the next honest query must be answered. */

let shop: Fixture
const MIB = 1024 * 1024

beforeAll(async () => {
  shop = await startFixture({
    limits: { queryMs: 1_000, queryMemoryBytes: 128 * MIB, querySpillBytes: 64 * MIB, resultBytes: 4 * MIB },
  })
})
afterAll(() => shop.close())

const repeated = (text: string, times: number) => text.repeat(times)

test.each([
  ['long text', "select repeat('x', 2000000000)"],
  ['long text, only measured', "select length(repeat('x', 2000000000))"],
  ['long rpad', "select length(rpad('x', 2000000000, 'ab'))"],
  ['text grown by a cross join', "select string_agg(repeat('x', 1000000)) from range(10000)"],
  ['long format', "select format('{:>2000000000}', 'x')"],
  ['long bits', "select bitstring('1', 2000000000)"],
  ['cross join', 'select count(*) from range(1000000000) a, range(1000000000) b where a.range + b.range = 7'],
  ['long scan', 'select sum(range) from range(1000000000000)'],
  ['endless recursion', 'with recursive r as (select 1 as n union all select n + 1 from r) select max(n) from r'],
  [
    'endless recursion, given out',
    'with recursive r as (select 1 as n union all select n + 1 from r) select * from r order by n',
  ],
  [
    'doubling WITH',
    `with a0 as (select 1 as x), ${Array.from({ length: 40 }, (_, i) => `a${i + 1} as (from a${i} union all from a${i})`).join(', ')} select count(*) from a40`,
  ],
  ['regular expression', "select regexp_replace(repeat('a', 20000000), '(a*?){100}b', 'c', 'g')"],
  ['huge list', 'select range(1000000000)'],
  ['huge list, sorted', 'select list_sort(range(50000000))'],
  ['list of texts', "select list_transform(range(1000000), x -> repeat('y', 10000))"],
  ['huge aggregate', 'select list(a.range) from range(1000000000) a'],
  ['distinct beyond memory and spill', 'select count(distinct md5(range::varchar)) from range(100000000)'],
  ['sort beyond memory and spill', 'select md5(range::varchar) as m from range(100000000) order by m'],
  ['histogram', 'select histogram(range) from range(100000000)'],
  ['deep sum', `select ${repeated('1+', 900)}1`],
  ['deep lists', `select ${repeated('[', 500)}${repeated(']', 500)}`],
  ['large answer', "select repeat('x', 100000) from range(1000)"],
  ['large value', "select repeat('x', 50000000)"],
])('%s', async (_, sql) => {
  const answer = await ask(shop.server, sql)
  expect([400, 503], answer.text).toContain(answer.status)
  expect(['query-memory', 'query-timeout', 'result-too-large', 'bad-sql']).toContain(answer.body.code)
  expect(answer.body.hint).toBeTruthy()
  expect((await ask(shop.server, 'select count(*) from orders')).body.rows).toEqual([[6]])
})

test('a large Parquet answer is cut off at the limit of bytes', async () => {
  const answer = await ask(
    shop.server,
    { sql: 'select md5(range::varchar || n::varchar) as m from range(100000), numbers' },
    { accept: 'application/vnd.apache.parquet' },
  )
  // The row limit may end it first; what matters is that it ends small.
  expect(answer.status === 200 ? answer.text.length : answer.body.code).toSatisfy((end: unknown) =>
    typeof end === 'number'
      ? end < 8 * MIB
      : ['result-too-large', 'query-timeout', 'query-memory'].includes(end as string),
  )
})

describe('a query process', () => {
  test('killed in the middle of a query: that query fails, the next is answered', async () => {
    const running = ask(shop.server, 'select count(*) from orders, range(1000000000000)')
    await wait(200)
    for (const pid of await queryProcesses()) process.kill(pid, 'SIGKILL')
    const answer = await running
    expect(answer).toMatchObject({ status: 503, body: { code: 'query-memory' } })
    expect((await ask(shop.server, 'select 1')).status).toBe(200)
  })

  test('killed while idle: nobody notices', async () => {
    await ask(shop.server, 'select 1')
    for (const pid of await queryProcesses()) process.kill(pid, 'SIGKILL')
    await wait(100)
    expect((await ask(shop.server, 'select 2')).body.rows).toEqual([[2]])
  })

  test('knows nothing of the environment of the server', async () => {
    await ask(shop.server, 'select 1')
    for (const pid of await queryProcesses()) {
      const names = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0').map((entry) => entry.split('=')[0])
      expect(names).not.toContain('HOME')
      expect(names).toContain('PATH')
    }
  })

  test('leaves no temporary files when it is replaced', async () => {
    await ask(shop.server, 'select md5(range::varchar) as m from range(100000000) order by m')
    expect((await ask(shop.server, 'select 1')).status).toBe(200)
    const folders = await readdir(join(shop.folder, 'tmp', 'queries'))
    expect(folders.length).toBeLessThanOrEqual(3)
  })
})

test('queries over the bound of waiting ones are told to come back', async () => {
  const small = await startFixture({ limits: { queryMs: 1_000, queryProcesses: 1, queriesWaiting: 1 } })
  const slow = 'select count(*) from orders, range(1000000000000)'
  const answers = await Promise.all([1, 2, 3, 4].map((i) => ask(small.server, `${slow} where range <> ${i}`)))
  const busy = answers.filter((answer) => answer.body.code === 'queries-busy')
  expect(busy).toHaveLength(2)
  expect(busy[0]!.status).toBe(429)
  expect(Number(busy[0]!.headers.get('retry-after'))).toBeGreaterThan(0)
  await small.close()
})

test('a server that closes ends running queries and its processes', async () => {
  const other = await startFixture({ limits: { queryMs: 1_000 } })
  const before = await queryProcesses()
  await other.close()
  const after = await queryProcesses()
  expect(after.length).toBeLessThan(before.length)
})

/** Query processes of this test process. */
async function queryProcesses(): Promise<number[]> {
  if (!existsSync('/proc/self/task')) return []
  const pids: number[] = []
  for (const task of await readdir(`/proc/${process.pid}/task`)) {
    const children = await readFile(`/proc/${process.pid}/task/${task}/children`, 'utf8').catch(() => '')
    pids.push(...children.split(' ').filter(Boolean).map(Number))
  }
  if (pids.length > 0) return pids
  // Without /proc/…/children: by parent.
  for (const entry of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const status = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '')
    if (Number(status.slice(status.lastIndexOf(')') + 4).split(' ')[0]) === process.pid) pids.push(Number(entry))
  }
  return pids
}
