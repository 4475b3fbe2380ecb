import { MillraceError } from '../../../src/base/errors.ts'
import type { Disk, DiskFile } from '../../../src/storage/disk.ts'

/**
 * A disk whose Nth change is made and then reported as failed: the error whose outcome the caller cannot know. Counts as
 * it goes, so that a run without fault tells how many there are.
 */
export class LateFaultDisk implements Disk {
  readonly #disk: Disk
  readonly #at: number
  changes = 0

  constructor(disk: Disk, at: number) {
    this.#disk = disk
    this.#at = at
  }

  async open(path: string, mode: 'read' | 'append' | 'create' | 'update'): Promise<DiskFile> {
    const file = await this.#disk.open(path, mode)
    const late = <T>(work: Promise<T>): Promise<T> => this.#late(work, path)
    return {
      ...file,
      write: (bytes, position) => late(file.write(bytes, position)),
      writeAll: (buffers) => late(file.writeAll(buffers)),
      dataSync: () => late(file.dataSync()),
    }
  }

  readFile(path: string): Promise<Buffer> {
    return this.#disk.readFile(path)
  }

  list(path: string): Promise<string[]> {
    return this.#disk.list(path)
  }

  stat(path: string): ReturnType<Disk['stat']> {
    return this.#disk.stat(path)
  }

  makeDirectory(path: string): Promise<void> {
    return this.#late(this.#disk.makeDirectory(path), path)
  }

  rename(from: string, to: string): Promise<void> {
    return this.#late(this.#disk.rename(from, to), to)
  }

  link(from: string, to: string): Promise<void> {
    return this.#late(this.#disk.link(from, to), to)
  }

  remove(path: string): Promise<void> {
    return this.#late(this.#disk.remove(path), path)
  }

  removeTree(path: string): Promise<void> {
    return this.#late(this.#disk.removeTree(path), path)
  }

  syncFile(path: string): Promise<void> {
    return this.#late(this.#disk.syncFile(path), path)
  }

  syncDirectory(path: string): Promise<void> {
    return this.#late(this.#disk.syncDirectory(path), path)
  }

  async #late<T>(work: Promise<T>, path: string): Promise<T> {
    const result = await work
    if (++this.changes === this.#at)
      throw new MillraceError('corrupt', 'io-error', `EIO: injected after the fact, ${path}`)
    return result
  }
}
