import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { checkInputsOf } from '../../src/project/project.ts'
import { datasetStatuses, observe } from '../../src/runtime/status.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { verify } from '../../src/runtime/verify.ts'
import { Home, query, snapshots, statusOf, value } from './home.ts'
import { FILES, QUESTIONS, SHOP, deliver, directly, lines, rewrite } from './shop.ts'

async function expectEqualToFiles(runtime: Runtime, home: Home): Promise<void> {
  for (const [name, question] of Object.entries(QUESTIONS))
    expect(await query(runtime, question.published), name).toEqual(await directly(home, question.directly))
}

test('the retail files become rows, duplicates and quarantine, and every table equals plain SQL over the files', async () => {
  const home = await Home.make()
  await deliver(home)
  const runtime = await home.open(SHOP)
  await runtime.settle()

  const [expected] = await directly(
    home,
    'SELECT count(*)::INT AS received, count(*) FILTER (rule IS NULL AND NOT repeated)::INT AS accepted, count(*) FILTER (repeated)::INT AS duplicates, count(rule)::INT AS quarantined FROM line',
  )
  const { counts, lag } = runtime.stream('orders')
  expect(counts).toEqual(expected)
  expect(counts.received).toBe(counts.accepted + counts.duplicates + counts.quarantined)
  expect(counts.quarantined).toBeGreaterThan(100)
  expect(lag).toBe(0)
  await expectEqualToFiles(runtime, home)

  // Every refused line is in quarantine once, with its place, its text and why.
  const refused = await query(
    runtime,
    'SELECT file, line, rule, reason, raw, source FROM {quarantine.orders} ORDER BY file, line',
  )
  expect(refused.map(({ file, line, rule }) => ({ file, line, rule }))).toEqual(
    await directly(home, 'SELECT file, line, rule FROM line WHERE rule IS NOT NULL ORDER BY file, line'),
  )
  for (const { file, line, raw, reason, source } of refused) {
    const record = JSON.parse(String(raw)) as Record<string, string>
    const text = (await lines(String(file).slice('data/'.length)))[Number(line) - 1]!
    expect(text.split(',').slice(0, 2)).toEqual([record['InvoiceNo'], record['StockCode']])
    expect(String(reason)).toMatch(/does not match|does not hold/)
    expect(source).toBe('tills')
  }
  for (const status of datasetStatuses(SHOP, observe(runtime))) expect(status.state, status.name).toBe('ok')
  for (const { name } of SHOP)
    expect(await verify(runtime, name), name).toMatchObject({ equal: true, missing: 0, extra: 0 })
})

describe('inputs that did not change cost nothing', () => {
  test('a restart, and another look at the files, commits nothing', async () => {
    const home = await Home.make()
    await deliver(home, FILES.slice(0, 3))
    const first = await home.open(SHOP)
    await first.settle()
    const before = snapshots(first)
    await first.settle()
    expect(snapshots(first)).toEqual(before)
    await home.stop(first)
    const second = await home.open(SHOP)
    await second.settle()
    expect(snapshots(second)).toEqual(before)
    expect(second.loads.reports.get('orders')).toMatchObject({
      loaded: [],
      changed: [],
      unchanged: 3,
      removed: [],
      failed: [],
    })
    await home.stop(second)
    const third = await home.open(SHOP)
    expect(snapshots(third)).toEqual(before)
  })

  test('every table has its inputs’ snapshots in the summary of its own', async () => {
    const home = await Home.make()
    await deliver(home, FILES.slice(0, 1))
    const runtime = await home.open(SHOP)
    await runtime.settle()
    for (const dataset of SHOP.filter(({ kind }) => kind === 'table')) {
      const summary = runtime.lakeTable(dataset.name).snapshot()!.summary
      const inputs = JSON.parse(summary['millrace.inputs']!) as Record<string, string>
      const names = new Set(
        [...(dataset.kind === 'table' ? dataset.sql.datasets : []), ...checkInputsOf(dataset)].map((d) => d.name),
      )
      expect(Object.keys(inputs).sort()).toEqual([...names].sort())
      for (const name of names) expect(inputs[name]).toBe(String(runtime.lakeTable(name).snapshot()!.id))
      expect(summary['millrace.code']).toBe(runtime.bound.code.get(dataset.name))
      expect(summary['millrace.run']).toBe('run-1')
    }
  })
})

