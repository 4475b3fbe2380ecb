import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import type { MillraceError } from '../base/errors.ts'
import { Lake } from '../lake/lake.ts'
import { openLocalLog } from '../log/local/open.ts'
import type { StreamLog } from '../log/log.ts'
import type { Stream } from '../project/stream.ts'
import type { State } from '../state/state.ts'
import type { Disk } from '../storage/disk.ts'
import type { Engine } from './engine.ts'
import type { HandlerPlaces } from './changes/handler-places.ts'
import type { Role } from './role.ts'

/** What a project runs on: what differs between a laptop and a cluster. */
export interface Parts {
  readonly lake: Lake
  /** Opens the log of a stream, making it when there is none. Errors: those of the log. */
  openLog(stream: Stream, events: LogEvents): Promise<StreamLog>
  /** What computes derived tables; without it DuckDB in this process. */
  readonly engine?: Engine
  /** Where it is kept how far handlers are; without it in the data directory. */
  readonly handlerPlaces?: HandlerPlaces
  /** Where processes keep what ran, and what has to be tidied now and then; without it in memory, and nothing. */
  readonly state?: Pick<State, 'runs' | 'tidy'>
  /** Which work is this process's; without it all is. */
  readonly ownership?: Ownership
}

/** Divides work among the processes of a role: each item has one that does it. */
export interface Ownership {
  /** From now on takes a share of the items, which are the same for all processes of the role, and gives up what others shall have. */
  start(role: Role, items: readonly string[], duties: Duties): void
  /** Why no work can be divided at present, if so: what this process had is lost to it until it can. */
  readonly trouble: MillraceError | undefined
  /**
   * Takes all of the items from whoever has them, until `stop`. Resolves when the last has been taken up. Errors: `unavailable`/`held-elsewhere`
   * when another process keeps one for too long.
   */
  claim(role: Role, items: readonly string[], duties: Duties): Promise<void>
  /** Errors: `unavailable`/`lease-lost` when something that was claimed has been lost since. */
  checkClaims(): void
  /** Gives everything up. */
  stop(): Promise<void>
}

/** What a process does about items of work. */
export interface Duties {
  /** Begins with an item: it is this process's, by a lease with this epoch, which is higher than any before. */
  take(item: string, epoch: number): Promise<void>
  /** Ends the work on an item. Once it resolves nothing more of it is committed, and another process may begin. */
  give(item: string): Promise<void>
  /** Another process may have begun with the item already. */
  lose(item: string): void
}

export interface LogEvents {
  /** Called once, when nothing will be acknowledged any more. The process should end. */
  onFatal(error: MillraceError): void
  /** Records have come to a partition: from here, or from another process. */
  onGrown(partition: number): void
}

/** Log and lake in a directory of this machine. */
export function embeddedParts({
  dataDirectory,
  disk,
  clock,
}: {
  readonly dataDirectory: string
  readonly disk: Disk
  readonly clock: Clock
}): Parts {
  return {
    lake: new Lake({ root: join(dataDirectory, 'lake'), disk, clock }),
    openLog: (stream, { onFatal, onGrown }) =>
      openLocalLog({
        directory: join(dataDirectory, 'log', stream.name),
        stream: stream.name,
        partitions: stream.partitions,
        disk,
        clock,
        onFatal,
        onGrown,
      }),
  }
}
