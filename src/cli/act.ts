import { MillraceError } from '../base/errors.ts'
import { type DirectoryLock, lockDirectory } from '../storage/lock.ts'
import { type InputOf, type Progress, type ResultOf, type Verb, carryOut } from './control.ts'
import type { Effects } from './effects.ts'
import type { Home } from './home.ts'
import { loadProject } from './load-project.ts'
import { openRuntime } from './open-runtime.ts'
import { type ServerClient, runningServer } from './server-client.ts'
import type { ProgressView } from './progress.ts'
import { onStop } from './signals.ts'

export interface ActOptions {
  readonly home: Home
  readonly json: boolean
  readonly progress: ProgressView
}

/**
 * Carries out a verb that writes: by the server that runs on the data directory, or else here, under the directory's lock.
 *
 * Errors: `conflict`/`data-locked` when a process holds the directory that is no server; those of the verb.
 */
export async function act<V extends Verb>(
  verb: V,
  input: InputOf<V>,
  options: ActOptions,
  effects: Effects,
): Promise<ResultOf<V>> {
  const { home, json, progress } = options
  const project = await loadProject(home.project)
  const holder = await lockOrServer(home)
  const tell = (event: Record<string, unknown>) => progress.show(event as unknown as Progress)
  try {
    if ('control' in holder) return (await holder.control(verb, input, tell)) as ResultOf<V>
    const runtime = await openRuntime({ project, home, eager: true, json }, effects)
    const ignoreStop = onStop(async (signal) => {
      progress.end()
      effects.err.write(`${signal}: stopping after the work under way; what was acknowledged is kept.\n`)
      await runtime.stop()
      return signal === 'SIGINT' ? 130 : 143
    }, effects.clock)
    try {
      for (const runner of runtime.streams.values()) runner.start()
      return (await carryOut(runtime, verb, input, tell)) as ResultOf<V>
    } finally {
      ignoreStop()
      await runtime.stop()
    }
  } finally {
    progress.end()
    if ('release' in holder) await holder.release()
  }
}

/** The lock is the truth: whoever gets it is alone, whatever a note left behind says. */
async function lockOrServer(home: Home): Promise<DirectoryLock | ServerClient> {
  try {
    return await lockDirectory(home.data)
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code !== 'data-locked') throw error
    const server = await runningServer(home.data)
    if (server === undefined) throw error
    return server
  }
}
