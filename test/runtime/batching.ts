import { readFile, readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { expect } from 'vitest'
import { check, sql, stream, t, table } from '../../src/index.ts'
import type { Stream } from '../../src/index.ts'
import type { Declaration } from '../../src/project/dataset.ts'
import { maintain } from '../../src/runtime/maintain.ts'
import { replayStream } from '../../src/runtime/replay.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { verify } from '../../src/runtime/verify.ts'
import { Home, batchOf, query } from './home.ts'

/**
 * The law: any split of the same input into requests and micro-batches, any order within lateness, any repetition, and
 * any stops and crashes in between give the rows of one batch over the whole input (DESIGN.md, invariant 4).
 */

const LATENESS_MS = 86_400_000

const columns = {
  invoice: t.string(),
  stock_code: t.string(),
  quantity: t.int(),
  ordered_at: t.timestamp(),
  unit_price: t.decimal(10, 3),
  customer_id: t.string().nullable(),
  country: t.string(),
}
type Sale = Record<keyof typeof columns, string | number | null>
const UNIQUE = ['invoice', 'stock_code', 'quantity', 'ordered_at', 'unit_price', 'customer_id', 'country'] as const

function sales(partitions: number, horizon: boolean): Stream<typeof columns> {
  return stream('sales', {
    columns,
    time: 'ordered_at',
    lateness: '1 day',
    unique: horizon ? { columns: UNIQUE, horizon: '3 days' } : UNIQUE,
    partitions,
    partitionBy: 'day',
    checks: [check.range('unit_price', { min: 0.001 }), check.matches('invoice', /^C?\d{6}$/)],
  })
}

function project(partitions: number, horizon: boolean): Declaration[] {
  const input = sales(partitions, horizon)
  const daily = table('daily', {
    interval: 'day',
    sql: sql`select country, sum(quantity * unit_price) as revenue, count(distinct invoice) as invoices from ${input} group by country`,
    checks: [check.sumEquals('revenue', input, 'quantity * unit_price')],
  })
  const hourly = table('hourly', {
    interval: 'hour',
    partitionBy: 'day',
    sql: sql`select count(*) as lines, min(unit_price) as cheapest from ${input}`,
  })
  const weekly = table('weekly', {
    interval: 'week',
    sql: sql`select country, sum(revenue) as revenue, count(*) as days from ${daily} group by country`,
  })
  const customers = table('customers', {
    sql: sql`select customer_id, min(ordered_at) as first, max(ordered_at) as last, sum(quantity * unit_price) as revenue from ${input} where customer_id is not null group by customer_id`,
  })
  const prices = table('prices', {
    key: 'stock_code',
    version: 'ordered_at',
    sql: sql`select stock_code, ordered_at, unit_price, country from ${input} where quantity > 0`,
  })
  return [input, daily, hourly, weekly, customers, prices]
}

const DATA = fileURLToPath(new URL('../../examples/shop/data/', import.meta.url))

/** Every `step`th of the retail lines, by time; some without a price or with an odd invoice number. */
export async function retail(step: number): Promise<Sale[]> {
  const all: Sale[] = []
  for (const file of (await readdir(DATA)).sort()) {
    const lines = (await readFile(`${DATA}${file}`, 'utf8')).trimEnd().split('\n').slice(1)
    lines.forEach((line, i) => {
      const fields = line.split(',')
      // Descriptions with a comma are in quotes: these few lines are left out.
      if (i % step !== 0 || fields.length !== 8) return
      const [invoice, stock_code, , quantity, ordered_at, unit_price, customer, country] = fields
      all.push({
        invoice: invoice!,
        stock_code: stock_code!,
        quantity: Number(quantity),
        ordered_at: ordered_at!,
        unit_price: unit_price!,
        customer_id: customer === '' ? null : customer!,
        country: country!,
      })
    })
  }
  return all.sort((a, b) => timeOf(a) - timeOf(b))
}

function timeOf(sale: Sale): number {
  return Date.parse(`${String(sale.ordered_at).replace(' ', 'T')}Z`)
}

/** Rows published, as text in any order. */
export async function published(runtime: Runtime): Promise<Record<string, string[]>> {
  const rows = async (name: string) =>
    (
      await query(
        runtime,
        `SELECT * EXCLUDE (${name === 'sales' ? '_partition, _offset' : 'dummy'}) FROM (SELECT *, 0 AS dummy FROM {${name}})`,
      )
    )
      .map((row) => JSON.stringify({ ...row, dummy: undefined }))
      .sort()
  const names = runtime.project.order.map(({ name }) => name)
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await rows(name)] as const)))
}

/** What one batch over the whole input gives. */
export async function oneBatch(input: readonly Sale[]): Promise<Record<string, string[]>> {
  const home = await Home.make()
  const runtime = await home.open(project(1, false))
  await runtime.append('sales', batchOf(input))
  await runtime.settle()
  const rows = await published(runtime)
  await home.stop(runtime)
  return rows
}

