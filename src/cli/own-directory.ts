import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type DirectoryLock, lockDirectory } from '../storage/lock.ts'
import type { Home } from './home.ts'

export interface OwnDirectory {
  readonly path: string
  /** Removes it. */
  close(): Promise<void>
}

/**
 * A directory below the home's for what this process alone needs while it lasts: copies of files, what is being computed. Those that killed
 * processes left are removed. Errors: those of `lockDirectory`.
 */
export async function ownDirectory({ data }: Home): Promise<OwnDirectory> {
  const all = join(data, 'commands')
  mkdirSync(all, { recursive: true })
  for (const name of readdirSync(all)) await removeAbandoned(join(all, name))
  const path = join(all, randomBytes(6).toString('hex'))
  const lock = await lockDirectory(path)
  return {
    path,
    close: async () => {
      await lock.release()
      rmSync(path, { recursive: true, force: true })
    },
  }
}

async function removeAbandoned(path: string): Promise<void> {
  let lock: DirectoryLock
  try {
    lock = await lockDirectory(path)
  } catch {
    // Whoever has it removes it.
    return
  }
  // Under the lock: its owner is gone, and names are never taken again.
  rmSync(path, { recursive: true, force: true })
  await lock.release()
}
