import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeEvents } from './events.ts'
import { systemClock } from '../src/base/clock.ts'
import { openState } from '../src/state/state.ts'
import { type ServerProcess, inTemporary, quantile, round, runClient, sleep, startServer, statusOf } from './harness.ts'
import { plotSvg } from './plot.ts'
import type { BenchOptions } from './run.ts'

const PARTITIONS = 4
/** Of each measurement with several processes; the median is told. */
const RUNS = 3
/** Records that are there before anything is measured, so that every thread of every worker has done its work before. */
const WARMING = 100_000

/**
 * The same records through the embedded log and through Kafka, each until all are committed; then through a cluster: what one and two
 * `ingest` processes take, what one, two and four `process` workers gate of one topic, and what they make of it by a TypeScript
 * function with some 15 µs of work a row. Workers have a thread for lanes and one for functions each, and are warm: what is measured
 * begins when all have their partitions and have done their work before. Processors are shared with broker, database and client, so
 * what counts of several processes is the processor time per record.
 */
export async function run({ events = 1_000_000, plot, say }: BenchOptions): Promise<Record<string, unknown>> {
  const brokers = addressOf('KAFKA_BROKERS')
  const state = addressOf('POSTGRES_URL')
  return inTemporary(async (directory) => {
    const file = join(directory, 'events.ndjson')
    const warming = join(directory, 'warming.ndjson')
    say(`generating ${events} events`)
    await writeEvents(file, events)
    await writeEvents(warming, WARMING, events)
    const home = { directory, brokers, state, file, warming, events }
    const embedded = await ingestAll(home, 'embedded', [])
    say(`embedded: ${Math.round(embedded)} events/s`)
    const kafka = await ingestAll(home, 'kafka', ['--target', 'kafka'])
    say(`kafka: ${Math.round(kafka)} events/s`)
    const several = async (what: string, counts: readonly number[], once: (count: number) => Promise<Measured>) => {
      const runs: Measured[] = []
      // In turns, so that what else the machine does meanwhile falls on all alike.
      for (let i = 0; i < RUNS; i++) for (const processes of counts) runs.push(await once(processes))
      return counts.map((processes) => {
        const median = medianOf(runs.filter((each) => each.processes === processes))
        say(`${what}, ${processes}: ${median.events_per_second} events/s, ${median.cpu_us_per_event} µs an event`)
        return median
      })
    }
    const ingest = await several('ingest', [1, 2], (processes) => ingestBy(home, processes))
    const gate = await several('gate', [1, 2, 4], (processes) => workBy(home, processes, 'clicks'))
    const functions = await several('functions', [1, 2, 4], (processes) => workBy(home, processes, 'parsed'))
    if (plot !== undefined) await writeFile(plot, plotOf({ ingest, gate, 'gate and function': functions }))
    return {
      events,
      embedded_events_per_second: Math.round(embedded),
      kafka_events_per_second: Math.round(kafka),
      ratio: round(kafka / embedded),
      ingest,
      gate,
      functions,
    }
  })
}

/** What so many processes took for a number of events. */
interface Measured {
  readonly processes: number
  readonly events_per_second: number
  readonly cpu_us_per_event: number
}

function medianOf(runs: readonly Measured[]): Measured {
  const median = (of: (run: Measured) => number) => quantile(runs.map(of), 0.5)
  return {
    processes: runs[0]!.processes,
    events_per_second: median((run) => run.events_per_second),
    cpu_us_per_event: median((run) => run.cpu_us_per_event),
  }
}

function plotOf(series: Readonly<Record<string, readonly Measured[]>>): string {
  const points = (runs: readonly Measured[], of: (run: Measured) => number) =>
    runs.map((each) => ({ x: each.processes, y: of(each) }))
  const all = Object.entries(series)
  return plotSvg(
    [
      all.map(([title, runs]) => ({
        title,
        unit: 'events a second',
        points: points(runs, (each) => each.events_per_second),
      })),
      all.map(([title, runs]) => ({
        title,
        unit: 'core µs an event (band: ± 20 %)',
        points: points(runs, (each) => each.cpu_us_per_event),
        band: 0.2,
      })),
    ],
    'processes',
  )
}

interface Home {
  readonly directory: string
  readonly brokers: string
  readonly state: string
  readonly file: string
  readonly warming: string
  readonly events: number
}

/** A function with the work of parsing and hashing: some 15 µs a row, beside what it takes to bring the row to it and back. */
const FUNCTION = `
import { createHash } from 'node:crypto'
export const parsed = clicks.map('parsed', {
  columns: { event_id: t.string(), section: t.string(), visitor: t.string(), price: t.decimal(10, 2) },
  map: ({ event_id, user_id, page, price }) => {
    const { pathname } = new URL(page, 'https://shop.example.org')
    let visitor = user_id
    for (let i = 0; i < 20; i++) visitor = createHash('sha256').update(visitor).update(event_id).digest('hex')
    return { event_id, section: pathname.split('/')[1] ?? '', visitor, price }
  },
})
`

function addressOf(name: string): string {
  const address = process.env[name]
  if (address === undefined) throw new Error(`${name} is not set: npm run services -- run -- npm run bench -- scale`)
  return address
}

function idOf(project: string): string {
  return `bench_${process.pid}_${project}`
}

