import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Running, SHOP, folder, millrace, project, write } from './support.ts'

describe('the retail example', () => {
  const data = folder()
  const shop = (...args: string[]) => millrace([...args, '--project', SHOP, '--data', data])
  const json = async (...args: string[]) => JSON.parse((await shop(...args, '--json')).stdout)

  test('is loaded, cleaned and summed, with counts that add up', async () => {
    const { code, stdout } = await shop('run')
    expect(code).toBe(0)
    expect(stdout).toMatch(/\norders +12 of 12 +31,102 +30,473 +438 +191 +31,102\n/)
    expect(stdout).toMatch(/\ndaily_revenue +refreshed +65\n/)
    expect(stdout).toMatch(/note orders: 191 refused; `millrace quarantine list` says why\./)
    expect(stdout).toMatch(/\ndone in .*\n$/)
  })

  test('a second run finds nothing to do', async () => {
    const run = await json('run')
    expect(run).toMatchObject({
      ok: true,
      streams: [
        {
          received: 0,
          total: { received: 31_102, accepted: 30_473, duplicates: 438, quarantined: 191 },
          files: { unchanged: 12, loaded: [] },
        },
      ],
    })
    expect(run.tables.map((t: { outcome: string }) => t.outcome)).toEqual(Array(5).fill('unchanged'))
  })

  test('tables are recomputed when asked, whole or some intervals', async () => {
    const outcomes = async (...args: string[]) =>
      Object.fromEntries(
        (await json('run', ...args)).tables.map((t: { name: string; outcome: string }) => [t.name, t.outcome]),
      )
    expect(await outcomes('--table', 'customer_value')).toMatchObject({
      customer_value: 'refreshed',
      product_ranking: 'unchanged',
    })
    expect(await outcomes('--table', 'daily_revenue', '--from', '2010-12-01', '--to', '2010-12-03')).toMatchObject({
      daily_revenue: 'refreshed',
      customer_value: 'unchanged',
    })
    expect(await outcomes('--from', '2010-12-01')).toMatchObject({
      daily_revenue: 'refreshed',
      monthly_revenue: 'refreshed',
      returns: 'refreshed',
      customer_value: 'unchanged',
    })
    expect((await json('query', 'select sum(revenue)::varchar from daily_revenue')).rows).toEqual([['528678.450']])
  })

  test('what was refused is listed and shown with file, line and bytes', async () => {
    const list = await shop('quarantine', 'list')
    expect(list.stdout).toMatch(/\norders +priced +191 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +priced does not hold/)
    const { records } = await json('quarantine', 'show', 'orders', '--rule', 'priced', '--limit', '3')
    expect(records).toHaveLength(3)
    expect(records[0]).toMatchObject({
      rule: 'priced',
      file: expect.stringMatching(/^data\/2010-12-\d\d\.csv$/),
      line: expect.any(Number),
      raw: expect.stringContaining('"UnitPrice":"0.0"'),
    })
    expect((await json('quarantine', 'show', 'orders', '--rule', 'other')).records).toEqual([])
  })

  test('is verified against its raw records, replayed and maintained without a changed row', async () => {
    const replayed = await json('replay', 'orders', '--from-start')
    expect(replayed).toMatchObject({ records: 31_102, before: replayed.after })
    expect((await json('replay', 'orders', '--from-offset', '31000')).records).toBe(102)
    expect((await json('replay', 'orders', '--from-time', '2000-01-01')).records).toBe(31_102)
    expect((await json('replay', 'orders', '--from-time', '2200-01-01')).records).toBe(0)
    expect((await shop('maintain', '--min-files', '2')).code).toBe(0)
    const verified = await shop('verify')
    expect(verified.code).toBe(0)
    expect(verified.stdout.match(/ equal /g)).toHaveLength(6)
  })

  test('tables for people: numbers to the right with every digit, nulls told apart', async () => {
    const { stdout, stderr } = await shop(
      'query',
      "select country, revenue, null as nothing, 9007199254740993 as big from daily_revenue where day = '2010-12-01' order by 2 desc limit 1",
    )
    expect(stdout.split('\n')).toEqual([
      'country                revenue  nothing               big',
      'string          decimal(38, 3)      int              long',
      '──────────────  ──────────────  ───────  ────────────────',
      'United Kingdom       54431.150     null  9007199254740993',
      '',
    ])
    expect(stderr).toMatch(/^1 row · /)
  })
})

