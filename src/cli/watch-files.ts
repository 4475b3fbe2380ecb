import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import type { Disk } from '../storage/disk.ts'
import { CONFIG_FILE, projectFiles } from './load-project.ts'

const LOOK_MS = 300
/** A look may take this share of the time: large folders are looked at less often. */
const SHARE = 0.1

export interface WatchOptions {
  readonly root: string
  /** The globs of the moment. */
  include(): readonly string[]
  /** Files the project imports at the moment. */
  imported(): readonly string[]
  readonly clock: Clock
  readonly disk: Disk
  readonly signal: AbortSignal
}

/**
 * Yields the names of project files that came, went or changed, in batches, from the moment of the first call on: TypeScript
 * and SQL files, and the JSON files that are imported, for others may be data. Looks at names, sizes and times instead of
 * asking the kernel: editors that replace files, network disks and containers all work.
 */
export async function* changedFiles({
  root,
  include,
  imported,
  clock,
  disk,
  signal,
}: WatchOptions): AsyncGenerator<string[]> {
  let before = await stamps(root, include(), disk)
  while (!signal.aborted) {
    const started = clock.monotonic()
    let now = await stamps(root, include(), disk)
    await clock.sleep(Math.max(LOOK_MS, (clock.monotonic() - started) / SHARE), signal)
    let changed = difference(before, now)
    if (changed.length === 0) continue
    // Saving several files takes an editor a moment: wait until nothing moves.
    for (;;) {
      const settled = await stamps(root, include(), disk)
      if (difference(now, settled).length === 0) break
      now = settled
      await clock.sleep(LOOK_MS, signal)
    }
    changed = difference(before, now)
    before = now
    changed = changed.filter((file) => !file.endsWith('.json') || imported().includes(file))
    if (!signal.aborted && changed.length > 0) yield changed.map((file) => file.slice(root.length + 1))
  }
}

/** Files that declarations may be read from beside TypeScript. */
const TEXTS = ['**/*.sql', '**/*.json']

type Stamps = ReadonlyMap<string, string>

async function stamps(root: string, include: readonly string[], disk: Disk): Promise<Stamps> {
  const files = [join(root, CONFIG_FILE), ...(await projectFiles(root, [...include, ...TEXTS]))]
  const stats = await Promise.all(files.map(async (file) => [file, await disk.stat(file)] as const))
  return new Map(
    stats.flatMap(([file, stat]) => (stat === undefined ? [] : [[file, `${stat.mtimeMs} ${stat.size}`] as const])),
  )
}

function difference(before: Stamps, after: Stamps): string[] {
  const names = new Set([...before.keys(), ...after.keys()])
  return [...names].filter((name) => before.get(name) !== after.get(name))
}
