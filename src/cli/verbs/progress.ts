import type { LoadProgress } from '../../runtime/streams/file-loader.ts'
import type { Runtime } from '../../runtime/runtime.ts'
import type { StreamRunner } from '../../runtime/streams/stream-runner.ts'

/** What is told while a verb is carried out. */
export type Progress =
  | (LoadProgress & { readonly phase: 'load' })
  | { readonly phase: 'process'; readonly stream: string; readonly done: number; readonly total: number }
  | { readonly phase: 'refresh' | 'deliver' | 'verify' | 'maintain'; readonly dataset?: string }

export type Tell = (event: Progress) => void

const LOOK_MS = 200

/** Gates and commits what a stream has acknowledged, telling how far it is. */
export async function drain(runtime: Runtime, runner: StreamRunner, tell: Tell): Promise<void> {
  const total = runner.lag
  if (total === 0) return runner.drain()
  const done = new AbortController()
  const watch = (async () => {
    while (!done.signal.aborted) {
      tell({ phase: 'process', stream: runner.stream.name, done: Math.max(0, total - runner.lag), total })
      await runtime.options.clock.sleep(LOOK_MS, done.signal)
    }
  })()
  try {
    await runner.drain()
  } finally {
    done.abort()
    await watch
  }
}
