import { join } from 'node:path'
import { Lake } from '../lake/lake.ts'
import type { Project } from '../project/project.ts'
import type { Stream } from '../project/stream.ts'
import type { Target } from '../project/target.ts'
import { DiskPlaces, type HandlerPlaces } from '../runtime/changes/handler-places.ts'
import type { Runs } from '../state/runs.ts'
import type { Effects } from './effects.ts'
import type { Home } from './home.ts'
import { type Extent, logExtents } from './log-end.ts'
import { ownDirectory } from './own-directory.ts'
import { targetNamed } from './target.ts'

/** What can be seen of a project's data from outside: without a lock, a lease, or any change. */
export interface Sight {
  readonly lake: Lake
  /** How far handlers are; undefined where nobody has kept it yet. */
  readonly places: Pick<HandlerPlaces, 'read'> | undefined
  /** What ran; undefined where nobody keeps it. */
  readonly runs: Pick<Runs, 'list'> | undefined
  /** What the log of a stream holds, by partition. */
  extents(stream: Stream): Promise<readonly Extent[]>
  close(): Promise<void>
}

/** Looks at the data directory of a project, or at what its target names. Errors: those of each part. */
export function openSight(project: Project, home: Home, effects: Effects): Promise<Sight> {
  return lookAt(
    home.target === undefined ? undefined : targetNamed(project.config, home.target),
    project,
    home,
    effects,
  )
}

/** Looks at some parts of a target only; what it leaves out is in the data directory. Errors: those of each part. */
export async function lookAt(
  target: Target | undefined,
  project: Project,
  home: Home,
  effects: Effects,
): Promise<Sight> {
  const { disk, clock } = effects
  if (target === undefined) {
    return {
      lake: new Lake({ root: join(home.data, 'lake'), disk, clock }),
      places: new DiskPlaces(disk, home.data),
      runs: undefined,
      extents: ({ name }) => logExtents(disk, join(home.data, 'log', name)),
      close: async () => undefined,
    }
  }
  const { openParts } = await import('./open-parts.ts')
  // Not for embedded parts: they stay where they are.
  const own = await ownDirectory(home)
  try {
    const looking = { looking: true, temporary: own.path, member: '', onError: () => undefined }
    // What computes is not asked.
    const { engine: _engine, ...stores } = target
    const parts = await openParts({ project, target: stores, home, ...looking }, effects)
    const places = target.state ? parts.handlerPlaces : new DiskPlaces(disk, home.data)
    const close = async () => {
      await parts.close()
      await own.close()
    }
    return { lake: parts.lake, places, runs: parts.state?.runs, extents: (stream) => parts.extents(stream), close }
  } catch (error) {
    await own.close()
    throw error
  }
}
