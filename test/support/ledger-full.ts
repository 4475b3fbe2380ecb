import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A small file system of its own that can be made larger. Only where this process may mount one. */
export class SmallDisk {
  readonly path = mkdtempSync(join(tmpdir(), 'millrace-full-'))
  readonly mounted: boolean

  constructor(mebibytes: number) {
    this.mounted = run('mount', '-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', this.path)
  }

  grow(mebibytes: number): void {
    run('mount', '-o', `remount,size=${mebibytes}m`, this.path)
  }

  remove(): void {
    if (this.mounted) run('umount', '-l', this.path)
    rmSync(this.path, { recursive: true, force: true })
  }
}

/** Whether file systems may be mounted here. */
export function canMount(): boolean {
  const disk = new SmallDisk(1)
  disk.remove()
  return disk.mounted
}

function run(command: string, ...args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0
}
