import { join } from 'node:path'
import { writeEvents } from './events.ts'
import { inTemporary, round, runClient, sleep, startServer, statusOf } from './harness.ts'
import { CLICKS } from './ingest.ts'
import type { BenchOptions } from './run.ts'

const PART = 1_000_000

/** Resident memory of the server and its children while events pass, sampled ten times a second. */
export async function run({ events = 20_000_000, say }: BenchOptions): Promise<Record<string, unknown>> {
  return inTemporary(async (directory) => {
    const server = await startServer(CLICKS, join(directory, 'data'))
    let peak = 0
    let sampling = true
    const peaks: number[] = []
    const sampler = (async () => {
      while (sampling) {
        const now = await server.memory()
        peak = Math.max(peak, now)
        peaks[peaks.length - 1] = Math.max(peaks.at(-1) ?? 0, now)
        await sleep(100)
      }
    })()
    try {
      const begun = performance.now()
      for (let sent = 0; sent < events; sent += PART) {
        peaks.push(0)
        const file = join(directory, 'events.ndjson')
        await writeEvents(file, Math.min(PART, events - sent), sent)
        await runClient(`${server.url}/v1/streams/clicks`, file, 1_000, 8, 0)
        say(`${sent + PART} events, peak ${Math.round(peak / 1e6)} MB`)
      }
      while ((await statusOf(server.url, 'clicks')).lag > 0) await sleep(100)
      const status = await statusOf(server.url, 'clicks')
      const half = Math.ceil(peaks.length / 2)
      const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / Math.max(1, values.length)
      return {
        events,
        received: status.received,
        seconds: round((performance.now() - begun) / 1_000, 1),
        peak_mb: Math.round(peak / 1e6),
        first_half_mb: Math.round(mean(peaks.slice(0, half)) / 1e6),
        second_half_mb: Math.round(mean(peaks.slice(half)) / 1e6),
        growth: round(mean(peaks.slice(half)) / mean(peaks.slice(0, half)), 2),
      }
    } finally {
      sampling = false
      await sampler
      await server.stop()
    }
  })
}
