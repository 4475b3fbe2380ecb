import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { expect } from 'vitest'
import { type Arrival, arrivals } from '../../benchmarks/nexmark/arrivals.ts'
import { difference } from '../../benchmarks/nexmark/difference.ts'
import { STREAMS, type StreamName } from '../../benchmarks/nexmark/generator.ts'
import { ORACLE, views } from '../../benchmarks/nexmark/oracle.ts'
import { Random } from '../../benchmarks/nexmark/random.ts'
import type { Declaration } from '../../src/project/dataset.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { Home } from '../runtime/home.ts'

/** Slow enough that the events span several windows and, from these times on, a midnight or an hour that q14 looks at. */
const RATE = 200
const BASE_TIMES = ['2015-07-14T23:59:20Z', '2015-07-15T07:59:30Z', '2015-07-15T18:59:40Z'].map((time) =>
  Date.parse(time),
)

/**
 * Lets events come in as the seed says (batches of any size, in disorder, some twice, some late; with stops and crashes
 * in between) and compares what each query's table then publishes with the oracle's answer over all events.
 */
export async function expectOracle(declarations: readonly Declaration[], seed: number, events: number): Promise<void> {
  const random = new Random(seed, 3)
  const sent = [
    ...arrivals(
      events,
      { seed, rate: RATE, baseTime: BASE_TIMES[seed % BASE_TIMES.length]! },
      { seed, disorder: 1_500, duplicates: 0.03, late: [{ share: 0.005, from: 5_000, to: 25_000 }] },
    ),
  ]
  const home = await Home.make()
  const runtime = await deliver(home, declarations, sent, random)
  await runtime.settle()
  const oracle = await Oracle.over(sent)
  try {
    for (const { name, kind } of runtime.project.order) {
      if (kind === 'stream') await expectConserved(runtime, name as StreamName, sent)
      else {
        const { rows, ...difference } = await oracle.difference(name, await runtime.publishedSql(name))
        expect.soft(rows, `rows of ${name}, seed ${seed}`).toBeGreaterThan(0)
        expect.soft(difference, `${name}, seed ${seed}`).toEqual({ missing: 0, extra: 0, examples: [] })
      }
    }
    expect(home.fatal).toEqual([])
  } finally {
    await oracle.close()
    await home.remove()
  }
}

/** Posts everything, a batch after another, with what may happen in between. */
async function deliver(
  home: Home,
  declarations: readonly Declaration[],
  sent: readonly Arrival[],
  random: Random,
): Promise<Runtime> {
  let runtime = await home.open(declarations)
  for (let at = 0, i = 0; at < sent.length; i++) {
    const part = sent.slice(at, (at += 1 + Math.floor(2 ** (random.unit() * 13))))
    for (const stream of STREAMS) {
      const batch = batchOf(part, stream, `${stream}-${i}`)
      if (batch.records === 0) continue
      await runtime.append(stream, batch)
      // The client did not see the answer.
      if (random.below(8) === 0) await runtime.append(stream, batch)
    }
    switch (random.below(16)) {
      case 0:
        await home.crash(runtime)
        runtime = await home.open(declarations)
        break
      case 1:
        await home.stop(runtime)
        runtime = await home.open(declarations)
        break
      case 2:
      case 3:
        await runtime.settle()
        break
      case 4:
      case 5:
        await runtime.stream(STREAMS[random.below(STREAMS.length)]!).drain()
    }
  }
  return runtime
}

function batchOf(part: readonly Arrival[], stream: StreamName, key: string) {
  const lines = part.filter((arrival) => arrival.stream === stream).map(({ line }) => line)
  return { lines: Buffer.concat(lines), records: lines.length, key }
}

/** Every event counts once, and those that came again are counted as such. */
async function expectConserved(runtime: Runtime, name: StreamName, sent: readonly Arrival[]): Promise<void> {
  const own = sent.filter(({ stream }) => stream === name)
  const { received, accepted, duplicates, quarantined } = runtime.stream(name).counts
  const repeated = own.filter(({ repeat }) => repeat).length
  expect({ received, accepted, duplicates, quarantined }, name).toEqual({
    received: own.length,
    accepted: own.length - repeated,
    duplicates: repeated,
    quarantined: 0,
  })
}

/** All events in files, and a DuckDB that has nothing to do with the platform's. */
class Oracle {
  readonly #directory: string
  readonly #instance: DuckDBInstance

  private constructor(directory: string, instance: DuckDBInstance) {
    this.#directory = directory
    this.#instance = instance
  }

  static async over(sent: readonly Arrival[]): Promise<Oracle> {
    const directory = await mkdtemp(join(tmpdir(), 'millrace-nexmark-'))
    await mkdir(directory, { recursive: true })
    for (const stream of STREAMS) await writeFile(join(directory, `${stream}.ndjson`), batchOf(sent, stream, '').lines)
    return new Oracle(directory, await DuckDBInstance.create(':memory:'))
  }

  async difference(query: string, published: string) {
    const connection = await this.#instance.connect()
    try {
      await connection.run("SET TimeZone = 'UTC'")
      for (const view of views(this.#directory, true)) await connection.run(view)
      return await difference(connection, published, ORACLE[query]!)
    } finally {
      connection.closeSync()
    }
  }

  async close(): Promise<void> {
    this.#instance.closeSync()
    await rm(this.#directory, { recursive: true, force: true })
  }
}
