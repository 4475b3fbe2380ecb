import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inTemporary, quantile, query, round, sleep, startServer } from './harness.ts'
import type { BenchOptions } from './run.ts'

const PROJECT = fileURLToPath(new URL('./windows/', import.meta.url))
const TICK_MS = 20
const EVENTS_PER_SECOND = 20_000

/**
 * Events of the present moment come in all the time; windows of a second close as they do. From the start of the request
 * that takes the watermark past a window's end to the end of the query that has the window.
 */
export async function run({ events = 1_200_000, say }: BenchOptions): Promise<Record<string, unknown>> {
  return inTemporary(async (directory) => {
    const server = await startServer(PROJECT, join(directory, 'data'))
    const passed = new Map<number, number>()
    const seen = new Map<number, number>()
    let running = true
    const send = async () => {
      const pending = new Set<Promise<void>>()
      const begun = performance.now()
      for (let sent = 0; sent < events;) {
        const now = Date.now()
        const end = Math.floor(now / 1_000) * 1_000
        if (!passed.has(end)) passed.set(end, performance.now())
        const due = Math.min(events, Math.floor(((performance.now() - begun) / 1_000) * EVENTS_PER_SECOND) + 1)
        const lines = Array.from({ length: due - sent }, (_, i) =>
          JSON.stringify({
            event_id: sent + i,
            happened: new Date(now).toISOString(),
            page: `/p${i % 20}`,
            amount: i % 7,
          }),
        )
        sent = due
        const request = post(server.url, lines).finally(() => pending.delete(request))
        pending.add(request)
        await sleep(TICK_MS)
      }
      await Promise.all(pending)
    }
    const look = async () => {
      while (running) {
        const [[newest]] = (await query(server.url, 'select epoch_ms(max(window_end)) from per_second')) as [
          [number | null],
        ]
        if (newest !== null)
          for (const end of passed.keys()) if (end <= newest && !seen.has(end)) seen.set(end, performance.now())
        await sleep(10)
      }
    }
    try {
      say(`${EVENTS_PER_SECOND} events/s for ${Math.round(events / EVENTS_PER_SECOND)} s, windows of one second`)
      const looking = look()
      await send()
      await sleep(1_000)
      running = false
      await looking
      // The first closes nothing, and the second beside what a server does once.
      const ends = [...passed.keys()].slice(2).filter((end) => seen.has(end))
      const latencies = ends.map((end) => seen.get(end)! - passed.get(end)!)
      return {
        events_per_second: EVENTS_PER_SECOND,
        windows: latencies.length,
        missing: passed.size - 2 - latencies.length,
        p50_ms: round(quantile(latencies, 0.5), 1),
        p99_ms: round(quantile(latencies, 0.99), 1),
        max_ms: round(Math.max(...latencies), 1),
        server_memory_mb: Math.round((await server.memory()) / 1e6),
      }
    } finally {
      await server.stop()
    }
  })
}

async function post(url: string, lines: readonly string[]): Promise<void> {
  const response = await fetch(`${url}/v1/streams/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: `${lines.join('\n')}\n`,
  })
  if (response.status !== 202) throw new Error(`HTTP ${response.status}: ${await response.text()}`)
}
