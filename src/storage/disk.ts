import * as fs from 'node:fs/promises'
import { constants } from 'node:fs'
import { dirname } from 'node:path'
import { MillraceError } from '../base/errors.ts'

/**
 * The file system as an effect. Everything durable goes through it, so that tests can fail the Nth write, fsync, rename
 * or link and look at what survives.
 */
export interface Disk {
  /** Opens a file. `append` creates it if missing and positions writes at its end; `create` fails if it exists. */
  open(path: string, mode: 'read' | 'append' | 'create' | 'update'): Promise<DiskFile>
  readFile(path: string): Promise<Buffer>
  /** Names in a directory; empty when it does not exist. */
  list(path: string): Promise<string[]>
  /** Size in bytes and modification time, or undefined when there is no such file. */
  stat(path: string): Promise<{ size: number; mtimeMs: number; directory: boolean } | undefined>
  makeDirectory(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  /** Hard link: puts `to` if absent, atomically. Throws `conflict` / `exists` when it is there. */
  link(from: string, to: string): Promise<void>
  /** Removes a file; none is no error. */
  remove(path: string): Promise<void>
  removeTree(path: string): Promise<void>
  /** fsync of a file written by somebody else (DuckDB's COPY never does it). */
  syncFile(path: string): Promise<void>
  /** fsync of a directory: makes names created, renamed or linked in it durable. */
  syncDirectory(path: string): Promise<void>
}

export interface DiskFile {
  /** Writes all of the bytes at the end (append) or at `position`. */
  write(bytes: Uint8Array, position?: number): Promise<void>
  /** Writes all buffers one after the other at the end (append), without joining them in memory first. */
  writeAll(buffers: readonly Uint8Array[]): Promise<void>
  read(position: number, length: number): Promise<Buffer>
  size(): Promise<number>
  truncate(length: number): Promise<void>
  /** fdatasync. After a failure the file must not be used again: the kernel has marked its pages clean. */
  dataSync(): Promise<void>
  close(): Promise<void>
}

const FLAGS = {
  read: constants.O_RDONLY,
  append: constants.O_RDWR | constants.O_CREAT | constants.O_APPEND,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
  update: constants.O_RDWR,
} as const

export const systemDisk: Disk = {
  async open(path, mode) {
    const handle = await wrap(() => fs.open(path, FLAGS[mode], 0o644), path)
    return {
      async write(bytes, position) {
        let done = 0
        while (done < bytes.length) {
          const at = position === undefined ? null : position + done
          const { bytesWritten } = await wrap(() => handle.write(bytes, done, bytes.length - done, at), path)
          done += bytesWritten
        }
      },
      async writeAll(buffers) {
        let rest = buffers
        while (rest.length > 0) {
          const { bytesWritten } = await wrap(() => handle.writev(rest), path)
          rest = after(rest, bytesWritten)
        }
      },
      read: (position, length) =>
        wrap(async () => {
          const buffer = Buffer.allocUnsafe(length)
          let done = 0
          while (done < length) {
            const { bytesRead } = await handle.read(buffer, done, length - done, position + done)
            if (bytesRead === 0) break
            done += bytesRead
          }
          return buffer.subarray(0, done)
        }, path),
      size: async () => (await handle.stat()).size,
      truncate: (length) => wrap(() => handle.truncate(length), path),
      dataSync: () => wrap(() => handle.datasync(), path),
      close: () => handle.close(),
    }
  },
  readFile: (path) => wrap(() => fs.readFile(path), path),
  async list(path) {
    try {
      return (await fs.readdir(path)).sort()
    } catch (error) {
      if (isCode(error, 'ENOENT')) return []
      throw storageError(error, path)
    }
  },
  async stat(path) {
    try {
      const { size, mtimeMs, isDirectory } = await fs
        .stat(path)
        .then((s) => ({ size: s.size, mtimeMs: s.mtimeMs, isDirectory: s.isDirectory() }))
      return { size, mtimeMs, directory: isDirectory }
    } catch (error) {
      if (isCode(error, 'ENOENT') || isCode(error, 'ENOTDIR')) return undefined
      throw storageError(error, path)
    }
  },
  async makeDirectory(path) {
    const first = await wrap(() => fs.mkdir(path, { recursive: true }), path)
    // A new directory is durable once its parent is synced; mkdir -p may have made several.
    if (first !== undefined)
      for (let at = path; at.length >= first.length; at = dirname(at)) await systemDisk.syncDirectory(dirname(at))
  },
  rename: (from, to) => wrap(() => fs.rename(from, to), to),
  link: (from, to) => wrap(() => fs.link(from, to), to),
  async remove(path) {
    await wrap(() => fs.rm(path, { force: true }), path)
  },
  async removeTree(path) {
    await wrap(() => fs.rm(path, { recursive: true, force: true }), path)
  },
  async syncFile(path) {
    const handle = await wrap(() => fs.open(path, 'r'), path)
    try {
      await wrap(() => handle.datasync(), path)
    } finally {
      await handle.close()
    }
  },
  async syncDirectory(path) {
    const handle = await wrap(() => fs.open(path, 'r'), path)
    try {
      await wrap(() => handle.sync(), path)
    } finally {
      await handle.close()
    }
  },
}

/**
 * Replaces a file's content atomically and durably: temporary file, fsync, rename, directory fsync. After a crash the
 * old or the new content is there, never a mixture.
 */
export async function replaceFile(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.tmp`
  await disk.remove(temporary)
  const file = await disk.open(temporary, 'create')
  try {
    await file.write(bytes)
    await file.dataSync()
  } finally {
    await file.close()
  }
  await disk.rename(temporary, path)
  await disk.syncDirectory(dirname(path))
}

/** What is left of buffers when the first `bytes` of them are written. */
function after(buffers: readonly Uint8Array[], bytes: number): readonly Uint8Array[] {
  let left = bytes
  let first = 0
  while (first < buffers.length && left >= buffers[first]!.length) left -= buffers[first++]!.length
  if (left === 0) return first === 0 ? buffers : buffers.slice(first)
  return [buffers[first]!.subarray(left), ...buffers.slice(first + 1)]
}

async function wrap<T>(work: () => Promise<T>, path: string): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw storageError(error, path)
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

/** What an errno means for the caller. */
export function storageError(error: unknown, path: string): MillraceError {
  if (error instanceof MillraceError) return error
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
  const details = { context: { path }, cause: error }
  switch (code) {
    case 'EEXIST':
      return new MillraceError('conflict', 'exists', `${path} exists already.`, details)
    case 'ENOENT':
      return new MillraceError('invalid', 'not-found', `${path} does not exist.`, details)
    case 'ENOSPC':
    case 'EDQUOT':
      return new MillraceError('unavailable', 'disk-full', `The disk holding ${path} is full (${code}).`, {
        ...details,
        hint: 'Free space or move the data directory, then start again; nothing acknowledged is lost.',
      })
    case 'EIO':
      return new MillraceError(
        'corrupt',
        'io-error',
        `The disk holding ${path} reported an input/output error (EIO).`,
        {
          ...details,
          hint: 'Check the device before starting again; nothing acknowledged before this is lost.',
        },
      )
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new MillraceError('denied', 'no-access', `${path} cannot be accessed (${code}).`, {
        ...details,
        hint: 'Check its owner and mode.',
      })
    default:
      return new MillraceError(
        'internal',
        'io',
        `${path}: ${error instanceof Error ? error.message : String(error)}`,
        details,
      )
  }
}
