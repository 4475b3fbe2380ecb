import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceError } from '../../src/base/errors.ts'

/** A process that cannot be mistaken for another one that got its number later. */
export interface ProcessId {
  pid: number
  /** When it began: the boot of the machine and clock ticks since then (proc_pid_stat(5), starttime). */
  began: string
}

export interface Program {
  /** Unique in a home: `kafka-2`. Its log is `<name>.log` in the service's folder. */
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly cwd: string
  readonly log: string
  /** What asks it to end well. Default: SIGTERM. */
  readonly stopSignal?: NodeJS.Signals
}

/** Starts a program that outlives this process. What it prints is added to its log. */
export function startProcess(program: Program): ProcessId {
  const log = openSync(program.log, 'a')
  try {
    const child = spawn(program.command, program.args, {
      cwd: program.cwd,
      env: { ...process.env, ...program.env },
      detached: true,
      stdio: ['ignore', log, log],
    })
    // Told by the missing pid below.
    child.on('error', () => {})
    child.unref()
    const began = child.pid === undefined ? undefined : beginning(child.pid)
    if (child.pid === undefined || began === undefined)
      throw new MillraceError('unavailable', 'not-started', `${program.command} could not be started.`, {
        hint: `See ${program.log}.`,
      })
    return { pid: child.pid, began }
  } finally {
    closeSync(log)
  }
}

export function isRunning({ pid, began }: ProcessId): boolean {
  return beginning(pid) === began
}

/** Asks a process to end and, when it has not after a while, ends it. One that is another by now is left alone. */
export async function stopProcess(id: ProcessId, signal: NodeJS.Signals, graceMs = 20_000): Promise<void> {
  signalProcess(id, signal)
  if (await hasEnded(id, graceMs)) return
  signalProcess(id, 'SIGKILL')
  if (await hasEnded(id, 10_000)) return
  throw new MillraceError('unavailable', 'not-stopped', `The process ${id.pid} did not end.`)
}

function signalProcess(id: ProcessId, signal: NodeJS.Signals): void {
  if (isRunning(id)) process.kill(id.pid, signal)
}

/** Waits for the end of a process; false when it still runs after that time. */
export async function hasEnded(id: ProcessId, withinMs: number): Promise<boolean> {
  for (let waitedMs = 0; isRunning(id); waitedMs += 20) {
    if (waitedMs > withinMs) return false
    await sleep(20)
  }
  return true
}

/** Ends a process and its children at once. */
export async function killFamily(id: ProcessId): Promise<void> {
  if (!isRunning(id)) return
  // First the parent, which would start others.
  for (const pid of [id.pid, ...childrenOf(id.pid)]) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has ended by itself.
    }
  }
  await hasEnded(id, 10_000)
  await isForgotten(id, 2_000)
}

/** Waits until nothing has the number of an ended process: a server that begins again takes it for alive as long as there is a zombie. */
async function isForgotten({ pid }: ProcessId, withinMs: number): Promise<void> {
  for (let waitedMs = 0; statOf(pid) !== undefined && waitedMs <= withinMs; waitedMs += 20) await sleep(20)
}

/** Bytes of memory that a process and its children have, what they share counted once (proportional set size). */
export function memoryOf({ pid }: ProcessId): number {
  return [pid, ...childrenOf(pid)].reduce((sum, one) => sum + proportionalBytes(one), 0)
}

function proportionalBytes(pid: number): number {
  const text = readProc(`/proc/${pid}/smaps_rollup`)
  return Number(/^Pss:\s+(\d+) kB$/m.exec(text ?? '')?.[1] ?? 0) * 1024
}

function childrenOf(pid: number): number[] {
  const all = readdirSync('/proc').map(Number)
  return all.filter((other) => other > 0 && statOf(other)?.parent === pid)
}

function beginning(pid: number): string | undefined {
  const stat = statOf(pid)
  // What has ended stays as a zombie until its parent asks.
  if (stat === undefined || stat.state === 'Z' || stat.state === 'X') return undefined
  const boot = readProc('/proc/sys/kernel/random/boot_id') ?? ''
  return `${boot.trim()}:${stat.ticks}`
}

function statOf(pid: number): { state: string; parent: number; ticks: string } | undefined {
  const text = readProc(`/proc/${pid}/stat`)
  if (text === undefined) return undefined
  // The name, in parentheses, may hold anything: count from the last of these. Fields 3, 4 and 22.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return { state: fields[0]!, parent: Number(fields[1]), ticks: fields[19]! }
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
