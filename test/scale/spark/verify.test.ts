import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { arrivals } from '../../../benchmarks/nexmark/arrivals.ts'
import { STREAMS } from '../../../benchmarks/nexmark/generator.ts'
import { clicks } from '../../../examples/clicks/clicks.ts'
import { generator as clickGenerator } from '../../../examples/clicks/generate.ts'
import * as clickTables from '../../../examples/clicks/tables.ts'
import { linesOf } from '../../../examples/generator/command.ts'
import { generator as rideGenerator } from '../../../examples/rides/generate.ts'
import * as positions from '../../../examples/rides/positions.ts'
import * as rideTables from '../../../examples/rides/tables.ts'
import * as shop from '../../../examples/shop/orders.ts'
import * as sales from '../../../examples/shop/sales.ts'
import { sql, stream, t, table } from '../../../src/index.ts'
import { type Declaration, isDeclaration } from '../../../src/project/dataset.ts'
import { duckdbEngine } from '../../../src/runtime/duckdb-engine.ts'
import type { Runtime } from '../../../src/runtime/runtime.ts'
import { SparkEngine } from '../../../src/runtime/spark-engine.ts'
import { type EngineVerification, hasEngines, verifyEngines } from '../../../src/runtime/verify-engines.ts'
import { folder, millrace } from '../../cli/support.ts'
import { deliver } from '../../examples/events.ts'
import { declared } from '../../nexmark/run.ts'
import { Home, batchOf, send } from '../../runtime/home.ts'
import { sparkUrl } from './spark.ts'

const declarationsOf = (...modules: readonly object[]): Declaration[] =>
  modules.flatMap((names) => Object.values(names).filter(isDeclaration))

/** Every table of a project that engines compute, by both: those whose rows are not the same. */
async function expectSame(runtime: Runtime, options: { readonly sample?: boolean } = {}): Promise<number> {
  const { lake } = runtime.warehouse
  const spark = new SparkEngine({ lake, url: sparkUrl(), catalog: { directory: lake.root } })
  onTestFinished(() => spark.close())
  let rows = 0
  for (const { name } of runtime.project.order.filter((dataset) => hasEngines(runtime, dataset.name))) {
    const found = await verifyEngines(runtime, name, [duckdbEngine(runtime.database), spark], options)
    expect.soft(found, name).toMatchObject({ equal: true, examples: [] })
    rows += found.rows[0]!.count
  }
  return rows
}

describe('the examples', () => {
  test('shop', async () => {
    const home = await Home.make()
    await cp(fileURLToPath(new URL('../../../examples/shop/data', import.meta.url)), join(home.directory, 'data'), {
      recursive: true,
    })
    const runtime = await home.open(declarationsOf(shop, sales))
    await runtime.settle()
    expect(await expectSame(runtime)).toBeGreaterThan(100)
    expect(await expectSame(runtime, { sample: true })).toBeGreaterThan(10)
  })

  test('clicks', async () => {
    const lines = [...linesOf(clickGenerator, { hours: '1' })]
    const home = await Home.make()
    const runtime = await home.open([clicks, ...declarationsOf(clickTables)])
    await deliver(runtime, lines, [5_000])
    await runtime.settle()
    expect(await expectSame(runtime)).toBeGreaterThan(100)
  })

  test('rides', async () => {
    const lines = [...linesOf(rideGenerator, { hours: '1', drivers: '8' })]
    const home = await Home.make()
    await cp(fileURLToPath(new URL('../../../examples/rides/data', import.meta.url)), join(home.directory, 'data'), {
      recursive: true,
    })
    const runtime = await home.open(declarationsOf(positions, rideTables))
    await deliver(runtime, lines, [5_000])
    await runtime.settle()
    expect(await expectSame(runtime)).toBeGreaterThan(100)
  })
})

test(
  'from the command line: users, whose local times Spark computes by SQL of its own',
  { timeout: 600_000 },
  async () => {
    const directory = join(folder(), 'users')
    await cp(fileURLToPath(new URL('../../../examples/users', import.meta.url)), directory, { recursive: true })
    const config = join(directory, 'millrace.config.ts')
    const target = `targets: { cluster: { engine: { kind: 'spark', url: '${sparkUrl()}' } } }`
    await writeFile(config, (await readFile(config, 'utf8')).replace('defineConfig({', `defineConfig({ ${target}, `))
    const at = ['--project', directory]
    const spoken = await millrace(['plan', ...at, '--engines', 'duckdb,spark', '--json'])
    expect(JSON.parse(spoken.stdout), spoken.stderr).toMatchObject({ problems: [] })
    const data = ['--data', join(directory, '.millrace')]
    expect(await millrace(['run', ...at, ...data])).toMatchObject({ code: 0 })
    const compared = await millrace([
      'verify',
      ...at,
      ...data,
      '--target',
      'cluster',
      '--engines',
      'duckdb,spark',
      '--json',
    ])
    expect(compared.code, compared.stdout + compared.stderr).toBe(0)
    const { datasets } = JSON.parse(compared.stdout) as { datasets: EngineVerification[] }
    expect(datasets.map(({ dataset }) => dataset)).toContain('login_times')
    for (const found of datasets) expect(found).toMatchObject({ equal: true })
  },
)

test('every Nexmark query', async () => {
  const sent = [...arrivals(5_000, { seed: 1, rate: 200, baseTime: Date.parse('2015-07-14T23:59:50Z') }, { seed: 1 })]
  const home = await Home.make()
  const runtime = await home.open(await declared())
  for (const name of STREAMS) {
    const lines = sent.filter((arrival) => arrival.stream === name).map(({ line }) => Buffer.from(line).toString())
    await runtime.append(name, batchOf(lines.map((line) => line.trimEnd())))
  }
  await runtime.settle()
  expect(await expectSame(runtime)).toBeGreaterThan(5_000)
})

test('rows that differ are shown by column', async () => {
  const numbers = stream('numbers', { columns: { id: t.int(), name: t.string() } })
  const told = table('told', {
    sql: {
      default: sql`select id, name, dayofweek(date '2026-01-04') as day from ${numbers}`,
      spark: sql`select id, upper(name) as name, dayofweek(date '2026-01-04') as day from ${numbers} where id < 3`,
    },
  })
  const home = await Home.make()
  const runtime = await home.open([numbers, told])
  await send(
    runtime,
    'numbers',
    [1, 2, 3].map((id) => ({ id, name: id === 1 ? 'A' : 'b' })),
  )
  await runtime.settle()
  const { lake } = runtime.warehouse
  const spark = new SparkEngine({ lake, url: sparkUrl(), catalog: { directory: lake.root } })
  onTestFinished(() => spark.close())
  expect(await verifyEngines(runtime, 'told', [duckdbEngine(runtime.database), spark])).toEqual({
    dataset: 'told',
    equal: false,
    rows: [
      { engine: 'duckdb', count: 3 },
      { engine: 'spark', count: 2 },
    ],
    different: 5,
    examples: [
      { row: { id: '1', name: 'A' }, columns: [{ name: 'day', values: { duckdb: '0', spark: '1' } }] },
      {
        row: { id: '2' },
        columns: [
          { name: 'name', values: { duckdb: 'b', spark: 'B' } },
          { name: 'day', values: { duckdb: '0', spark: '1' } },
        ],
      },
      { row: { id: '3', name: 'b', day: '0' }, only: 'duckdb', columns: [] },
    ],
  })
})
