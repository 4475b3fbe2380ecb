import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { writeEvents } from './events.ts'
import { inTemporary, query, round, runClient, sleep, startServer, statusOf } from './harness.ts'
import { CLICKS } from './ingest.ts'
import type { BenchOptions } from './run.ts'

/** Ten billion a day. */
const RATE = 116_000
const AHEAD = 500_000

/**
 * `kill -9` under load: how long until a new server is ready, and until all that was acknowledged is committed, the keys seen among it. Beside
 * it, what the same number of records takes to be replayed through the gate.
 */
export async function run({ events = 1_500_000, say }: BenchOptions): Promise<Record<string, unknown>> {
  return inTemporary(async (directory) => {
    const file = join(directory, 'events.ndjson')
    const data = join(directory, 'data')
    await writeEvents(file, events)
    const first = await startServer(CLICKS, data)
    const load = runClient(`${first.url}/v1/streams/clicks`, file, 1_000, 8, RATE).catch(() => undefined)
    await sleep((events / RATE) * 800)
    const { received: committed } = await statusOf(first.url, 'clicks')
    const ended = once(first.process, 'exit')
    first.process.kill('SIGKILL')
    await Promise.all([ended, load])
    say(`killed at ${committed} committed records`)
    const begun = performance.now()
    const second = await startServer(CLICKS, data)
    try {
      const ready = performance.now() - begun
      while ((await statusOf(second.url, 'clicks')).lag > 0) await sleep(5)
      const caughtUp = performance.now() - begun
      const { received } = await statusOf(second.url, 'clicks')
      // All at once, with keys that were never seen.
      const burst = join(directory, 'burst.ndjson')
      await writeEvents(burst, AHEAD, 10_000_000)
      const posting = performance.now()
      await runClient(`${second.url}/v1/streams/clicks`, burst, 1_000, 8, 0)
      while ((await statusOf(second.url, 'clicks')).lag > 0) await sleep(5)
      const rate = AHEAD / ((performance.now() - posting) / 1_000)
      const [[rows]] = (await query(second.url, 'select count(*) from clicks')) as [[number]]
      await second.stop()
      const replay = await replayed(data, rows)
      return {
        rate_events_per_second: RATE,
        committed_before: committed,
        waiting_at_kill: received - committed,
        ready_ms: round(ready, 0),
        caught_up_ms: round(caughtUp, 0),
        rate_when_behind: round(rate, 0),
        times_the_rate: round(rate / RATE, 1),
        replay_rate: round(replay.rate, 0),
        replay_times_the_rate: round(replay.rate / RATE, 1),
        replay_cpu_us: round(replay.cpuUs, 2),
        rows,
      }
    } finally {
      await second.stop()
    }
  })
}

/**
 * From the log alone: the lake is gone, so the server begins with the first record. Records a second, and microseconds of processors
 * that one takes.
 */
async function replayed(data: string, rows: number): Promise<{ rate: number; cpuUs: number }> {
  await rm(join(data, 'lake'), { recursive: true })
  const server = await startServer(CLICKS, data)
  try {
    const [begun, cpu] = [performance.now(), await server.cpu()]
    let status = await statusOf(server.url, 'clicks')
    const { lag } = status
    for (; status.lag > 0; status = await statusOf(server.url, 'clicks')) await sleep(20)
    const seconds = (performance.now() - begun) / 1_000
    if (status.accepted !== rows) throw new Error(`replayed ${status.accepted} rows of ${rows}`)
    return { rate: lag / seconds, cpuUs: (((await server.cpu()) - cpu) / lag) * 1e6 }
  } finally {
    await server.stop()
  }
}