describe('files that change', () => {
  test('one more day is one more interval: the files of the other days stay', async () => {
    const home = await Home.make()
    await deliver(home, FILES.slice(0, 4))
    const runtime = await home.open(SHOP)
    await runtime.settle()
    const table = runtime.lakeTable('daily_revenue')
    const before = table.snapshot()!
    const old = (await table.files(before)).map((file) => file.path)
    await deliver(home, FILES.slice(4, 5))
    await runtime.settle()
    const now = (await table.files(table.snapshot()!)).map((file) => file.path)
    expect(now.filter((path) => old.includes(path))).toEqual(old)
    const changes = await table.changes(before, table.snapshot()!)
    expect(changes!.removed).toEqual([])
    expect(changes!.added.reduce((sum, file) => sum + file.records, 0)).toBe(
      Number(await value(runtime, `SELECT count(*) FROM {daily_revenue} WHERE day = '${FILES[4]!.slice(0, 10)}'`)),
    )
    await expectEqualToFiles(runtime, home)
  })

  test('a changed file replaces what it loaded before, in the stream, its quarantine, and the intervals it touches', async () => {
    const home = await Home.make()
    await deliver(home, FILES.slice(0, 3))
    const runtime = await home.open(SHOP)
    await runtime.settle()
    await expectEqualToFiles(runtime, home)
    // One price corrected, one line gone, one spoilt, one mended.
    await rewrite(home, FILES[1]!, (all) => [
      all[0]!,
      ...all
        .slice(2, -1)
        .map((line, i) =>
          i === 10 ? line.replace(/,(\d+\.\d+),/, ',99.99,') : i === 20 ? line.replace(/^\d/, 'X') : line,
        ),
    ])
    await runtime.settle()
    expect(runtime.loads.reports.get('orders')).toMatchObject({
      changed: [`data/${FILES[1]}`],
      loaded: [],
      unchanged: 2,
    })
    await expectEqualToFiles(runtime, home)
    const [expected] = await directly(
      home,
      'SELECT count(*)::INT AS received, count(rule)::INT AS quarantined FROM line',
    )
    expect(runtime.stream('orders').counts).toMatchObject(expected!)
    expect(await query(runtime, 'SELECT file, line, rule FROM {quarantine.orders} ORDER BY ALL')).toEqual(
      await directly(home, 'SELECT file, line, rule FROM line WHERE rule IS NOT NULL ORDER BY ALL'),
    )
    for (const { name } of SHOP) expect(await verify(runtime, name), name).toMatchObject({ equal: true })
    // All of it belongs to another day: the day it was of has no rows any more.
    const day = FILES[1]!.slice(0, 10)
    await rewrite(home, FILES[1]!, (all) => all.map((line) => line.replace(day, '2010-12-24')))
    await runtime.settle()
    expect(await query(runtime, `SELECT * FROM {daily_revenue} WHERE day = '${day}'`)).toEqual([])
    await expectEqualToFiles(runtime, home)
    // And back again.
    await deliver(home, FILES.slice(1, 2))
    await runtime.settle()
    await expectEqualToFiles(runtime, home)
    await home.stop(runtime)
    const again = await home.open(SHOP)
    await again.settle()
    await expectEqualToFiles(again, home)
    for (const { name } of SHOP) expect(await verify(again, name), name).toMatchObject({ equal: true })
  })

  test('a removed file is reported, and its rows stay', async () => {
    const home = await Home.make()
    await deliver(home, FILES.slice(0, 2))
    const runtime = await home.open(SHOP)
    await runtime.settle()
    const rows = await query(runtime, QUESTIONS['orders']!.published)
    await rm(join(home.directory, 'data', FILES[0]!))
    await runtime.settle()
    expect(runtime.loads.reports.get('orders')).toMatchObject({ removed: [`data/${FILES[0]}`], unchanged: 1 })
    expect(await query(runtime, QUESTIONS['orders']!.published)).toEqual(rows)
  })

  test('a late file reaches every table it belongs to', async () => {
    const home = await Home.make()
    await deliver(
      home,
      FILES.slice(0, 5).filter((_, i) => i !== 1),
    )
    const runtime = await home.open(SHOP)
    await runtime.settle()
    await deliver(home, FILES.slice(1, 2))
    await runtime.settle()
    expect(statusOf(runtime, 'daily_revenue').state).toBe('ok')
    await expectEqualToFiles(runtime, home)
    for (const { name } of SHOP) expect(await verify(runtime, name), name).toMatchObject({ equal: true })
  })
})
