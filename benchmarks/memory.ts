import { join } from 'node:path'
import { loadProject } from '../src/cli/load-project.ts'
import { writeEvents } from './events.ts'
import { type ServerProcess, inTemporary, round, runClient, sleep, startServer, statusOf } from './harness.ts'
import { CLICKS } from './ingest.ts'
import { PROJECT, SEED, complete, post, streamsOf } from './nexmark.ts'
import { writeNext } from './nexmark/files.ts'
import { NexmarkGenerator } from './nexmark/generator.ts'
import type { BenchOptions } from './run.ts'

const PART = 1_000_000

/**
 * Resident memory of the server and its children while events pass, sampled ten times a second: those of the `ingest`
 * benchmark, or those of Nexmark through each of the queries named. Events are made and posted a part at a time.
 */
export async function run({ events = 20_000_000, queries, say }: BenchOptions): Promise<Record<string, unknown>> {
  if (queries === undefined) return inTemporary(async (directory) => watch(await clicks(directory), events, say))
  const results: Record<string, unknown>[] = []
  for (const query of queries) {
    say(query)
    const result = await inTemporary(async (directory) => watch(await nexmark(directory, query), events, say))
    results.push({ query, ...result })
  }
  return { events, queries: results, peak_mb: Math.max(...results.map(({ peak_mb }) => Number(peak_mb))) }
}

interface Load {
  readonly server: ServerProcess
  /** Makes and posts the next events. */
  post(count: number, sent: number): Promise<void>
  /** Waits until all of them are committed and read. */
  complete(): Promise<void>
}

async function clicks(directory: string): Promise<Load> {
  const server = await startServer(CLICKS, join(directory, 'data'))
  return {
    server,
    async post(count, sent) {
      const file = join(directory, 'events.ndjson')
      await writeEvents(file, count, sent)
      await runClient(`${server.url}/v1/streams/clicks`, file, 1_000, 8, 0)
    },
    async complete() {
      while ((await statusOf(server.url, 'clicks')).lag > 0) await sleep(100)
    },
  }
}

/** The log is kept for a minute, for it would be the larger part of the disk. */
async function nexmark(directory: string, query: string): Promise<Load> {
  const streams = streamsOf((await loadProject(PROJECT)).dataset(query))
  const source = new NexmarkGenerator({ seed: SEED })
  const environment = { NEXMARK_QUERIES: query, NEXMARK_RETENTION: '1 minute' }
  const server = await startServer(PROJECT, join(directory, 'data'), environment)
  return {
    server,
    post: (count) => post(server.url, streams, writeNext(directory, count, source)),
    complete: () => complete(server.url, streams),
  }
}

async function watch(load: Load, events: number, say: BenchOptions['say']): Promise<Record<string, unknown>> {
  const { server } = load
  let sampling = true
  const peaks: number[] = []
  const sampler = (async () => {
    while (sampling) {
      peaks[peaks.length - 1] = Math.max(peaks.at(-1) ?? 0, await server.memory())
      await sleep(100)
    }
  })()
  try {
    const begun = performance.now()
    for (let sent = 0; sent < events; sent += PART) {
      peaks.push(0)
      await load.post(Math.min(PART, events - sent), sent)
      say(`${sent + PART} events, peak ${Math.round(peaks.at(-1)! / 1e6)} MB`)
    }
    await load.complete()
    const half = Math.ceil(peaks.length / 2)
    const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / Math.max(1, values.length)
    const [first, second] = [mean(peaks.slice(0, half)), mean(peaks.slice(half))]
    return {
      events,
      seconds: round((performance.now() - begun) / 1_000, 1),
      peak_mb: Math.round(Math.max(...peaks) / 1e6),
      first_half_mb: Math.round(first / 1e6),
      second_half_mb: Math.round(second / 1e6),
      growth: round(second / first, 2),
    }
  } finally {
    sampling = false
    await sampler
    await server.stop()
  }
}
