import { join } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import { type DirectoryLock, lockDirectory } from '../storage/lock.ts'
import { type InputOf, type ResultOf, type Verb, carryOut } from './control.ts'
import type { Effects } from './effects.ts'
import type { Home } from './home.ts'
import { CONFIG_FILE, loadProject, projectFiles, requireProject } from './load-project.ts'
import { openRuntime } from './open-runtime.ts'
import { type ServerClient, runningServer } from './server-client.ts'
import type { ProgressView } from './progress.ts'
import { onStop } from './signals.ts'
import type { Progress } from './verbs/progress.ts'

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
  await requireProject(home.project)
  const holder = await lockOrServer(home)
  const tell = (event: Record<string, unknown>) => progress.show(event as unknown as Progress)
  try {
    if ('control' in holder) {
      if (!json && (await isOutdated(holder, home, effects))) effects.err.write(`${OUTDATED}\n`)
      return (await holder.control(verb, input, tell)) as ResultOf<V>
    }
    const project = await loadProject(home.project)
    const { runtime, close } = await openRuntime({ project, home, eager: true, json }, effects)
    const ignoreStop = onStop(async (signal) => {
      progress.end()
      effects.err.write(`${signal}: stopping after the work under way; what was acknowledged is kept.\n`)
      await close()
      return signal === 'SIGINT' ? 130 : 143
    }, effects.clock)
    try {
      for (const runner of runtime.streams.values()) runner.start()
      return (await carryOut(runtime, verb, input, tell)) as ResultOf<V>
    } finally {
      ignoreStop()
      await close()
    }
  } finally {
    progress.end()
    if ('release' in holder) await holder.release()
  }
}

const OUTDATED =
  'note: the project has changed since its server started, which goes on with what it read then. Restart it.'

/** Whether a project file is newer than the server that runs it. */
async function isOutdated(server: ServerClient, { project }: Home, { disk }: Effects): Promise<boolean> {
  const files = [join(project, CONFIG_FILE), ...(await projectFiles(project))]
  const stats = await Promise.all(files.map((file) => disk.stat(file)))
  return stats.some((stat) => stat !== undefined && stat.mtimeMs > server.startedMs)
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
