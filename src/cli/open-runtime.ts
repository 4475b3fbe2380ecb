import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { MillraceError } from '../base/errors.ts'
import type { Project } from '../project/project.ts'
import { ALL_ROLES, type Role } from '../runtime/role.ts'
import { Runtime } from '../runtime/runtime.ts'
import type { Effects } from './effects.ts'
import type { Home } from './home.ts'
import { itemText } from './item-text.ts'
import type { OpenParts } from './open-parts.ts'
import { checkSpark, planProject } from './plan-project.ts'
import { ProjectProblems, reportError } from './report-error.ts'
import { targetNamed } from './target.ts'

/** What threads that call the project's functions load it with. */
const LOADER = new URL(import.meta.url.endsWith('.ts') ? './load-project.ts' : './load-project.js', import.meta.url)
  .href

export interface OpenOptions {
  readonly project: Project
  readonly home: Home
  /** Tables may refresh without rest. */
  readonly eager: boolean
  /** What this process does; everything unless given. */
  readonly roles?: ReadonlySet<Role>
  readonly json: boolean
  /** Only looks: makes and changes nothing. */
  readonly looking?: boolean
  /** How long it may wait for what other processes have and it claims, ms. */
  readonly claimMs?: number
}

export interface OpenedRuntime {
  readonly runtime: Runtime
  /** Stops the runtime, and lets go of what it ran on. */
  close(): Promise<void>
}

/**
 * Opens the runtime of a project; the caller holds the lock of its data directory. When a write or fsync fails later on,
 * the process says why and ends: what is acknowledged is in the log, and nothing more may be acknowledged.
 *
 * Errors: `invalid`/`bad-project` with everything wrong with the project; those of `Runtime.open`.
 */
export async function openRuntime(
  { project, home, eager, json, roles, looking, claimMs }: OpenOptions,
  effects: Effects,
): Promise<OpenedRuntime> {
  const { clock, disk } = effects
  const run = `${new Date(clock.now()).toISOString().replaceAll(/[-:]|\.\d+/g, '')}-${randomBytes(3).toString('hex')}`
  const onFatal = (error: MillraceError, ended: Promise<void>) => {
    reportError(error, effects, json)
    void ended.then(() => process.exit(1))
  }
  const target = home.target === undefined ? undefined : targetNamed(project.config, home.target)
  const onError = (error: MillraceError) => reportError(error, effects, json)
  let parts: OpenParts | undefined
  if (target) {
    // What a cluster needs is not loaded where there is none.
    const { openParts } = await import('./open-parts.ts')
    const member = `${hostname()}:${process.pid}:${run}`
    const onWaiting = (item: string, holder: string) =>
      effects.err.write(json ? '' : `${itemText(item)} is with ${holder}: waiting until it hands it over …\n`)
    parts = await openParts(
      {
        project,
        target,
        home,
        member,
        onError,
        onWaiting,
        ...(looking ? { looking } : {}),
        ...(claimMs === undefined ? {} : { claimMs }),
      },
      effects,
    )
  }
  try {
    // Before anything is made or changed there. What computes no tables does not need it.
    if (target?.engine && looking !== true && (roles ?? ALL_ROLES).has('schedule'))
      await checkSpark(project, target.engine.url)
    const runtime = await Runtime.open({
      project,
      loader: LOADER,
      dataDirectory: home.data,
      clock,
      disk,
      run,
      eager,
      onFatal,
      ...(parts ? { parts } : {}),
      ...(roles ? { roles } : {}),
      ...(looking ? { looking } : {}),
    })
    const close = async () => {
      try {
        await runtime.stop()
      } finally {
        await parts?.close()
      }
    }
    return { runtime, close }
  } catch (error) {
    await parts?.close()
    if (!(error instanceof MillraceError) || error.kind !== 'invalid' || error instanceof ProjectProblems) throw error
    const { problems } = await planProject(home.project)
    throw problems.length > 0 ? new ProjectProblems(home.project, problems) : error
  }
}
