import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { MillraceError } from '../src/base/errors.ts'
import { loadProject } from '../src/cli/load-project.ts'
import type { Dataset } from '../src/project/dataset.ts'
import { geometricMean, inTemporary, round } from './harness.ts'
import { BATCH, PROJECT, SEED, queriesOf, streamsOf, throughServer } from './nexmark.ts'
import { type Written, writeNexmark } from './nexmark/files.ts'
import type { StreamName } from './nexmark/generator.ts'
import { type Narrowing, Reference } from './nexmark/reference.ts'
import { Topics } from './nexmark/topics.ts'
import type { BenchOptions } from './run.ts'
import { pythonWithSpark } from './spark/python.ts'
import { SparkServer } from './spark/server.ts'
import { StreamingQueries } from './spark/streaming.ts'

/** Spark has more than it needs: what limits it are the processors. */
const MEMORY = '4g'

/**
 * Where Spark's result is no different but cut elsewhere. It shows pairs of q8 before their window has ended; and auctions of q9 only
 * once no bid can come that is on time, a bound later than the auction itself.
 */
const NARROWINGS: Readonly<Record<string, Narrowing>> = {
  q8: ({ found, expected }) => ({
    found: `(FROM ${found} WHERE window_end <= (SELECT max(window_end) FROM ${expected}))`,
    expected,
  }),
  q9: ({ found, expected }) => ({
    found,
    expected: `(FROM ${expected} WHERE date_time <= (SELECT max(date_time)::TIMESTAMP FROM ${found}))`,
  }),
}

interface Measured {
  readonly query: string
  /** Events of the streams that the query reads. */
  readonly events: number
  readonly millrace_events_per_second: number
  /** All events are in Kafka before the clock starts. */
  readonly spark_backlog_events_per_second?: number
  /** Events are sent to Kafka while the query runs. */
  readonly spark_live_events_per_second?: number
  /** Over the faster of the two. */
  readonly factor?: number
  /** Processor time of the server an event, and of Spark where it took least: steadier than the clock on a busy machine. */
  readonly millrace_cpu_us: number
  readonly spark_cpu_us?: number
  readonly cpu_factor?: number
  /** Why Spark does not run the query, in its own words. */
  readonly refused?: string
}

/**
 * The same events of Nexmark, on the same machine in the same run: posted to Millrace embedded over HTTP, and through Kafka to Spark
 * Structured Streaming, each until the query's result is committed as an Iceberg table and holds all of them. Both results are compared
 * with those of a bulk statement.
 */
export async function run({ events = 1_000_000, queries, say }: BenchOptions): Promise<Record<string, unknown>> {
  const brokers = process.env['KAFKA_BROKERS']
  if (brokers === undefined)
    throw new MillraceError('invalid', 'no-service', 'KAFKA_BROKERS names no Kafka.', {
      hint: 'npm run services -- run kafka spark -- npm run --silent bench -- structured-streaming',
    })
  const python = await pythonWithSpark()
  return inTemporary(async (directory) => {
    const project = await loadProject(PROJECT)
    say(`generating ${events} events`)
    const files = writeNexmark(directory, events, { seed: SEED })
    const few = join(directory, 'few')
    await mkdir(few)
    const reference = await Reference.over(directory)
    const server = await SparkServer.start({ memory: MEMORY, temporary: directory })
    const spark = new StreamingQueries(python, server.url, brokers)
    const bench: Bench = { directory, brokers, server, spark, reference, files }
    const warmUp = { ...bench, isWarmUp: true, files: writeNexmark(few, Math.ceil(events / 10), { seed: SEED + 1 }) }
    const results: Measured[] = []
    try {
      say(COLUMNS.map(([heading, width]) => heading.padStart(width)).join(''))
      for (const dataset of queriesOf(project, queries)) {
        const result = await measure(dataset, bench, warmUp)
        results.push(result)
        say(COLUMNS.map(([, width, key]) => String(result[key] ?? '-').padStart(width)).join(''))
        if (result.refused !== undefined) say(`       ${result.refused}`)
      }
    } finally {
      reference.close()
      await spark.close()
      await server.kill()
    }
    const factors = results.flatMap(({ factor }) => factor ?? [])
    return {
      events,
      queries: results,
      factor_geometric_mean: geometricMean(factors),
      factor_min: Math.min(...factors),
      cpu_factor_geometric_mean: geometricMean(results.flatMap(({ cpu_factor }) => cpu_factor ?? [])),
    }
  })
}

