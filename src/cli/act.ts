import { join } from 'node:path'
import { MillraceError } from '../base/errors.ts'
import { type DirectoryLock, lockDirectory } from '../storage/lock.ts'
import type { Target } from '../project/target.ts'
import { type InputOf, type ResultOf, type Verb, carryOut } from './control.ts'
import type { Effects } from './effects.ts'
import type { Home } from './home.ts'
import { CONFIG_FILE, loadProject, projectFiles, requireProject } from './load-project.ts'
import { openRuntime } from './open-runtime.ts'
import { type OwnDirectory, ownDirectory } from './own-directory.ts'
import { type ServerClient, runningServer } from './server-client.ts'
import type { ProgressView } from './progress.ts'
import { onStop } from './signals.ts'
import { isShared, targetNamed } from './target.ts'
import { touchedBy } from './touched.ts'
import type { Progress } from './verbs/progress.ts'

export interface ActOptions {
  readonly home: Home
  readonly json: boolean
  readonly progress: ProgressView
  /** How long to wait for other processes of a target to hand over what the verb touches, ms. */
  readonly waitMs?: number
}

/**
 * Carries out a verb. What is in a data directory is worked on by the server that runs there, or else here, under the directory's lock. On a target
 * that processes share, this is one of them: what the verb touches the others hand over meanwhile, and what it only reads it takes nothing of.
 *
 * Errors: `conflict`/`data-locked` when a process holds the directory that is no server; those of `Runtime.having` and of the verb.
 */
export async function act<V extends Verb>(
  verb: V,
  input: InputOf<V>,
  options: ActOptions,
  effects: Effects,
): Promise<ResultOf<V>> {
  const { home, json, progress } = options
  await requireProject(home.project)
  const tell = (event: Record<string, unknown>) => progress.show(event as unknown as Progress)
  try {
    const isOneOfMany = home.target !== undefined && isShared(await targetOf(home))
    const holder = isOneOfMany ? await ownDirectory(home) : await lockOrServer(home)
    if (!('control' in holder)) return (await actHere(verb, input, options, holder, tell, effects)) as ResultOf<V>
    if (!json && (await isOutdated(holder, home, effects))) effects.err.write(`${OUTDATED}\n`)
    return (await holder.control(verb, input, tell)) as ResultOf<V>
  } finally {
    progress.end()
  }
}

async function targetOf({ project, target }: Home): Promise<Target> {
  return targetNamed((await loadProject(project)).config, target!)
}

/** `place` is the directory to work in: this process's own until it is let go of. */
async function actHere<V extends Verb>(
  verb: V,
  input: InputOf<V>,
  { home, json, progress, waitMs }: ActOptions,
  place: DirectoryLock | OwnDirectory,
  tell: (event: Record<string, unknown>) => void,
  effects: Effects,
): Promise<unknown> {
  const letGo = 'release' in place ? () => place.release() : () => place.close()
  try {
    const project = await loadProject(home.project)
    // Under the lock of a data directory nobody is disturbed by having everything.
    const touched = touchedBy(verb, input, project) ?? ('path' in place ? undefined : touchedBy('run', {}, project))
    const { runtime, close } = await openRuntime(
      {
        project,
        home: 'path' in place ? { ...home, data: place.path } : home,
        eager: true,
        json,
        looking: touched === undefined,
        ...(waitMs === undefined ? {} : { claimMs: waitMs }),
      },
      effects,
    )
    const ignoreStop = onStop(async (signal) => {
      progress.end()
      effects.err.write(`${signal}: stopping after the work under way; what was acknowledged is kept.\n`)
      await close()
      await letGo()
      return signal === 'SIGINT' ? 130 : 143
    }, effects.clock)
    try {
      const work = () => carryOut(runtime, verb, input, tell)
      for (const runner of runtime.streams.values()) runner.start()
      return await (touched ? runtime.having(touched, work) : work())
    } finally {
      ignoreStop()
      await close()
    }
  } finally {
    await letGo()
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