const CSV = {
  'lines.ts': `
import { check, source, sql, stream, t, table } from 'millrace'
export const lines = stream('lines', {
  columns: { id: t.string(), amount: t.int() },
  unique: ['id'],
  source: source.files({ path: 'data/*.csv' }),
  checks: [check.range('amount', { min: 0 })],
})
export const sums = table('sums', { sql: sql\`select count(*) as n, sum(amount) as total from \${lines}\`, checks: [check.rowCount({ min: 1 })] })
`,
}

async function runJson(root: string) {
  const { code, stdout, stderr } = await millrace(['run', '--json', '--project', root])
  return { code, stderr, ...JSON.parse(stdout) }
}

test('a changed file takes the place of what it brought, a removed one is told', async () => {
  const root = project({ ...CSV, 'data/a.csv': 'id,amount\n1,10\n2,-1\n', 'data/b.csv': 'id,amount\n3,5\n' })
  expect(await runJson(root)).toMatchObject({
    code: 0,
    streams: [{ accepted: 2, quarantined: 1 }],
    tables: [{ rows: 1, outcome: 'refreshed' }],
  })
  write(root, { 'data/a.csv': 'id,amount\n1,20\n2,1\n' })
  rmSync(join(root, 'data/b.csv'))
  const second = await runJson(root)
  expect(second.streams[0].files).toMatchObject({ changed: ['data/a.csv'], removed: ['data/b.csv'] })
  expect(JSON.parse((await millrace(['query', '--json', '--project', root, 'from sums'])).stdout).rows).toEqual([
    [3, 26],
  ])
})

test('records in quarantine are taken in once the declaration is corrected', async () => {
  const root = project({ ...CSV, 'data/a.csv': 'id,amount\n1,10\n2,-1\n' })
  await runJson(root)
  write(root, { 'lines.ts': CSV['lines.ts'].replace('min: 0', 'min: -5') })
  const { code, stdout } = await millrace(['quarantine', 'replay', 'lines', '--project', root])
  expect(code).toBe(0)
  expect(stdout).toMatch(
    /\nbefore +2 +1 +0 +1\nafter +2 +2 +0 +0\nchange +0 +\+1 +0 +−1\n\n1 record processed again\.\n/,
  )
  expect((await millrace(['quarantine', 'list', '--project', root])).stdout).toBe('Nothing is in quarantine.\n')
  expect(JSON.parse((await millrace(['query', '--json', '--project', root, 'from sums'])).stdout).rows).toEqual([
    [2, 9],
  ])
})

