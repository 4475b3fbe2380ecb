import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MillraceError } from '../../src/base/errors.ts'
import type { Clock } from '../../src/base/clock.ts'
import { systemClock } from '../../src/base/clock.ts'
import type { StreamLog } from '../../src/log/log.ts'
import type { LogLimits } from '../../src/log/local/limits.ts'
import { openLocalLog } from '../../src/log/local/open.ts'
import type { Disk } from '../../src/storage/disk.ts'
import { systemDisk } from '../../src/storage/disk.ts'
import type { LogHome } from './conformance.ts'

export interface LocalHome extends LogHome {
  readonly directory: string
  readonly fatal: MillraceError[]
  open(options?: { disk?: Disk; limits?: Partial<LogLimits>; partitions?: number }): Promise<StreamLog>
}

/** A directory of its own under the system's temporary one, and a clock that moves when told. */
export async function localHome(limits: Partial<LogLimits> = {}): Promise<LocalHome> {
  const root = await mkdtemp(join(tmpdir(), 'millrace-log-'))
  const directory = join(root, 'orders')
  const fatal: MillraceError[] = []
  let now = Date.UTC(2026, 0, 1)
  const clock: Clock = { ...systemClock, now: () => now }
  return {
    directory,
    fatal,
    open: (options = {}) =>
      openLocalLog({
        directory,
        stream: 'orders',
        partitions: options.partitions ?? 2,
        disk: options.disk ?? systemDisk,
        clock,
        limits: { ...limits, ...options.limits },
        onFatal: (error) => fatal.push(error),
      }),
    advance: (ms) => {
      now += ms
    },
    remove: () => rm(root, { recursive: true, force: true }),
  }
}
