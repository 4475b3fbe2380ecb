import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import type { MillraceError } from '../base/errors.ts'
import { Lake } from '../lake/lake.ts'
import { openLocalLog } from '../log/local/open.ts'
import type { StreamLog } from '../log/log.ts'
import type { Stream } from '../project/stream.ts'
import type { Disk } from '../storage/disk.ts'

/** What a project runs on: what differs between a laptop and a cluster. */
export interface Parts {
  readonly lake: Lake
  /** Opens the log of a stream, making it when there is none. Errors: those of the log. */
  openLog(stream: Stream, events: LogEvents): Promise<StreamLog>
}

export interface LogEvents {
  /** Called once, when nothing will be acknowledged any more. The process should end. */
  onFatal(error: MillraceError): void
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
    openLog: (stream, { onFatal }) =>
      openLocalLog({
        directory: join(dataDirectory, 'log', stream.name),
        stream: stream.name,
        partitions: stream.partitions,
        disk,
        clock,
        onFatal,
      }),
  }
}
