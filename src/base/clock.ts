/** Time as an effect: everything that waits or stamps takes a Clock, so a simulation can own it. */
export interface Clock {
  /** Milliseconds since the epoch, UTC. */
  now(): number
  /** Monotonic milliseconds; only differences mean anything. */
  monotonic(): number
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve()
      const done = () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      signal?.addEventListener('abort', done, { once: true })
    }),
}
