import { expect } from 'vitest'
import { maintain } from '../../src/runtime/maintain.ts'
import type { Lake } from '../../src/lake/lake.ts'
import type { Engine } from '../../src/runtime/engine.ts'
import { Home, query, send } from '../runtime/home.ts'
import { Dice, randomPipeline } from './pipelines.ts'

const BASE_MS = Date.UTC(2026, 2, 1)

interface Event {
  readonly id: number
  readonly ts: string
  readonly who: string
  readonly n: number
}

/** Events in the order in which they are sent: by time but for some disorder, a few much later, a few twice. */
function events(dice: Dice, latenessMs: number): Event[] {
  let now = BASE_MS
  const sent: Event[] = []
  const count = dice.in(10, 120)
  for (let id = 0; id < count; id++) {
    now += dice.in(0, dice.one([500, 4_000, 20_000]))
    const disorder = dice.in(0, latenessMs)
    const late = dice.chance(0.05) ? dice.in(0, 120_000) : 0
    const who = dice.one(['ann', 'bob', 'bob', 'bob', 'cid'])
    sent.push({ id, ts: new Date(now - disorder - late).toISOString(), who, n: dice.in(0, 99) })
    if (dice.chance(0.05)) sent.push(dice.one(sent))
  }
  return sent
}

/** Runs a made-up project over made-up events in made-up portions, with stops in between, and compares with bulk queries: rows compared. */
export async function runPipeline(seed: number, engine?: (lake: Lake) => Engine): Promise<number> {
  const dice = new Dice(seed)
  const { declarations, latenessMs, tables } = randomPipeline(dice)
  const home = await Home.make()
  const open = () => home.open(declarations, engine === undefined ? {} : { engine })
  let runtime = await open()
  const queues = { a: events(dice, latenessMs), b: events(dice, latenessMs) }
  while (queues.a.length + queues.b.length > 0) {
    const name = dice.one(['a', 'b'] as const)
    const portion = queues[name].splice(0, dice.one([5, 30, 200]))
    if (portion.length > 0) await send(runtime, name, portion)
    if (dice.chance(0.4)) await runtime.settle()
    if (dice.chance(0.05)) await maintain(runtime, { minFiles: 2, rewriteBytesMax: Infinity })
    if (dice.chance(0.08)) {
      await home.crash(runtime)
      runtime = await open()
    }
  }
  await runtime.settle()
  for (const dataset of runtime.project.order)
    expect(runtime.scheduler.stateOf(dataset), `${dataset.name} of seed ${seed}`).toEqual({ state: 'ok' })
  const [a, b] = [await runtime.publishedSql('a'), await runtime.publishedSql('b')]
  const watermark = (rows: string) =>
    `((select min(newest) from (select max(ts) as newest from ${rows} group by _partition)) - interval ${latenessMs} millisecond)`
  let compared = 0
  for (const wanted of tables) {
    const { name } = wanted.table
    const columns = runtime.lakeTable(name).fields.map((field) => field.name)
    const published = `SELECT ${columns.join(', ')} FROM ${await runtime.publishedSql(name)}`
    const bulk = `SELECT ${columns.join(', ')} FROM (${wanted.bulk({ a, b, wa: watermark(a), wb: watermark(b) })})`
    const what = `${name} of seed ${seed}`
    expect(await query(runtime, `(${bulk} EXCEPT ALL ${published}) ORDER BY ALL LIMIT 3`), `${what} lacks`).toEqual([])
    expect(
      await query(runtime, `(${published} EXCEPT ALL ${bulk}) ORDER BY ALL LIMIT 3`),
      `${what} has too much`,
    ).toEqual([])
    compared += Number((await query(runtime, `SELECT count(*) AS n FROM (${published})`))[0]!['n'])
  }
  await home.remove()
  return compared
}
