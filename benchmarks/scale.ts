import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeEvents } from './events.ts'
import { type ServerProcess, inTemporary, round, runClient, sleep, startServer, statusOf } from './harness.ts'
import type { BenchOptions } from './run.ts'

const PARTITIONS = 4

/**
 * The same records through the embedded log and through Kafka, each until all are committed; then through a cluster: how fast one and
 * two `ingest` processes take them, and what one, two and four `process` workers need to gate what waits in one topic. Processors
 * are shared with broker, database and client, so what counts of several processes is the processor time per record.
 */
export async function run({ events = 1_000_000, say }: BenchOptions): Promise<Record<string, unknown>> {
  const brokers = addressOf('KAFKA_BROKERS')
  const state = addressOf('POSTGRES_URL')
  return inTemporary(async (directory) => {
    const file = join(directory, 'events.ndjson')
    say(`generating ${events} events`)
    await writeEvents(file, events)
    const home = { directory, brokers, state, file, events }
    const embedded = await ingestAll(home, 'embedded', [])
    say(`embedded: ${Math.round(embedded)} events/s`)
    const kafka = await ingestAll(home, 'kafka', ['--target', 'kafka'])
    say(`kafka: ${Math.round(kafka)} events/s`)
    const ingest = []
    for (const replicas of [1, 2]) ingest.push(await ingestBy(home, replicas))
    const process = []
    for (const workers of [1, 2, 4]) process.push(await processBy(home, workers))
    return {
      events,
      embedded_events_per_second: Math.round(embedded),
      kafka_events_per_second: Math.round(kafka),
      ratio: round(kafka / embedded),
      ingest,
      process,
    }
  })
}

interface Home {
  readonly directory: string
  readonly brokers: string
  readonly state: string
  readonly file: string
  readonly events: number
}

function addressOf(name: string): string {
  const address = process.env[name]
  if (address === undefined) throw new Error(`${name} is not set: npm run services -- run -- npm run bench -- scale`)
  return address
}

/** A project with one stream, and data of its own. */
async function projectIn({ directory, brokers, state }: Home, name: string, partitions: number): Promise<string> {
  const project = join(directory, name)
  await mkdir(project)
  const id = `bench_${process.pid}_${name}`
  const log = JSON.stringify({ kind: 'kafka', brokers: brokers.split(',') })
  await writeFile(
    join(project, 'millrace.config.ts'),
    `export default { name: '${id}', targets: {
  kafka: { log: ${log} },
  cluster: { log: ${log}, lake: { kind: 'directory', path: '${project}/lake' }, state: { kind: 'postgres', url: '${state}' } },
} }
`,
  )
  await writeFile(
    join(project, 'clicks.ts'),
    `import { check, stream, t } from 'millrace'
export const clicks = stream('clicks', {
  columns: { event_id: t.string(), user_id: t.string(), page: t.string(), action: t.string(), at: t.timestamp(), duration_ms: t.int(), price: t.decimal(10, 2), ref: t.string() },
  time: 'at', lateness: '10 minutes', unique: { columns: ['event_id'], horizon: '1 hour' }, partitionBy: 'day', partitions: ${partitions},
  checks: [check.range('duration_ms', { min: 0 }), check.oneOf('action', ['view', 'click', 'buy'])],
})
`,
  )
  return project
}

/** Events a second from the first request until all are committed. */
async function ingestAll(home: Home, name: string, options: readonly string[]): Promise<number> {
  const project = await projectIn(home, name, 1)
  const server = await startServer(project, join(project, 'data'), {}, options)
  try {
    const begun = performance.now()
    await post(server, home)
    await settled(server, home.events)
    return home.events / ((performance.now() - begun) / 1_000)
  } finally {
    await server.stop()
  }
}

/** What so many `ingest` processes take together, each from a client of its own. */
async function ingestBy(home: Home, replicas: number): Promise<Record<string, unknown>> {
  const project = await projectIn(home, `ingest-${replicas}`, PARTITIONS)
  const servers = await startAll(project, 'ingest', replicas)
  try {
    const begun = performance.now()
    await Promise.all(servers.map((server) => post(server, home)))
    const seconds = (performance.now() - begun) / 1_000
    const records = home.events * replicas
    return {
      replicas,
      events_per_second: Math.round(records / seconds),
      cpu_us_per_event: await cpuPer(servers, records),
    }
  } finally {
    await Promise.all(servers.map((server) => server.stop()))
  }
}

/** What so many workers need for the records that wait in a topic. */
async function processBy(home: Home, workers: number): Promise<Record<string, unknown>> {
  const project = await projectIn(home, `process-${workers}`, PARTITIONS)
  const [front] = (await startAll(project, 'ingest', 1)) as [ServerProcess]
  const servers: ServerProcess[] = []
  try {
    await post(front, home)
    const begun = performance.now()
    servers.push(...(await startAll(project, 'process', workers)))
    await settled(front, home.events)
    const seconds = (performance.now() - begun) / 1_000
    return { workers, seconds: round(seconds, 1), cpu_us_per_event: await cpuPer(servers, home.events) }
  } finally {
    await Promise.all([front, ...servers].map((server) => server.stop()))
  }
}

function startAll(project: string, role: string, count: number): Promise<ServerProcess[]> {
  const options = ['--target', 'cluster', '--role', role]
  return Promise.all(
    Array.from({ length: count }, (_, i) => startServer(project, join(project, `${role}-${i}`), {}, options)),
  )
}

function post(server: ServerProcess, { file }: Home): Promise<unknown> {
  return runClient(`${server.url}/v1/streams/clicks`, file, 1_000, 8, 0)
}

async function settled(server: ServerProcess, events: number): Promise<void> {
  for (;;) {
    const { received, lag } = await statusOf(server.url, 'clicks')
    if (received >= events && lag === 0) return
    await sleep(20)
  }
}

async function cpuPer(servers: readonly ServerProcess[], records: number): Promise<number> {
  const seconds = await Promise.all(servers.map((server) => server.cpu()))
  return round((seconds.reduce((sum, each) => sum + each, 0) / records) * 1e6, 2)
}
