import type { Clock } from '../base/clock.ts'

type Handler = (signal: NodeJS.Signals) => Promise<number>

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

/** Exit codes of an ending by signal, as shells have them. */
const CODES = { SIGTERM: 143, SIGINT: 130, SIGHUP: 129 } as const

/** One Ctrl-C may arrive twice: from the terminal, and from npm or another process in front that passes it on. */
const SAME_MS = 300

/**
 * On the first signal that asks the process to end, runs `stop` and exits with the code it gives; on the second, exits at
 * once. Returns a function that gives the signals back.
 */
export function onStop(stop: Handler, clock: Clock): () => void {
  let firstMs: number | undefined
  const listener = (signal: NodeJS.Signals) => {
    if (firstMs !== undefined) {
      if (clock.monotonic() - firstMs >= SAME_MS) process.exit(CODES[signal as (typeof SIGNALS)[number]])
      return
    }
    firstMs = clock.monotonic()
    stop(signal).then(
      (code) => process.exit(code),
      (error: unknown) => {
        // Goes to the handler of uncaught errors, which tells and exits.
        queueMicrotask(() => {
          throw error
        })
      },
    )
  }
  for (const signal of SIGNALS) process.on(signal, listener)
  return () => {
    for (const signal of SIGNALS) process.off(signal, listener)
  }
}
