import { expect, test } from 'vitest'
import { sql, stream, t, table, within } from '../../src/index.ts'
import { verify } from '../../src/runtime/verify.ts'
import { Home, query, send } from './home.ts'

// What docs/event-time.md tells people to write, over one story that comes in two halves, the second with late events.

const readings = stream('readings', {
  columns: { id: t.int(), sensor: t.string(), taken: t.timestamp(), value: t.int() },
  time: 'taken',
  unique: { columns: ['id'], horizon: '1 day' },
})
const alarms = stream('alarms', { columns: { id: t.int(), sensor: t.string(), raised: t.timestamp() }, time: 'raised' })
const prices = stream('prices', { columns: { kind: t.string(), since: t.timestamp(), price: t.int() }, time: 'since' })

const declarations = [
  readings,
  alarms,
  prices,
  table('last', { key: 'sensor', version: 'taken', sql: sql`select sensor, taken, value from ${readings}` }),
  table('first', {
    key: 'sensor',
    version: 'rank',
    sql: sql`select sensor, -epoch_us(taken) as rank, value from ${readings}`,
  }),
  table('changes', {
    window: { size: '1 minute' },
    sql: sql`select e.id, e.sensor, e.value from ${readings} e where e.value is distinct from
      (select arg_max(p.value, p.taken) from ${within(readings, { before: '1 day' })} p where p.sensor = e.sensor and p.taken < e.taken)`,
  }),
  table('answered', {
    window: { size: '1 minute' },
    sql: sql`select a.id as alarm, r.id as reading from ${alarms} a join ${within(readings, { after: '10 minutes' })} r
      on r.sensor = a.sensor and r.taken > a.raised and r.taken <= a.raised + interval 10 minutes`,
  }),
  table('unanswered', {
    window: { size: '1 minute' },
    sql: sql`select a.id as alarm from ${alarms} a left join ${within(readings, { after: '10 minutes' })} r
      on r.sensor = a.sensor and r.taken > a.raised and r.taken <= a.raised + interval 10 minutes where r.id is null`,
  }),
  table('priced', {
    window: { size: '1 minute' },
    sql: sql`select id, value * price as amount from ${readings} r asof join ${within(prices, { before: 'always' })} p
      on p.kind = r.sensor and p.since <= r.taken`,
  }),
  table('totals', {
    sql: sql`select id, sensor, sum(value) over (partition by sensor order by taken, id) as total from ${readings}`,
  }),
]

const at = (minutes: number) => new Date(Date.UTC(2026, 2, 1, 12) + minutes * 60_000).toISOString()
const reading = (id: number, sensor: string, minutes: number, value: number) => ({
  id,
  sensor,
  taken: at(minutes),
  value,
})

test('the recipes of the documentation give what they say', async () => {
  const home = await Home.make()
  const runtime = await home.open(declarations)
  const ids = async (name: string, column = 'id') =>
    (await query(runtime, `select ${column} as x from {${name}} order by all`)).map(({ x }) => x)

  await send(runtime, 'prices', [
    { kind: 'a', since: at(-60), price: 10 },
    { kind: 'a', since: at(4), price: 20 },
    { kind: 'b', since: at(-60), price: 1 },
    { kind: 'b', since: at(120), price: 2 },
  ])
  await send(runtime, 'readings', [
    reading(1, 'a', 0, 5),
    reading(2, 'a', 1, 5),
    reading(3, 'a', 5, 6),
    reading(4, 'b', 6, 1),
    reading(1, 'a', 0, 5),
    reading(5, 'b', 60, 1),
  ])
  await send(runtime, 'alarms', [
    { id: 1, sensor: 'a', raised: at(0.5) },
    { id: 2, sensor: 'b', raised: at(7) },
    { id: 3, sensor: 'b', raised: at(90) },
  ])
  await runtime.settle()

  expect(await query(runtime, 'select sensor, value from {last} order by sensor')).toEqual([
    { sensor: 'a', value: 6 },
    { sensor: 'b', value: 1 },
  ])
  expect(await query(runtime, 'select sensor, value from {first} order by sensor')).toEqual([
    { sensor: 'a', value: 5 },
    { sensor: 'b', value: 1 },
  ])
  expect(await ids('changes')).toEqual([1, 3, 4])
  expect(await query(runtime, 'select alarm, reading from {answered} order by all')).toEqual([
    { alarm: 1, reading: 2 },
    { alarm: 1, reading: 3 },
  ])
  expect(await ids('unanswered', 'alarm')).toEqual([2])
  expect(await query(runtime, 'select id, amount from {priced} order by id')).toEqual([
    { id: 1, amount: 50 },
    { id: 2, amount: 50 },
    { id: 3, amount: 120 },
    { id: 4, amount: 1 },
  ])
  expect(await query(runtime, 'select id, total::int as total from {totals} order by id')).toEqual([
    { id: 1, total: 5 },
    { id: 2, total: 10 },
    { id: 3, total: 16 },
    { id: 4, total: 1 },
    { id: 5, total: 2 },
  ])

  // Late: the value was another in between, the second alarm was answered after all, and the price had changed earlier.
  await send(runtime, 'readings', [reading(6, 'a', 0.75, 7), reading(7, 'b', 8, 1)])
  await send(runtime, 'prices', [{ kind: 'a', since: at(0.9), price: 11 }])
  await runtime.settle()
  expect(await ids('changes')).toEqual([1, 2, 3, 4, 6])
  expect(await ids('unanswered', 'alarm')).toEqual([])
  expect(await query(runtime, 'select id, amount from {priced} order by id')).toEqual([
    { id: 1, amount: 50 },
    { id: 2, amount: 55 },
    { id: 3, amount: 120 },
    { id: 4, amount: 1 },
    { id: 6, amount: 70 },
    { id: 7, amount: 1 },
  ])
  for (const { name } of declarations) expect(await verify(runtime, name), name).toMatchObject({ equal: true })
})
