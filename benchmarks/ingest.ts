import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { writeEvents } from './events.ts'
import { bareCopy, inTemporary, query, round, runClient, sleep, startServer, statusOf } from './harness.ts'
import type { BenchOptions } from './run.ts'

export const CLICKS = fileURLToPath(new URL('clicks', import.meta.url))

/**
 * Events posted in batches of 1,000 by a process of its own, until all are validated, de-duplicated, committed and
 * queryable; the reference reads the same file in the same run, before and after.
 */
export async function run({ events = 2_000_000, say }: BenchOptions): Promise<Record<string, unknown>> {
  return inTemporary(async (directory) => {
    const file = join(directory, 'events.ndjson')
    say(`generating ${events} events`)
    const made = await writeEvents(file, events)
    const before = await bareCopy(file, events, directory)
    const server = await startServer(CLICKS, join(directory, 'data'))
    try {
      say('posting')
      const begun = performance.now()
      const client = await runClient(`${server.url}/v1/streams/clicks`, file, 1_000, 8, 0)
      let status = await statusOf(server.url, 'clicks')
      while (status.lag > 0) {
        await sleep(10)
        status = await statusOf(server.url, 'clicks')
      }
      const [[rows]] = (await query(server.url, 'select count(*) from clicks')) as [[number]]
      const seconds = (performance.now() - begun) / 1_000
      const expected = made.events - made.duplicates - made.bad
      if (rows !== expected || status.duplicates !== made.duplicates || status.quarantined !== made.bad) {
        throw new Error(`wrong counts: ${rows} rows of ${expected}, ${JSON.stringify(status)}`)
      }
      const memory = await server.memory()
      await server.stop()
      const after = await bareCopy(file, events, directory)
      const reference = (before + after) / 2
      return {
        events,
        bytes_per_event: round(made.bytes / events, 1),
        seconds: round(seconds),
        events_per_second: Math.round(events / seconds),
        reference_rows_per_second: Math.round(reference),
        ratio: round(events / seconds / reference),
        ack_p50_ms: round(client.ack_p50_ms, 1),
        ack_p99_ms: round(client.ack_p99_ms, 1),
        client_cpu_seconds: round(client.cpu_seconds),
        server_memory_mb: Math.round(memory / 1e6),
        duplicates: status.duplicates,
        quarantined: status.quarantined,
      }
    } finally {
      await server.stop()
    }
  })
}
