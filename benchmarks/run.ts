// npm run --silent bench -- NAME [--json] [--events N] [--queries q0,q1] [--plot FILE]   The last line of standard output is one JSON object.
import { parseArgs } from 'node:util'

const BENCHMARKS: Record<
  string,
  { about: string; load: () => Promise<{ run(options: BenchOptions): Promise<Record<string, unknown>> }> }
> = {
  ingest: {
    about: 'events over HTTP until committed and queryable, beside a bare DuckDB COPY',
    load: () => import('./ingest.ts'),
  },
  freshness: {
    about: 'from request start to visible in a query, at half the ingest rate',
    load: () => import('./freshness.ts'),
  },
  windows: {
    about: 'from the watermark passing a window’s end to the window visible in a query',
    load: () => import('./windows.ts'),
  },
  commit: { about: 'lake commits after 1,000 commits', load: () => import('./commit.ts') },
  table: { about: 'refreshing one small interval, beside the bare statement', load: () => import('./table.ts') },
  functions: {
    about: 'rows through TypeScript functions, beside loops of plain Node',
    load: () => import('./functions.ts'),
  },
  recovery: {
    about: 'kill -9 at ten billion events a day: until ready, until caught up, and how fast when behind or replayed',
    load: () => import('./recovery.ts'),
  },
  startup: { about: '`millrace start` to ready with 100 datasets', load: () => import('./startup.ts') },
  nexmark: { about: 'the queries of Nexmark, each beside one bulk statement', load: () => import('./nexmark.ts') },
  'kafka-log': {
    about: 'records through a topic of Kafka, beside the embedded log; needs KAFKA_BROKERS',
    load: () => import('./kafka-log.ts'),
  },
  scale: {
    about: 'the same records on Kafka, and by several processes; needs KAFKA_BROKERS and POSTGRES_URL',
    load: () => import('./scale.ts'),
  },
  'structured-streaming': {
    about: 'Nexmark on Spark Structured Streaming over Kafka, beside Millrace embedded; needs KAFKA_BROKERS',
    load: () => import('./structured-streaming.ts'),
  },
  spark: { about: 'a step on Spark, beside plain PySpark doing the same', load: () => import('./spark.ts') },
  memory: {
    about: 'peak memory while 20 M events pass, or events of Nexmark through each of --queries',
    load: () => import('./memory.ts'),
  },
}

export interface BenchOptions {
  /** Events to send; each benchmark has its own default. */
  events?: number
  /** Names of queries, for the benchmarks that have several. Default: all. */
  queries?: readonly string[]
  /** Where to leave a plot (SVG), for the benchmarks that make one. */
  plot?: string
  /** Says what is going on, on standard error. */
  say(text: string): void
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean' },
    events: { type: 'string' },
    queries: { type: 'string' },
    plot: { type: 'string' },
    help: { type: 'boolean' },
  },
})
const [name] = positionals
const benchmark = name === undefined ? undefined : BENCHMARKS[name]
if (!benchmark || values.help) {
  console.error('Usage: npm run --silent bench -- NAME [--json] [--events N] [--queries q0,q1] [--plot FILE]\n')
  for (const [key, { about }] of Object.entries(BENCHMARKS)) console.error(`  ${key.padEnd(10)} ${about}`)
  process.exit(values.help ? 0 : 2)
}
const { run } = await benchmark.load()
const result = await run({
  say: (text) => void (values.json || console.error(text)),
  ...(values.events === undefined ? {} : { events: Number(values.events) }),
  ...(values.plot === undefined ? {} : { plot: values.plot }),
  ...(values.queries === undefined ? {} : { queries: values.queries.split(',') }),
})
if (!values.json) {
  for (const [key, value] of Object.entries(result))
    if (!Array.isArray(value)) console.error(`${key.padEnd(24)} ${String(value)}`)
}
console.log(JSON.stringify({ benchmark: name, ...result }))
process.exit(0)
