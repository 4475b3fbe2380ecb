import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { DuckDBInstance } from '@duckdb/node-api'
import { expect } from 'vitest'
import { type Arrival, arrivals } from '../../benchmarks/nexmark/arrivals.ts'
import { difference } from '../../benchmarks/nexmark/difference.ts'
import { STREAMS, type StreamName } from '../../benchmarks/nexmark/generator.ts'
import { ORACLE, views } from '../../benchmarks/nexmark/oracle.ts'
import { Random } from '../../benchmarks/nexmark/random.ts'
import { type Declaration, isDeclaration } from '../../src/project/dataset.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { Home } from '../runtime/home.ts'

const PROJECT = new URL('../../benchmarks/nexmark/project/', import.meta.url)

/** All that the benchmark's project declares, with streams that tell repetitions by whole rows. */
export async function declared(): Promise<Declaration[]> {
  process.env['NEXMARK_UNIQUE'] = '1'
  const files = (await readdir(fileURLToPath(PROJECT))).map((file) => fileURLToPath(new URL(file, PROJECT)))
  const exported = await Promise.all(files.map((file) => import(pathToFileURL(file).href) as Promise<object>))
  return exported.flatMap((names) => Object.values(names).filter(isDeclaration))
}

/** All queries. Tables by day take up bids however late they are, new users their input of half a minute. */
export async function everything(): Promise<Suite> {
  return { declarations: await declared(), acceptLateMs: { persons: 30_000, auctions: 30_000, bids: Infinity } }
}

/** The queries over windows alone: what is later than half a minute is held back. */
export async function windows(): Promise<Suite> {
  const chosen = ['q5', 'q7', 'q8', 'q11']
  return {
    declarations: (await declared()).filter(({ kind, name }) => kind === 'stream' || chosen.includes(name)),
    acceptLateMs: { persons: 30_000, auctions: 30_000, bids: 30_000 },
  }
}

/** Slow enough that the events span several windows and, from these times on, a midnight or an hour that q14 looks at. */
const RATE = 200
const BASE_TIMES = ['2015-07-14T23:59:20Z', '2015-07-15T07:59:30Z', '2015-07-15T18:59:40Z'].map((time) =>
  Date.parse(time),
)
const LATENESS_MS = 4_000

interface Suite {
  readonly declarations: readonly Declaration[]
  /** How far behind the watermark the tables take up an event of each stream: the longest that one of them declares. */
  readonly acceptLateMs: Readonly<Record<StreamName, number>>
}

/**
 * Lets events come in as the seed says (batches of any size, in disorder, some twice, some late, some too late; with stops
 * and crashes in between) and compares what each query's table then publishes with the oracle's answer over all events.
 */
export async function expectOracle({ declarations, acceptLateMs }: Suite, seed: number, events: number): Promise<void> {
  const random = new Random(seed, 3)
  const sent = [
    ...arrivals(
      events,
      { seed, rate: RATE, baseTime: BASE_TIMES[seed % BASE_TIMES.length]! },
      {
        seed,
        disorder: 1_500,
        duplicates: 0.03,
        late: [
          { share: 0.005, from: 5_000, to: 25_000 },
          { share: 0.003, from: 45_000, to: 90_000 },
        ],
      },
    ),
  ]
  const home = await Home.make()
  const runtime = await deliver(home, declarations, sent, random)
  await runtime.settle()
  const judged = Object.fromEntries(
    STREAMS.map((stream) => [
      stream,
      judge(
        sent.filter((arrival) => arrival.stream === stream),
        acceptLateMs[stream],
      ),
    ]),
  ) as Record<StreamName, Judged>
  const oracle = await Oracle.over(STREAMS.flatMap((stream) => judged[stream].accepted))
  try {
    for (const { name, kind } of runtime.project.order) {
      if (kind === 'stream') {
        const { accepted, counts } = judged[name as StreamName]
        expect
          .soft(runtime.stream(name).counts, `${name}, seed ${seed}`)
          .toMatchObject({ ...counts, accepted: accepted.length })
      } else if (name in ORACLE) {
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

interface Judged {
  readonly accepted: readonly Arrival[]
  readonly counts: { readonly received: number; readonly duplicates: number; readonly quarantined: number }
}

/** What becomes of a stream's events by the order in which they come, and by that alone. */
function judge(own: readonly Arrival[], acceptLateMs: number): Judged {
  const seen = new Set<string>()
  const accepted: Arrival[] = []
  let newest = -Infinity
  let [duplicates, quarantined] = [0, 0]
  for (const arrival of own) {
    const line = Buffer.from(arrival.line).toString('latin1')
    if (newest - LATENESS_MS - arrival.time > acceptLateMs) quarantined++
    else if (seen.has(line)) duplicates++
    else {
      seen.add(line)
      accepted.push(arrival)
      newest = Math.max(newest, arrival.time)
    }
  }
  return { accepted, counts: { received: own.length, duplicates, quarantined } }
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
    const part = sent.slice(at, (at += 1 + Math.floor(2 ** (random.unit() * 12))))
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
    for (const stream of STREAMS) await writeFile(join(directory, `${stream}.ndjson`), batchOf(sent, stream, '').lines)
    return new Oracle(directory, await DuckDBInstance.create(':memory:'))
  }

  async difference(query: string, published: string) {
    const connection = await this.#instance.connect()
    try {
      await connection.run("SET TimeZone = 'UTC'")
      for (const view of views(this.#directory)) await connection.run(view)
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