/** A way for the input to arrive. */
export interface Arrival {
  readonly seed: number
  readonly partitions: number
  readonly horizon: boolean
  /** Share of records that come a second time. */
  readonly repeated: number
  /** How far records are out of order, as a share of the lateness. */
  readonly disorder: number
  /** Requests, each with the share of what is left that it takes, and what happens after it. */
  readonly requests: readonly { readonly share: number; readonly next: Next }[]
}

/** What happens after a request: nothing, the platform catches up, it is stopped, or killed with the next request under way … */
type Next = 'go on' | 'settle' | 'drain' | 'stop' | 'kill' | 'kill while sending' | 'send again' | 'compact' | 'replay'

export const arrivals: fc.Arbitrary<Arrival> = fc.record({
  seed: fc.integer({ min: 1, max: 2 ** 31 }),
  partitions: fc.constantFrom(1, 1, 2, 3),
  horizon: fc.boolean(),
  repeated: fc.constantFrom(0, 0.05, 0.5),
  disorder: fc.constantFrom(0, 0.1, 1),
  requests: fc.array(
    fc.record({
      share: fc.double({ min: 0.01, max: 0.6, noNaN: true }),
      next: fc.constantFrom<Next>(
        'go on',
        'go on',
        'settle',
        'drain',
        'stop',
        'kill',
        'kill while sending',
        'send again',
        'compact',
        'replay',
      ),
    }),
    { minLength: 1, maxLength: 14, size: 'max' },
  ),
})

export async function expectLaw(
  input: readonly Sale[],
  expected: Record<string, string[]>,
  arrival: Arrival,
): Promise<void> {
  const random = randomOf(arrival.seed)
  const declared = project(arrival.partitions, arrival.horizon)
  const home = await Home.make()
  let runtime = await home.open(declared, { config: { limits: { laneWorkers: 2 } } })
  const open = async () => {
    runtime = await home.open(declared, { config: { limits: { laneWorkers: 2 } } })
  }
  const sent = arranged(input, arrival, random)
  const requests = split(sent, arrival, random)
  for (const [i, { records, next }] of requests.entries()) {
    const batch = batchOf(records, { key: `request-${i}` })
    await runtime.append('sales', batch)
    switch (next) {
      case 'go on':
        break
      case 'settle':
        await runtime.settle()
        break
      case 'drain':
        await runtime.stream('sales').drain()
        break
      case 'stop':
        await home.stop(runtime)
        await open()
        break
      case 'kill':
        await home.crash(runtime)
        await open()
        break
      case 'kill while sending': {
        // Nobody knows whether it arrived: the client sends it again with the same key.
        const following = requests[i + 1]
        const answer =
          following &&
          runtime.append('sales', batchOf(following.records, { key: `request-${i + 1}` })).catch(() => undefined)
        await home.crash(runtime)
        await answer
        await open()
        break
      }
      case 'send again':
        expect(await runtime.append('sales', batch)).toMatchObject({ repeated: true })
        break
      case 'compact':
        await maintain(runtime, { minFiles: 2, rewriteBytesMax: 1e9 })
        break
      case 'replay': {
        const runner = runtime.stream('sales')
        const from = runner.log.partitions.map(({ end }, p) =>
          Math.min(runner.committed.offsets[p]!, Math.floor(end * random())),
        )
        await replayStream(runner, { database: runtime.database, from, superseded: [] })
      }
    }
  }
  await runtime.settle()
  const rows = await published(runtime)
  for (const name of Object.keys(expected)) expect(rows[name], name).toEqual(expected[name])
  const { received, accepted, duplicates, quarantined } = runtime.stream('sales').counts
  expect(received).toBe(sent.length)
  expect(accepted).toBe(expected['sales']!.length)
  expect(received).toBe(accepted + duplicates + quarantined)
  expect(Number((await query(runtime, 'SELECT count(*) AS n FROM {quarantine.sales}'))[0]!['n'])).toBe(quarantined)
  for (const { name } of runtime.project.order) expect(await verify(runtime, name), name).toMatchObject({ equal: true })
  expect(home.fatal).toEqual([])
  await home.remove()
}

/** The input with repetitions, each record at most the lateness behind its time. */
function arranged(input: readonly Sale[], { repeated, disorder }: Arrival, random: () => number): Sale[] {
  const all = input.flatMap((sale) => (random() < repeated ? [sale, sale] : [sale]))
  return all
    .map((sale) => ({ sale, at: timeOf(sale) + random() * disorder * LATENESS_MS }))
    .sort((a, b) => a.at - b.at)
    .map(({ sale }) => sale)
}

function split(sent: readonly Sale[], { requests }: Arrival, random: () => number): { records: Sale[]; next: Next }[] {
  const parts: { records: Sale[]; next: Next }[] = []
  let at = 0
  for (let i = 0; at < sent.length; i++) {
    const { share, next } = requests[i] ?? { share: 1, next: 'go on' as const }
    const size = Math.max(1, Math.floor((sent.length - at) * (i >= requests.length ? 1 : share * random())))
    parts.push({ records: sent.slice(at, at + size), next })
    at += size
  }
  return parts
}

/** A seeded generator of numbers from 0 to 1 (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let z = state
    z = Math.imul(z ^ (z >>> 15), z | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) / 0x1_0000_0000
  }
}
