import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadProject } from '../src/cli/load-project.ts'
import type { Dataset } from '../src/project/dataset.ts'
import { type Project, inputsOf } from '../src/project/project.ts'
import { geometricMean, inTemporary, round, runProgram, sleep, startServer, statuses } from './harness.ts'
import { type Written, writeNexmark } from './nexmark/files.ts'
import type { StreamName } from './nexmark/generator.ts'
import { Reference } from './nexmark/reference.ts'
import type { BenchOptions } from './run.ts'

export const PROJECT = fileURLToPath(new URL('nexmark/project', import.meta.url))
export const SEED = 42
const CONNECTIONS = 8
/** Records of a request: less than a second of event time (0.75, 0.75, 0.43), so that requests side by side stay within the lateness. */
export const BATCH: Record<StreamName, number> = { persons: 150, auctions: 450, bids: 4_000 }

interface Measured {
  readonly query: string
  /** Events of the streams that the query reads. */
  readonly events: number
  readonly seconds: number
  readonly events_per_second: number
  readonly reference_events_per_second: number
  readonly ratio: number
  /** The same, when the bulk statement also stores the streams that it reads, whole: the server does. */
  readonly ratio_storing: number
  readonly memory_mb: number
  /** Processor time of the server, and of the bulk statement: steadier than the clock on a busy machine. */
  readonly cpu_seconds: number
  readonly reference_cpu_seconds: number
  readonly rows: number
}

/**
 * Each query in a server of its own: the streams it reads are posted by a process of their own until the query's table has
 * read everything; its rows are compared with those of one bulk statement over the same files, which is timed before and
 * after.
 */
export async function run({ events = 1_000_000, queries, say }: BenchOptions): Promise<Record<string, unknown>> {
  return inTemporary(async (directory) => {
    const project = await loadProject(PROJECT)
    say(`generating ${events} events`)
    const files = writeNexmark(directory, events, { seed: SEED })
    const reference = await Reference.over(directory)
    say(COLUMNS.map(([heading, width]) => heading.padStart(width)).join(''))
    const results: Measured[] = []
    try {
      for (const dataset of queriesOf(project, queries)) {
        const result = await measure(dataset, files, reference, join(directory, 'data'))
        results.push(result)
        say(COLUMNS.map(([, width, key]) => String(result[key]).padStart(width)).join(''))
      }
    } finally {
      reference.close()
    }
    const ratios = results.map(({ ratio }) => ratio)
    const storing = results.map(({ ratio_storing }) => ratio_storing)
    return {
      events,
      queries: results,
      ratio_geometric_mean: geometricMean(ratios),
      ratio_min: Math.min(...ratios),
      ratio_storing_geometric_mean: geometricMean(storing),
      ratio_storing_min: Math.min(...storing),
      memory_max_mb: Math.max(...results.map(({ memory_mb }) => memory_mb)),
    }
  })
}

const COLUMNS: readonly (readonly [heading: string, width: number, key: keyof Measured])[] = [
  ['query', 6, 'query'],
  ['events', 10, 'events'],
  ['seconds', 9, 'seconds'],
  ['events/s', 10, 'events_per_second'],
  ['bulk/s', 10, 'reference_events_per_second'],
  ['ratio', 7, 'ratio'],
  ['storing', 8, 'ratio_storing'],
  ['MB', 6, 'memory_mb'],
  ['CPU s', 7, 'cpu_seconds'],
  ['bulk s', 7, 'reference_cpu_seconds'],
  ['rows', 10, 'rows'],
]

/** The tables of the queries named, or of all, by number. */
export function queriesOf(project: Project, names: readonly string[] | undefined): Dataset[] {
  const all = project.order.filter(({ kind, name }) => kind === 'table' && /^q\d+$/.test(name))
  const chosen = names === undefined ? all : names.map((name) => project.dataset(name))
  return chosen.toSorted((a, b) => Number(a.name.slice(1)) - Number(b.name.slice(1)))
}

