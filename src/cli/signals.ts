type Handler = (signal: NodeJS.Signals) => Promise<number>

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

/** Exit codes of an ending by signal, as shells have them. */
const CODES = { SIGTERM: 143, SIGINT: 130, SIGHUP: 129 } as const

/**
 * On the first signal that asks the process to end, runs `stop` and exits with the code it gives; on the second, exits at
 * once. Returns a function that gives the signals back.
 */
export function onStop(stop: Handler): () => void {
  let stopping = false
  const listener = (signal: NodeJS.Signals) => {
    if (stopping) process.exit(CODES[signal as (typeof SIGNALS)[number]])
    stopping = true
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
