import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { StateTarget } from '../../src/state/state.ts'

/** What a process that holds leases is asked. */
export type HolderQuestion =
  | { verb: 'acquire'; name: string; holder: string; ttlMs: number }
  | { verb: 'renew'; name: string; holder: string; ttlMs: number; epoch: number }
  | { verb: 'keep'; pool: string; items: readonly string[]; member: string; ttlMs: number }

/** A process of its own that holds leases, and can be paused. */
export class HolderProcess {
  readonly #child: ChildProcess
  readonly #answers: unknown[] = []
  readonly #events: string[] = []
  #ring: () => void = () => undefined

  private constructor(child: ChildProcess) {
    this.#child = child
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const said = JSON.parse(line) as { answer: unknown } | { event: string }
      if ('event' in said) this.#events.push(said.event)
      else this.#answers.push(said.answer)
      this.#ring()
    })
  }

  static async start(target: StateTarget): Promise<HolderProcess> {
    const script = fileURLToPath(import.meta.resolve('./lease-holder.ts'))
    const child = spawn(process.execPath, [script, JSON.stringify(target)], { stdio: ['pipe', 'pipe', 'inherit'] })
    const holder = new HolderProcess(child)
    await holder.#answer()
    return holder
  }

  async ask(question: HolderQuestion): Promise<unknown> {
    this.#child.stdin!.write(`${JSON.stringify(question)}\n`)
    return this.#answer()
  }

  /** Waits until what a keeper told so far is enough, and returns it. */
  async told(isEnough: (events: readonly string[]) => boolean): Promise<readonly string[]> {
    while (!isEnough(this.#events)) await new Promise<void>((resolve) => (this.#ring = resolve))
    return [...this.#events]
  }

  pause(): void {
    this.#child.kill('SIGSTOP')
  }

  wake(): void {
    this.#child.kill('SIGCONT')
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  async #answer(): Promise<unknown> {
    while (this.#answers.length === 0) await new Promise<void>((resolve) => (this.#ring = resolve))
    return this.#answers.shift() ?? null
  }
}