/** A project with one stream, and data of its own. */
async function projectIn(
  { directory, brokers, state }: Home,
  name: string,
  partitions: number,
  more = '',
): Promise<string> {
  const project = join(directory, name)
  await mkdir(project)
  const id = idOf(name)
  const log = JSON.stringify({ kind: 'kafka', brokers: brokers.split(',') })
  // Processes of several are of one size: what one has for itself does not depend on how many there are.
  const limits = partitions > 1 ? 'limits: { laneWorkers: 1, functionWorkers: 1 }, ' : ''
  await writeFile(
    join(project, 'millrace.config.ts'),
    `export default { name: '${id}', ${limits}targets: {
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
${more}`,
  )
  return project
}

/** Events a second from the first request until all are committed. */
async function ingestAll(home: Home, name: string, options: readonly string[]): Promise<number> {
  const project = await projectIn(home, name, 1)
  const server = await startServer(project, join(project, 'data'), {}, options)
  try {
    const begun = performance.now()
    await post(server, home.file)
    await settled(server, home.events)
    return home.events / ((performance.now() - begun) / 1_000)
  } finally {
    await server.stop()
  }
}

/** What so many `ingest` processes take together, each from a client of its own. */
async function ingestBy(home: Home, processes: number): Promise<Measured> {
  const project = await projectIn(home, nameOf('ingest', processes), PARTITIONS)
  const servers = await startAll(project, 'ingest', processes)
  try {
    await Promise.all(servers.map((server) => post(server, home.warming)))
    const begun = performance.now()
    const cpu = await cpuSeconds(servers)
    await Promise.all(servers.map((server) => post(server, home.file)))
    const events = home.events * processes
    return measured(processes, events, begun, (await cpuSeconds(servers)) - cpu)
  } finally {
    await Promise.all(servers.map((server) => server.stop()))
  }
}

/** What so many workers need for what waits in a topic until a dataset of it is complete; those of `parsed` gate it and call its function. */
async function workBy(home: Home, processes: number, dataset: 'clicks' | 'parsed'): Promise<Measured> {
  const name = nameOf(dataset, processes)
  const project = await projectIn(home, name, PARTITIONS, dataset === 'parsed' ? FUNCTION : '')
  const [front] = (await startAll(project, 'ingest', 1)) as [ServerProcess]
  const servers: ServerProcess[] = []
  try {
    servers.push(...(await startAll(project, 'process', processes)))
    await shared(home, name, processes)
    await post(front, home.warming)
    await settled(front, WARMING, dataset)
    // What they find then is the backlog: how fast a client or the broker is says nothing of them.
    for (const server of servers) server.process.kill('SIGSTOP')
    await post(front, home.file)
    const begun = performance.now()
    const cpu = await cpuSeconds(servers)
    for (const server of servers) server.process.kill('SIGCONT')
    await settled(front, WARMING + home.events, dataset)
    return measured(processes, home.events, begun, (await cpuSeconds(servers)) - cpu)
  } finally {
    await Promise.all([front, ...servers].map((server) => server.stop()))
  }
}

let projects = 0

function nameOf(what: string, processes: number): string {
  return `${what}_${processes}_${++projects}`
}

function measured(processes: number, events: number, begunMs: number, cpuSeconds: number): Measured {
  return {
    processes,
    events_per_second: Math.round(events / ((performance.now() - begunMs) / 1_000)),
    cpu_us_per_event: round((cpuSeconds / events) * 1e6, 2),
  }
}

/** Waits until the workers have their partitions, as many each. */
async function shared({ state: url }: Home, name: string, workers: number): Promise<void> {
  const state = await openState({ kind: 'postgres', url, schema: idOf(name) }, { clock: systemClock })
  try {
    for (;;) {
      const leases = await state.leases.list('process/')
      const holders = Map.groupBy(leases, ({ holder }) => holder)
      const isEven = [...holders.values()].every((held) => held.length === PARTITIONS / workers)
      if (leases.length === PARTITIONS && holders.size === workers && isEven) return
      await sleep(200)
    }
  } finally {
    await state.close()
  }
}

function startAll(project: string, role: string, count: number): Promise<ServerProcess[]> {
  const options = ['--target', 'cluster', '--role', role]
  return Promise.all(
    Array.from({ length: count }, (_, i) => startServer(project, join(project, `${role}-${i}`), {}, options)),
  )
}

function post(server: ServerProcess, file: string): Promise<unknown> {
  return runClient(`${server.url}/v1/streams/clicks`, file, 1_000, 8, 0)
}

/** Waits until a stream holds so many events and, for a table of it, nothing of them is due. */
async function settled(server: ServerProcess, events: number, dataset = 'clicks'): Promise<void> {
  for (;;) {
    const { received, lag } = await statusOf(server.url, 'clicks')
    const isSettled = received >= events && lag === 0
    if (isSettled && (dataset === 'clicks' || (await statusOf(server.url, dataset)).lag === 0)) return
    await sleep(20)
  }
}

async function cpuSeconds(servers: readonly ServerProcess[]): Promise<number> {
  const seconds = await Promise.all(servers.map((server) => server.cpu()))
  return seconds.reduce((sum, each) => sum + each, 0)
}
