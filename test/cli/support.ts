import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll } from 'vitest'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
export const MILLRACE = join(ROOT, 'bin', 'millrace.js')
export const SHOP = join(ROOT, 'examples', 'shop')

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly cwd?: string
  readonly env?: Record<string, string>
  readonly input?: string
  readonly nodeFlags?: readonly string[]
}

/** What JSON.parse gives: tests know what they expect. */
export type Json = ReturnType<typeof JSON.parse>

const children = new Set<ChildProcess>()
const folders: string[] = []

afterAll(() => {
  for (const child of children) child.kill('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** An empty folder that goes with the test file. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'cli-'))
  folders.push(path)
  return path
}

/** Writes files, by path relative to a folder. */
export function write(root: string, files: Record<string, string>): string {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true })
    writeFileSync(join(root, name), content)
  }
  return root
}

/** A project with a configuration and these files. */
export function project(files: Record<string, string>): string {
  return write(folder(), {
    'package.json': '{"type":"module"}',
    'millrace.config.ts': "import { defineConfig } from 'millrace'\nexport default defineConfig({ name: 'test' })\n",
    ...files,
  })
}

function start(args: readonly string[], { cwd = ROOT, env = {}, nodeFlags = [] }: RunOptions): ChildProcess {
  const { FORCE_COLOR: _, NO_COLOR: __, ...inherited } = process.env
  const child = spawn(process.execPath, [...nodeFlags, MILLRACE, ...args], {
    cwd,
    env: { ...inherited, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  children.add(child)
  child.once('close', () => children.delete(child))
  return child
}

/** Runs a command to its end. */
export async function millrace(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const child = start(args, options)
  child.stdin!.end(options.input ?? '')
  const ended = new Promise<Pick<Ended, 'code' | 'signal'>>((resolve) =>
    child.once('close', (code, signal) => resolve({ code, signal })),
  )
  const [stdout, stderr] = await Promise.all([text(child.stdout!), text(child.stderr!)])
  return { ...(await ended), stdout, stderr }
}

/** A command that goes on until it is told to stop. */
export class Running {
  readonly child: ChildProcess
  readonly #lines: string[] = []
  readonly #waiting = new Set<() => void>()
  readonly ended: Promise<Ended>

  constructor(args: readonly string[], options: RunOptions = {}) {
    this.child = start(args, options)
    for (const stream of [this.child.stdout!, this.child.stderr!])
      createInterface({ input: stream }).on('line', (line) => {
        this.#lines.push(line)
        this.#wake()
      })
    this.ended = new Promise((resolve) =>
      this.child.once('close', (code, signal) => {
        this.#wake()
        resolve({ code, signal, stdout: this.output, stderr: this.output })
      }),
    )
  }

  get output(): string {
    return this.#lines.join('\n')
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }

  /** The first match in what it has printed, from a line on, as soon as there is one. */
  async says(pattern: RegExp, fromLine = 0): Promise<RegExpExecArray> {
    let late = false
    const timer = setTimeout(() => {
      late = true
      this.#wake()
    }, 40_000)
    try {
      return await this.#says(pattern, fromLine, () => late)
    } finally {
      clearTimeout(timer)
    }
  }

  async #says(pattern: RegExp, fromLine: number, isLate: () => boolean): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.#lines.slice(fromLine).join('\n'))
      if (found) return found
      if (isLate()) throw new Error(`it has not said ${pattern} yet:\n${this.output}`)
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(
          `it ended (${this.child.exitCode ?? this.child.signalCode}) without saying ${pattern}:\n${this.output}`,
        )
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  /** Number of lines so far. */
  get lines(): number {
    return this.#lines.length
  }

  kill(signal: NodeJS.Signals): Promise<Ended> {
    this.child.kill(signal)
    return this.ended
  }
}

/** Starts a server on a free port. */
export async function serve(
  root: string,
  data: string,
  options: RunOptions & { args?: readonly string[] } = {},
): Promise<{ running: Running; url: string }> {
  const running = new Running(
    ['start', '--project', root, '--data', data, '--port', '0', ...(options.args ?? [])],
    options,
  )
  const [, url] = await running.says(/(http:\/\/[\d.]+:\d+)/)
  return { running, url: url! }
}

export async function post(
  url: string,
  path: string,
  body: string,
  type = 'application/x-ndjson',
): Promise<{ status: number; body: Json }> {
  const response = await fetch(url + path, { method: 'POST', headers: { 'content-type': type }, body })
  return { status: response.status, body: await response.json() }
}

export async function get(url: string, path: string): Promise<Json> {
  return (await fetch(url + path)).json()
}

/** Looks again and again until the answer is as wanted. */
export async function until<T>(ask: () => Promise<T>, wanted: (answer: T) => boolean, triesMax = 300): Promise<T> {
  for (let tries = 0; ; tries++) {
    const answer = await ask()
    if (wanted(answer)) return answer
    if (tries > triesMax) throw new Error(`never came: ${JSON.stringify(answer)}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** A small project: events over HTTP, and a table of them. */
export const EVENTS = {
  'events.ts': `
import { check, sql, stream, t, table } from 'millrace'
export const events = stream('events', {
  columns: { id: t.string(), kind: t.string(), amount: t.decimal(10, 2) },
  unique: ['id'],
  checks: [check.oneOf('kind', ['a', 'b'])],
})
export const totals = table('totals', { sql: sql\`select kind, sum(amount) as total from \${events} group by kind\` })
`,
}

export const lines = (...records: object[]): string => records.map((record) => `${JSON.stringify(record)}\n`).join('')