const COLUMNS: readonly (readonly [heading: string, width: number, key: keyof Measured])[] = [
  ['query', 6, 'query'],
  ['events', 10, 'events'],
  ['Millrace/s', 12, 'millrace_events_per_second'],
  ['Spark backlog/s', 17, 'spark_backlog_events_per_second'],
  ['Spark live/s', 14, 'spark_live_events_per_second'],
  ['factor', 8, 'factor'],
  ['CPU µs', 8, 'millrace_cpu_us'],
  ['Spark µs', 10, 'spark_cpu_us'],
  ['factor', 8, 'cpu_factor'],
]

interface Bench {
  readonly directory: string
  readonly brokers: string
  readonly server: SparkServer
  readonly spark: StreamingQueries
  readonly reference: Reference
  readonly files: Record<StreamName, Written>
  /** Its results are compared with nothing. */
  readonly isWarmUp?: boolean
}

async function measure(dataset: Dataset, bench: Bench, warmUp: Bench): Promise<Measured> {
  const { directory, files, reference } = bench
  const query = dataset.name
  const streams = streamsOf(dataset)
  await reference.run(query)
  const data = join(directory, 'data')
  const { events, seconds, cpuSeconds } = await throughServer(dataset, files, data)
  await reference.expectEqual(query, data)
  await rm(data, { recursive: true })
  const measured = {
    query,
    events,
    millrace_events_per_second: Math.round(events / seconds),
    millrace_cpu_us: round((cpuSeconds / events) * 1e6, 2),
  }
  try {
    await throughSpark(query, streams, false, warmUp)
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code !== 'spark-refuses') throw error
    return { ...measured, refused: error.message }
  }
  const backlog = await throughSpark(query, streams, false, bench)
  const live = await throughSpark(query, streams, true, bench)
  const sparkCpu = Math.min(backlog.cpuSeconds, live.cpuSeconds)
  return {
    ...measured,
    spark_backlog_events_per_second: Math.round(events / backlog.seconds),
    spark_live_events_per_second: Math.round(events / live.seconds),
    factor: round(Math.min(backlog.seconds, live.seconds) / seconds, 2),
    spark_cpu_us: round((sparkCpu / events) * 1e6, 2),
    cpu_factor: round(sparkCpu / cpuSeconds, 2),
  }
}

/**
 * Time until a query's result holds all, from its start with all in Kafka, or from when it runs and the first events are sent.
 */
async function throughSpark(
  query: string,
  streams: readonly StreamName[],
  live: boolean,
  { directory, brokers, server, spark, reference, files, isWarmUp }: Bench,
): Promise<{ seconds: number; cpuSeconds: number }> {
  const result = join(directory, 'spark')
  const topics = await Topics.create(brokers, streams, join(directory, 'topics'))
  try {
    if (!live) await topics.fill(files, BATCH)
    let [begun, idle] = [performance.now(), await server.cpu()]
    const completed = await spark.start({ query, topics: topics.names, directory: result })
    if (live) {
      ;[begun, idle] = [performance.now(), await server.cpu()]
      await topics.fill(files, BATCH)
    }
    await completed()
    const seconds = (performance.now() - begun) / 1_000
    const cpuSeconds = (await server.cpu()) - idle
    if (isWarmUp !== true) await reference.expectEqual(query, result, NARROWINGS[query])
    return { seconds, cpuSeconds }
  } finally {
    await topics.close()
    await rm(result, { recursive: true, force: true })
  }
}
