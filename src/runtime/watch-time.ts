import { asMillraceError } from '../base/errors.ts'
import type { Stream } from '../project/stream.ts'
import { maintain } from './maintain.ts'
import type { Runtime } from './runtime.ts'

const HOUSEKEEPING_MS = 60_000
/** Some files are let gather before they are brought together; a rewrite stays short beside the work that matters. */
const HOUSEKEEPING = { minFiles: 8, rewriteBytesMax: 256 * 1024 ** 2 } as const
const TIDY_MS = 3_600_000
const FRESHNESS_MS = 15_000
const IDLE_MS = { min: 20, max: 1_000 } as const

/** What happens to a running project by time alone, until the signal. */
export function watchTime(runtime: Runtime, signal: AbortSignal): Promise<void>[] {
  return [watchFreshness(runtime, signal), watchIdle(runtime, signal), keepHouse(runtime, signal)]
}

/** Keeps files few and the log small, a bounded part at a time. What goes wrong is told, and tried again the next time. */
async function keepHouse(runtime: Runtime, signal: AbortSignal): Promise<void> {
  const { clock } = runtime.options
  let tidyAt = -Infinity
  for (;;) {
    await clock.sleep(HOUSEKEEPING_MS, signal)
    if (signal.aborted) return
    try {
      await maintain(runtime, { ...HOUSEKEEPING, signal })
      if (clock.monotonic() >= tidyAt) {
        await runtime.tidy()
        tidyAt = clock.monotonic() + TIDY_MS
      }
      runtime.maintenanceError = undefined
    } catch (error) {
      runtime.maintenanceError = asMillraceError(error)
    }
  }
}

/** Data grows old without any step being due: freshness is looked at by the clock. */
async function watchFreshness(runtime: Runtime, signal: AbortSignal): Promise<void> {
  const watched = runtime.project.order.filter(({ checks }) => checks.some((check) => check.rule === 'freshness'))
  while (watched.length > 0) {
    await runtime.options.clock.sleep(FRESHNESS_MS, signal)
    if (signal.aborted) return
    for (const dataset of watched) {
      try {
        runtime.audits.set(dataset.name, await runtime.auditPublished(dataset))
      } catch (error) {
        // The next look finds what this one could not.
        if (!asMillraceError(error).retryable) throw error
      }
    }
  }
}

/** Partitions fall idle without any commit: what waits for their time is due then. */
async function watchIdle(runtime: Runtime, signal: AbortSignal): Promise<void> {
  const { project } = runtime
  const idleMs = (stream: Stream) => project.eventTime(stream)?.idleMs ?? Infinity
  const watched = project.order
    .filter((dataset) => dataset.kind === 'stream')
    .filter((stream) => idleMs(stream) < Infinity)
  const known = new Map<Stream, number>()
  const every = Math.min(...watched.map(idleMs)) / 4
  while (watched.length > 0) {
    await runtime.options.clock.sleep(Math.max(IDLE_MS.min, Math.min(IDLE_MS.max, every)), signal)
    if (signal.aborted) return
    for (const stream of watched) {
      const { size } = runtime.idlePartitions(stream)
      if (size > (known.get(stream) ?? 0))
        for (const dataset of project.timedBy(stream)) runtime.scheduler.published(dataset)
      known.set(stream, size)
    }
  }
}
