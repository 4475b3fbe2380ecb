import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { SandboxEngine } from './engine.ts'
import type { FromSandbox, SandboxSettings, ToSandbox } from './protocol.ts'
import { memoryExceeded, sqlError } from './sql-error.ts'

/**
 * The process that runs user SQL, one query at a time. It is expendable: `memory_limit` and `interrupt()` of DuckDB are no
 * hard limits, so the kernel bounds its memory and the parent kills it when a query does not stop.
 */

let engine: SandboxEngine | undefined
let memory: MemoryBound | undefined

process.on('message', (message: ToSandbox) => {
  if (message.type === 'interrupt') engine?.interrupt()
  else void answer(message)
})
process.on('disconnect', () => process.exit(0))

async function answer(message: Exclude<ToSandbox, { type: 'interrupt' }>): Promise<void> {
  try {
    if (message.type === 'start') {
      engine = await SandboxEngine.open(message.settings)
      memory = await MemoryBound.set(message.settings)
      await send({ type: 'ready' })
      return
    }
    await send({ type: 'begun' })
    if (message.type === 'analyse') {
      await send({ type: 'analysed', analysis: await engine!.analyse(message.sql) })
    } else {
      const outcome = await engine!.query(message.query, (bytes) => send({ type: 'part', bytes }))
      await send({ type: 'done', outcome, worn: memory!.worn })
    }
  } catch (error) {
    const sql = message.type === 'start' ? '' : message.type === 'query' ? message.query.sql : message.sql
    const worn = memory?.worn ?? true
    const told = sqlError(error, sql)
    // Short of memory, anything can fail in any way.
    await send({ type: 'failed', error: (told.kind === 'internal' && worn ? memoryExceeded() : told).toJSON(), worn })
  }
}

/** Resolves when the message has left, which holds back the encoder when the parent is slow. */
function send(message: FromSandbox): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send!(message, undefined, undefined, (error) => (error === null ? resolve() : reject(error)))
  })
}

/** Above DuckDB's own limit: thread stacks, the encoder, allocations that DuckDB does not account for. */
const MEMORY_MARGIN_BYTES = 192 * 1024 * 1024
const MEMORY_WATCH_MS = 50
/** 128 + SIGKILL, as a shell would report it. */
const MEMORY_EXIT_CODE = 137

/**
 * Bounds this process's memory from now on: by the kernel through `prlimit` (an allocation beyond it fails, which DuckDB
 * reports as an error), and by a look at the resident size every so often, which is all there is where `prlimit` is missing.
 * The kernel counts reservations too, of which Node has hundreds of MiB, so the bound starts from what there is at rest.
 */
class MemoryBound {
  readonly #room: number
  readonly #atRest: number

  private constructor(room: number, atRest: number) {
    this.#room = room
    this.#atRest = atRest
  }

  static async set({ memoryBytes }: SandboxSettings): Promise<MemoryBound> {
    const room = memoryBytes + MEMORY_MARGIN_BYTES
    const bound = new MemoryBound(room, reservedBytes())
    const residentMax = process.memoryUsage.rss() + room
    setInterval(() => {
      if (process.memoryUsage.rss() > residentMax) process.exit(MEMORY_EXIT_CODE)
    }, MEMORY_WATCH_MS).unref()
    try {
      // The kernel's last resort when the whole machine runs out: this process first.
      await writeFile('/proc/self/oom_score_adj', '1000')
      await promisify(execFile)('prlimit', ['--pid', String(process.pid), `--data=${bound.#atRest + room}`, '--core=0'])
    } catch {
      // Not Linux, or without util-linux: the watch above remains.
    }
    return bound
  }

  /** Allocators keep what they once had. Past half, a next query would fail for what an earlier one took. */
  get worn(): boolean {
    return reservedBytes() > this.#atRest + this.#room / 2
  }
}

/** What the kernel counts against the bound, in bytes; where it does not tell, what is resident. */
function reservedBytes(): number {
  try {
    const status = readFileSync('/proc/self/status', 'utf8')
    return Number(/^VmData:\s+(\d+) kB$/m.exec(status)![1]) * 1024
  } catch {
    return process.memoryUsage.rss()
  }
}