/** The streams that a dataset rests on. */
export function streamsOf(dataset: Dataset): StreamName[] {
  const found = dataset.kind === 'stream' ? [dataset.name as StreamName] : inputsOf(dataset).flatMap(streamsOf)
  return [...new Set(found)]
}

async function measure(
  dataset: Dataset,
  files: Record<StreamName, Written>,
  reference: Reference,
  data: string,
): Promise<Measured> {
  const query = dataset.name
  // First: the rows are compared with those of the last statement.
  const stored = await reference.store(streamsOf(dataset))
  const before = await reference.run(query)
  try {
    const { events, seconds, cpuSeconds, memoryBytes } = await throughServer(dataset, files, data)
    const after = await reference.run(query)
    const bulk = (before.seconds + after.seconds) / 2
    return {
      query,
      events,
      seconds: round(seconds),
      events_per_second: Math.round(events / seconds),
      reference_events_per_second: Math.round(events / bulk),
      ratio: round(bulk / seconds),
      ratio_storing: round((bulk + stored) / seconds),
      memory_mb: Math.round(memoryBytes / 1e6),
      cpu_seconds: round(cpuSeconds, 2),
      reference_cpu_seconds: round((before.cpuSeconds + after.cpuSeconds) / 2, 2),
      rows: await reference.expectEqual(query, data),
    }
  } finally {
    await rm(data, { recursive: true, force: true })
  }
}

export interface Passed {
  /** Events of the streams that the query reads. */
  readonly events: number
  /** From the first request until the query's table has read all. */
  readonly seconds: number
  readonly cpuSeconds: number
  readonly memoryBytes: number
}

/** Starts a server with a query, posts what the query reads, and stops the server when all is processed. */
export async function throughServer(
  dataset: Dataset,
  files: Record<StreamName, Written>,
  data: string,
): Promise<Passed> {
  const streams = streamsOf(dataset)
  const server = await startServer(PROJECT, data, { NEXMARK_QUERIES: dataset.name })
  try {
    const memory = peakOf(server.memory)
    const idle = await server.cpu()
    const begun = performance.now()
    await post(server.url, streams, files)
    await complete(server.url, streams)
    const seconds = (performance.now() - begun) / 1_000
    const cpuSeconds = (await server.cpu()) - idle
    const events = streams.reduce((sum, stream) => sum + files[stream].lines, 0)
    return { events, seconds, cpuSeconds, memoryBytes: await memory.stop() }
  } finally {
    await server.stop()
  }
}

/** Posts files side by side, by a process of its own. */
export async function post(
  url: string,
  streams: readonly StreamName[],
  files: Record<StreamName, Written>,
): Promise<void> {
  const args = streams.flatMap((stream) => [stream, files[stream].path, BATCH[stream]])
  await runProgram('benchmarks/nexmark/client.ts', url, CONNECTIONS, ...args)
}

/** Waits until all that was posted is committed, and every table has read it. */
export async function complete(url: string, streams: readonly StreamName[]): Promise<void> {
  for (;;) {
    const all = await statuses(url)
    const failed = all.find(({ state }) => state === 'failed' || state === 'blocked' || state === 'held')
    if (failed) throw new Error(`${failed.name} is ${failed.state}: ${failed.reason}`)
    if (all.every(({ name, kind, lag }) => lag === 0 || (kind === 'stream' && !streams.includes(name as StreamName))))
      return
    await sleep(10)
  }
}

/** The most memory seen, looked at ten times a second. */
function peakOf(memory: () => Promise<number>): { stop(): Promise<number> } {
  let peak = 0
  let looking = true
  const done = (async () => {
    while (looking) {
      peak = Math.max(peak, await memory())
      await sleep(100)
    }
  })()
  return {
    async stop() {
      looking = false
      await done
      return peak
    },
  }
}