describe('what fails is told, with exit code 1', () => {
  test('a file that cannot be read; the others are loaded', async () => {
    const root = project({
      'lines.ts': CSV['lines.ts'].replace("'data/*.csv'", "'data/*'"),
      'data/a.csv': 'id,amount\n1,10\n',
      'data/c.csv.gz': 'this is not gzip',
    })
    const run = await runJson(root)
    expect(run).toMatchObject({
      code: 1,
      ok: false,
      streams: [{ accepted: 1, files: { failed: [{ file: 'data/c.csv.gz', message: expect.any(String) }] } }],
    })
    const people = await millrace(['run', '--project', root])
    expect(people.code).toBe(1)
    expect(people.stdout).toMatch(/failed lines: data\/c\.csv\.gz: .+\n\nfailed in /)
  })

  test('a blocking check, with what depends on it held; and it heals', async () => {
    const root = project({
      'a.ts': `
import { check, source, sql, stream, t, table } from 'millrace'
export const events = stream('events', { columns: { n: t.int() }, source: source.files({ path: 'data/*.csv' }) })
export const few = table('few', { sql: sql\`select n from \${events}\`, checks: [check.rowCount({ min: 2 })] })
export const after = table('after', { sql: sql\`select max(n) as n from \${few}\` })
`,
      'data/a.csv': 'n\n1\n',
    })
    const { code, stdout } = await millrace(['run', '--project', root])
    expect(code).toBe(1)
    expect(stdout).toMatch(/\nfew +blocked +0\n/)
    expect(stdout).toMatch(/failed few is blocked: row_count: 1 rows, expected 2 to ∞\n/)
    expect(stdout).toMatch(/failed after is held: 'few' is blocked/)
    const status = await millrace(['status', '--project', root])
    expect(status.code).toBe(1)
    expect(status.stdout).toMatch(/\nblocked few: row_count: /)
    write(root, { 'data/b.csv': 'n\n2\n' })
    expect((await millrace(['run', '--project', root])).code).toBe(0)
    expect((await millrace(['status', '--project', root])).code).toBe(0)
  })

  test('a check that blocks after a good run keeps the last good rows published', async () => {
    const root = project({
      'a.ts': `
import { check, source, sql, stream, t, table } from 'millrace'
export const events = stream('events', { columns: { n: t.int() }, source: source.files({ path: 'data/*.csv' }) })
export const few = table('few', { sql: sql\`select n from \${events}\`, checks: [check.rowCount({ max: 1 })] })
`,
      'data/a.csv': 'n\n1\n',
    })
    expect((await millrace(['run', '--project', root])).code).toBe(0)
    write(root, { 'data/b.csv': 'n\n2\n' })
    const { code, stdout } = await millrace(['run', '--project', root])
    expect(code).toBe(1)
    expect(stdout).toMatch(/failed few is blocked: row_count: 2 rows, expected 0 to 1/)
    const query = await millrace(['query', '--json', '--project', root, 'from few'])
    expect(JSON.parse(query.stdout).rows).toEqual([[1]])
  })

  test('a warning is told and fails nothing', async () => {
    const root = project({
      'a.ts': `
import { check, sql, stream, t, table } from 'millrace'
export const events = stream('events', { columns: { n: t.int() } })
export const few = table('few', { sql: sql\`select n from \${events}\`, checks: [check.rowCount({ min: 1, severity: 'warn' })] })
`,
    })
    const { code, stdout } = await millrace(['run', '--project', root])
    expect(code).toBe(0)
    expect(stdout).toContain('note few: check row_count: 0 rows, expected 1 to ∞')
  })

  test('a query that fails when it runs', async () => {
    const root = project({
      'a.ts': `
import { source, sql, stream, t, table } from 'millrace'
export const events = stream('events', { columns: { n: t.string() }, source: source.files({ path: 'data/*.csv' }) })
export const bad = table('bad', { sql: sql\`select n::int as n from \${events}\` })
`,
      'data/a.csv': 'n\nseven\n',
    })
    const { code, stdout } = await millrace(['run', '--project', root])
    expect(code).toBe(1)
    expect(stdout).toMatch(
      /failed bad is failed: Refreshing table 'bad' failed: Conversion error: Could not convert string 'seven' to INT32/,
    )
  })
})

test('a data set that never ran is empty, not an error; looking at it makes nothing', async () => {
  const root = project(CSV)
  const data = join(folder(), 'none')
  const query = await millrace([
    'query',
    '--json',
    '--project',
    root,
    '--data',
    data,
    'select count(*) as n, max(amount) as m from lines',
  ])
  expect(JSON.parse(query.stdout)).toEqual({
    columns: [
      { name: 'n', type: 'long' },
      { name: 'm', type: 'int' },
    ],
    rows: [[0, null]],
  })
  const { datasets } = JSON.parse((await millrace(['status', '--json', '--project', root, '--data', data])).stdout)
  expect(datasets).toMatchObject([
    { name: 'lines', state: 'empty', snapshot: null, lag: 0, freshness_ms: null },
    { name: 'sums', state: 'empty' },
  ])
  const { existsSync } = await import('node:fs')
  expect(existsSync(data)).toBe(false)
})

test('a run that is interrupted keeps what it acknowledged, and the next one goes on', async () => {
  const root = project(CSV)
  mkdirSync(join(root, 'data'))
  const rows = 300_000
  writeFileSync(
    join(root, 'data', 'big.csv'),
    `id,amount\n${Array.from({ length: rows }, (_, i) => `${i},1`).join('\n')}\n`,
  )
  const running = new Running(['run', '--project', root])
  await new Promise((resolve) => setTimeout(resolve, 900))
  const { code } = await running.kill('SIGINT')
  // A slow machine may not have got as far as listening to signals.
  expect([0, 130, null]).toContain(code)
  const run = await runJson(root)
  expect(run.streams[0].total).toMatchObject({ received: rows, accepted: rows, duplicates: 0, quarantined: 0 })
  expect(run.tables[0]).toMatchObject({ outcome: expect.stringMatching(/refreshed|unchanged/), rows: 1 })
})
