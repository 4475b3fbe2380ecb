import { chmodSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What a running server tells the commands beside it. */
export interface ServerNote {
  readonly pid: number
  readonly url: string
  /** For control requests; good for the others too. */
  readonly token: string
  /** When it read the project's files, ms since the epoch. */
  readonly startedMs: number
}

const pathOf = (data: string) => join(data, 'server.json')

/** Written in one step, readable by its owner only: the token lets its bearer change data. */
export function writeServerNote(data: string, note: ServerNote): void {
  const temporary = `${pathOf(data)}.tmp`
  rmSync(temporary, { force: true })
  writeFileSync(temporary, `${JSON.stringify(note)}\n`, { mode: 0o600, flag: 'wx' })
  chmodSync(temporary, 0o600)
  renameSync(temporary, pathOf(data))
}

export function removeServerNote(data: string): void {
  rmSync(pathOf(data), { force: true })
}

/** undefined when there is none, or when the process it names is gone. */
export function readServerNote(data: string): ServerNote | undefined {
  try {
    const note = JSON.parse(readFileSync(pathOf(data), 'utf8')) as ServerNote
    return isAlive(note.pid) ? note : undefined
  } catch {
    return undefined
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // Alive, and somebody else's.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
