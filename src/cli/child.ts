import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { Clock } from '../base/clock.ts'
import { MillraceError, type SerializedError } from '../base/errors.ts'

const MILLRACE = fileURLToPath(new URL('../../bin/millrace.js', import.meta.url))

/** What a server process says: lines of JSON on both outputs. */
export type ServerEvent =
  | { readonly event: 'ready'; readonly url: string }
  | { readonly event: 'state'; readonly dataset: string; readonly state: string; readonly reason?: string }
  | { readonly event: 'error'; readonly errors: readonly MillraceError[] }
  | { readonly event: 'text'; readonly text: string }

/** `millrace start` in a process of its own. Not in the terminal's group: Ctrl-C is for whoever runs it to handle. */
export class ServerChild {
  readonly #child: ChildProcess
  readonly #clock: Clock
  /** Resolves to the exit code, or the signal. */
  readonly ended: Promise<number | NodeJS.Signals | null>

  constructor(args: readonly string[], clock: Clock, onEvent: (event: ServerEvent) => void) {
    this.#clock = clock
    this.#child = spawn(process.execPath, [...process.execArgv, MILLRACE, 'start', ...args, '--json'], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    })
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      createInterface({ input: stream }).on('line', (line) => onEvent(eventOf(line)))
    this.ended = new Promise((resolve) => {
      this.#child.once('error', () => resolve(null))
      this.#child.once('close', (code, signal) => resolve(code ?? signal))
    })
  }

  /** Lets it process and commit what it acknowledged; ends it by force when that takes too long. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    const done = new AbortController()
    const forced = this.#clock.sleep(STOP_MS_MAX, done.signal).then(() => {
      if (!done.signal.aborted) this.#child.kill('SIGKILL')
    })
    await this.ended
    done.abort()
    await forced
  }
}

const STOP_MS_MAX = 30_000

function eventOf(line: string): ServerEvent {
  try {
    const message = JSON.parse(line) as {
      event?: string
      handler?: string
      error?: SerializedError & { problems?: SerializedError[] }
    }
    if (message.event === 'ready' || message.event === 'state') return message as ServerEvent
    if (message.event === 'handler') return { ...message, event: 'state', dataset: message.handler } as ServerEvent
    if (message.event === 'stopping' || message.event === 'stopped') return { event: 'text', text: '' }
    const { error } = message
    if (typeof error === 'object')
      return { event: 'error', errors: (error.problems ?? [error]).map((each) => MillraceError.from(each)) }
  } catch {
    // Not ours: something a project file printed.
  }
  return { event: 'text', text: line }
}

/** `millrace plan` in a process of its own, for modules are loaded once in a process. Resolves to its JSON document. */
export async function planInChild(
  args: readonly string[],
): Promise<{ readonly document?: PlanDocument; readonly errors: readonly MillraceError[] }> {
  const child = spawn(process.execPath, [...process.execArgv, MILLRACE, 'plan', ...args, '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)])
  try {
    const document = JSON.parse(out.trim().split('\n').at(-1) ?? '') as PlanDocument
    return { document, errors: document.problems.map((each) => MillraceError.from(each)) }
  } catch {
    const events = err.trim().split('\n').map(eventOf)
    const errors = events.flatMap((event) => (event.event === 'error' ? event.errors : []))
    return {
      errors:
        errors.length > 0
          ? errors
          : [new MillraceError('internal', 'plan-failed', `millrace plan failed: ${err.trim()}`)],
    }
  }
}

/** The part of a plan that is used here. */
export interface PlanDocument {
  readonly project: string
  readonly include: readonly string[]
  readonly files: readonly string[]
  readonly problems: readonly SerializedError[]
  readonly datasets: readonly { readonly name: string; readonly kind: 'stream' | 'table' }[]
  readonly endpoints: readonly {
    readonly name: string
    readonly params: readonly { readonly name: string; readonly nullable: boolean }[]
  }[]
}
