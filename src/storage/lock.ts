import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { MillraceError, messageOf } from '../base/errors.ts'

export interface DirectoryLock {
  /** Lets another process have the directory. */
  release(): Promise<void>
}

/**
 * Takes a directory for this process alone. The lock is SQLite's exclusive lock on `lock.db`, a file lock of the kernel's: it ends
 * with the process, however that ends. `lock.pid` only serves the message. Not for network file systems without locks.
 * Nothing else in this process may open and close `lock.db`: that would end the lock (fcntl(2)).
 *
 * Errors: `conflict`/`data-locked` when another process, or another part of this one, holds it; `invalid`/`not-a-directory`;
 * `denied`/`no-access`.
 */
export async function lockDirectory(path: string): Promise<DirectoryLock> {
  const pidPath = join(path, 'lock.pid')
  let database: DatabaseSync | undefined
  try {
    mkdirSync(path, { recursive: true })
    database = new DatabaseSync(join(path, 'lock.db'))
    database.exec('BEGIN EXCLUSIVE')
    writeFileSync(pidPath, `${process.pid}\n`)
  } catch (error) {
    database?.close()
    throw lockError(path, pidPath, error)
  }
  let held = true
  return {
    release: async () => {
      if (!held) return
      held = false
      // Before the lock, so that it never removes the next holder's.
      rmSync(pidPath, { force: true })
      database.close()
    },
  }
}

function lockError(path: string, pidPath: string, error: unknown): MillraceError {
  if (isNodeError(error, 'EEXIST', 'ENOTDIR')) {
    return new MillraceError('invalid', 'not-a-directory', `The data directory ${path} is a file, or within one.`, {
      hint: 'Name a directory, which may be new (--data).',
      context: { path },
      cause: error,
    })
  }
  if (isNodeError(error, 'EACCES', 'EPERM', 'EROFS') || isSqlite(error, SQLITE_READONLY, SQLITE_CANTOPEN)) {
    return new MillraceError(
      'denied',
      'no-access',
      `The data directory ${path} cannot be written: ${messageOf(error)}.`,
      {
        hint: 'Give this user the right to write there, or use another directory (--data).',
        context: { path },
        cause: error,
      },
    )
  }
  if (!isSqlite(error, SQLITE_BUSY)) {
    return new MillraceError(
      'internal',
      'lock-failed',
      `The data directory ${path} cannot be locked: ${messageOf(error)}.`,
      {
        hint: 'Check that it is writable and on a local disk.',
        context: { path },
        cause: error,
      },
    )
  }
  const pid = holder(pidPath)
  const who = pid === undefined ? 'another process' : pid === process.pid ? `this process (${pid})` : `process ${pid}`
  return new MillraceError('conflict', 'data-locked', `The data directory ${path} is in use by ${who}.`, {
    hint: 'Stop that process, or use another data directory (--data).',
    context: { path, pid },
  })
}

function isNodeError(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}

const SQLITE_BUSY = 5
const SQLITE_READONLY = 8
const SQLITE_CANTOPEN = 14

function isSqlite(error: unknown, ...codes: readonly number[]): boolean {
  return error instanceof Error && 'errcode' in error && codes.includes(Number(error.errcode))
}

/** undefined in the moment between a holder's lock and its note. */
function holder(pidPath: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(pidPath, 'utf8'), 10) || undefined
  } catch {
    return undefined
  }
}
