import { randomUUID } from 'node:crypto'
import { link, mkdir, open, rename, rm, stat, truncate } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Disk, DiskFile } from '../../src/storage/disk.ts'
import { storageError, systemDisk } from '../../src/storage/disk.ts'

export interface Fault {
  /** Which operation that changes or syncs something fails: its number, from 1, or the first whose `verb path` matches. */
  readonly at: number | RegExp
  readonly error: 'EIO' | 'ENOSPC'
  /** A failing write leaves this part of its bytes, 0 to 1. */
  readonly torn?: number
  /** Everything after fails too, as for a process that is no more; otherwise the disk works again. */
  readonly lasting: boolean
}

/** What a power loss keeps of what was not synced. */
export interface Loss {
  /** Part, 0 to 1, of the names created, renamed and removed since their directory was synced. */
  readonly names: number
  /** The last of them are kept instead of the first: a file system need not keep their order. */
  readonly lastNames?: boolean
  /** Part, 0 to 1, of the bytes written since their file was synced. */
  readonly bytes: number
  /** The last of the bytes that are kept read as zeros, this part of them: pages that were allocated and never written. */
  readonly zeros?: number
}

interface FileState {
  synced: number
}

interface NameChange {
  readonly directory: string
  undo(): Promise<void>
}

/**
 * The real disk, with one fault. It also remembers what was synced, so that `losePower` can leave the files as a power loss
 * would: content never synced and names whose directory was never synced are gone, wholly or in part.
 */
export class FaultyDisk implements Disk {
  /** Every counted operation so far, as `verb path`. */
  readonly operations: string[] = []
  #fault: Fault | undefined
  /** Operations before the fault was set. */
  #before = 0
  /** Where removed files wait for a power loss to bring them back. On the same file system, outside what is tested. */
  readonly #limbo: string
  readonly #files = new Map<string, FileState>()
  #names: NameChange[] = []
  #crashed = false
  #failed = false

  constructor(limbo: string, fault?: Fault) {
    this.#limbo = limbo
    this.#fault = fault
  }

  /** Sets the fault now: its number counts the operations from here on. */
  arm(fault: Fault): void {
    this.#fault = fault
    this.#before = this.operations.length
    this.#failed = false
  }

  get crashed(): boolean {
    return this.#crashed
  }

