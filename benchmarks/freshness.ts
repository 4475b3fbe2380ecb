import { join } from 'node:path'
import { writeEvents } from './events.ts'
import { inTemporary, quantile, query, round, runClient, sleep, startServer, statusOf } from './harness.ts'
import { CLICKS } from './ingest.ts'
import type { BenchOptions } from './run.ts'

/**
 * While events come in at half the rate the machine can take, a marked event is posted now and then, and looked for
 * with SQL until it shows: from the start of its request to the end of the query that has it.
 */
export async function run({ events = 3_000_000, say }: BenchOptions): Promise<Record<string, unknown>> {
  return inTemporary(async (directory) => {
    const file = join(directory, 'events.ndjson')
    const warm = join(directory, 'warm.ndjson')
    await writeEvents(warm, 500_000)
    await writeEvents(file, events, 500_000)
    const server = await startServer(CLICKS, join(directory, 'data'))
    try {
      const begun = performance.now()
      await runClient(`${server.url}/v1/streams/clicks`, warm, 1_000, 8, 0)
      while ((await statusOf(server.url, 'clicks')).lag > 0) await sleep(10)
      const capacity = 500_000 / ((performance.now() - begun) / 1_000)
      const rate = Math.round(capacity / 2)
      say(`capacity ${Math.round(capacity)} events/s; probing at ${rate}`)
      let running = true
      const load = runClient(`${server.url}/v1/streams/clicks`, file, 1_000, 8, rate).finally(() => (running = false))
      const seen: number[] = []
      for (let i = 0; running; i++) {
        seen.push(await probe(server.url, i))
        await sleep(50)
      }
      const client = await load
      return {
        rate_events_per_second: rate,
        sent_per_second: Math.round(client.sent / client.seconds),
        probes: seen.length,
        p50_ms: round(quantile(seen, 0.5), 1),
        p99_ms: round(quantile(seen, 0.99), 1),
        max_ms: round(Math.max(...seen), 1),
        ack_p99_ms: round(client.ack_p99_ms, 1),
      }
    } finally {
      await server.stop()
    }
  })
}

async function probe(url: string, i: number): Promise<number> {
  const id = `probe-${i}`
  const at = new Date(Date.UTC(2026, 0, 1, 1)).toISOString()
  const line = JSON.stringify({
    event_id: id,
    user_id: 'probe',
    page: '/probe',
    action: 'view',
    at,
    duration_ms: 1,
    price: 0,
    ref: '',
  })
  const begun = performance.now()
  const response = await fetch(`${url}/v1/streams/clicks`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: `${line}\n`,
  })
  if (response.status !== 202) throw new Error(`HTTP ${response.status}`)
  for (;;) {
    const [[count]] = (await query(url, `select count(*) from clicks where event_id = '${id}'`)) as [[number]]
    if (count === 1) return performance.now() - begun
    if (performance.now() - begun > 60_000) throw new Error(`${id} did not show within a minute`)
  }
}
