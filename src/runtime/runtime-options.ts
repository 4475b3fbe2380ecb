import type { Clock } from '../base/clock.ts'
import type { MillraceError } from '../base/errors.ts'
import type { Project } from '../project/project.ts'
import type { Disk } from '../storage/disk.ts'
import type { Parts } from './parts.ts'
import type { Role } from './role.ts'

export interface RuntimeOptions {
  readonly project: Project
  /** URL of a module that loads the project into threads, for its functions: a `ProjectLoader`. */
  readonly loader?: string
  /** Everything an embedded project keeps: log/, lake/, tmp/. The caller holds its lock when writing. */
  readonly dataDirectory: string
  readonly clock: Clock
  readonly disk: Disk
  /** What the project runs on; embedded unless given. Whoever made them closes them. */
  readonly parts?: Parts
  /** What this process does; everything unless given. */
  readonly roles?: ReadonlySet<Role>
  /** Names this run in the lake's snapshots. */
  readonly run: string
  /** Refresh tables all the time they are due (one-shot commands), or leave them rests (servers). */
  readonly eager?: boolean
  /** Only looks: makes and changes nothing that others see, and is given no work. Everything must be there, as declared. */
  readonly looking?: boolean
  /**
   * The process cannot go on: a write or fsync failed, and nothing is acknowledged any more. What was gated is still
   * committed if the disk lets it, and the lanes end: `ended` resolves then, or when they take too long.
   */
  onFatal(error: MillraceError, ended: Promise<void>): void
}

/** What some work touches, that no other process may work on meanwhile. */
export interface Touched {
  /** Streams: all their partitions, or the one whose process keeps house for it. */
  readonly streams: ReadonlyMap<string, 'whole' | 'house'>
  readonly tables: ReadonlySet<string>
  readonly handlers: boolean
}