  /** The disk as the next process finds it: unsynced content and names are still there, and still unsynced. */
  afterKill(): FaultyDisk {
    this.#crashed = true
    const next = new FaultyDisk(this.#limbo)
    for (const [path, state] of this.#files) next.#files.set(path, state)
    next.#names = [...this.#names]
    return next
  }

  /** Crashes, and leaves on the real disk what a power loss would. */
  async losePower(loss: Loss): Promise<void> {
    this.#crashed = true
    const lost = Math.ceil(this.#names.length * (1 - loss.names))
    const undone = loss.lastNames ? this.#names.slice(0, lost) : this.#names.slice(this.#names.length - lost)
    for (const change of undone.reverse()) await change.undo()
    for (const [path, { synced }] of this.#files) {
      const size = (await stat(path).catch(() => undefined))?.size
      if (size === undefined || size <= synced) continue
      const length = synced + Math.floor((size - synced) * loss.bytes)
      await truncate(path, length)
      const zeros = Math.floor((length - synced) * (loss.zeros ?? 0))
      const file = await open(path, 'r+')
      await file.write(Buffer.alloc(zeros), 0, zeros, length - zeros)
      await file.close()
    }
  }

  async open(path: string, mode: 'read' | 'append' | 'create' | 'update'): Promise<DiskFile> {
    const isNew = mode !== 'read' && mode !== 'update' && (await systemDisk.stat(path)) === undefined
    if (isNew) await this.#step('create', path)
    else this.#live(path)
    const file = await systemDisk.open(path, mode)
    if (isNew) this.#named(path, () => rm(path, { force: true }))
    const state = this.#files.get(path) ?? { synced: isNew ? 0 : await file.size() }
    if (mode !== 'read') this.#files.set(path, state)
    return this.#wrap(path, file, state)
  }

  #wrap(path: string, file: DiskFile, state: FileState): DiskFile {
    return {
      write: (bytes, position) =>
        this.#step('write', path, (part) =>
          file.write(bytes.subarray(0, Math.floor(bytes.length * part)), position),
        ).then(() => file.write(bytes, position)),
      writeAll: async (buffers) => {
        const all = Buffer.concat(buffers)
        await this.#step('write', path, (part) => file.write(all.subarray(0, Math.floor(all.length * part))))
        await file.write(all)
      },
      read: async (position, length) => {
        this.#live(path)
        return file.read(position, length)
      },
      size: async () => {
        this.#live(path)
        return file.size()
      },
      truncate: async (length) => {
        await this.#step('truncate', path)
        await file.truncate(length)
        state.synced = Math.min(state.synced, length)
      },
      dataSync: async () => {
        await this.#step('sync', path)
        await file.dataSync()
        state.synced = await file.size()
      },
      close: () => file.close(),
    }
  }

  async readFile(path: string): Promise<Buffer> {
    this.#live(path)
    return systemDisk.readFile(path)
  }

  async list(path: string): Promise<string[]> {
    this.#live(path)
    return systemDisk.list(path)
  }

  async stat(path: string): ReturnType<Disk['stat']> {
    this.#live(path)
    return systemDisk.stat(path)
  }

  async makeDirectory(path: string): Promise<void> {
    await this.#step('mkdir', path)
    await systemDisk.makeDirectory(path)
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#step('rename', to)
    const saved = await this.#save(to)
    await systemDisk.rename(from, to)
    const state = this.#files.get(from)
    const before = this.#files.get(to)
    this.#move(state, from, to)
    this.#named(to, async () => {
      await rename(to, from)
      this.#move(state, to, from)
      if (saved === undefined) return
      await rename(saved, to)
      if (before !== undefined) this.#files.set(to, before)
    })
  }

  async link(from: string, to: string): Promise<void> {
    await this.#step('link', to)
    await systemDisk.link(from, to)
    this.#named(to, () => rm(to, { force: true }))
  }

  async remove(path: string): Promise<void> {
    if ((await systemDisk.stat(path)) === undefined) return this.#live(path)
    await this.#step('remove', path)
    await this.#bury(path)
  }

  async removeTree(path: string): Promise<void> {
    if ((await systemDisk.stat(path)) === undefined) return this.#live(path)
    await this.#step('remove', path)
    await this.#bury(path)
  }

  async syncFile(path: string): Promise<void> {
    await this.#step('sync', path)
    await systemDisk.syncFile(path)
    const state = this.#files.get(path)
    if (state !== undefined) state.synced = (await stat(path)).size
  }

  async syncDirectory(path: string): Promise<void> {
    await this.#step('syncdir', path)
    await systemDisk.syncDirectory(path)
    this.#names = this.#names.filter(({ directory }) => directory !== path)
  }

  #live(path: string): void {
    if (this.#crashed) throw failure('EIO', path)
  }

  /** Counts an operation, and fails it when its turn has come; `tear` leaves a part of it. */
  async #step(verb: string, path: string, tear?: (part: number) => Promise<void>): Promise<void> {
    this.#live(path)
    this.operations.push(`${verb} ${path}`)
    const fault = this.#fault
    if (fault === undefined || this.#failed || !this.#isDue(fault.at)) return
    this.#failed = true
    if (fault.lasting) this.#crashed = true
    if (fault.torn !== undefined) await tear?.(fault.torn)
    throw failure(fault.error, path)
  }

  #isDue(at: number | RegExp): boolean {
    return typeof at === 'number' ? this.operations.length === this.#before + at : at.test(this.operations.at(-1)!)
  }

  #named(path: string, undo: () => Promise<void>): void {
    this.#names.push({ directory: dirname(path), undo })
  }

  #move(state: FileState | undefined, from: string, to: string): void {
    this.#files.delete(from)
    if (state !== undefined) this.#files.set(to, state)
  }

  async #bury(path: string): Promise<void> {
    await mkdir(this.#limbo, { recursive: true })
    const grave = join(this.#limbo, randomUUID())
    const state = this.#files.get(path)
    await rename(path, grave)
    this.#move(state, path, grave)
    this.#named(path, async () => {
      // What has been made there since past this disk, as an engine's temporary files, goes.
      await rm(path, { recursive: true, force: true })
      await rename(grave, path)
      this.#move(state, grave, path)
    })
  }

  /** A second name for what a rename is about to replace. */
  async #save(path: string): Promise<string | undefined> {
    if ((await systemDisk.stat(path)) === undefined) return undefined
    await mkdir(this.#limbo, { recursive: true })
    const saved = join(this.#limbo, randomUUID())
    await link(path, saved)
    return saved
  }
}

function failure(code: 'EIO' | 'ENOSPC', path: string): Error {
  return storageError(Object.assign(new Error(`${code}: injected`), { code }), path)
}
