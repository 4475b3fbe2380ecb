import { MillraceError, asMillraceError } from '../../base/errors.ts'
import type { Appended } from '../log.ts'
import type { BatchAppend } from './batch.ts'
import type { SentAppend } from './producer.ts'
import type { BegunRequest, RequestStore } from './requests.ts'

export interface KeyedOptions {
  readonly stream: string
  readonly partition: number
  readonly requests: RequestStore
  /** A request that nobody has finished for so long, ms, is taken over: whoever began it has given up. */
  readonly abandonedMs: number
  /** Offset after what is known to be in the topic. */
  end(): number
  send(append: BatchAppend): SentAppend
  /** Looks for an append with this key from an offset on. */
  find(key: string, from: number): Promise<{ from: number; to: number } | undefined>
}

/** Appends with an idempotency key: each key changes the topic once, whoever repeats it and wherever. */
export class KeyedAppends {
  readonly #options: KeyedOptions
  /** Those of this process that are not decided. */
  readonly #underWay = new Map<string, Promise<number>>()

  constructor(options: KeyedOptions) {
    this.#options = options
  }

  /** Errors: `invalid`/`idempotency-mismatch`; `conflict`/`request-pending`; those of the append. */
  async append(key: string, digest: string, append: BatchAppend): Promise<Appended> {
    const { stream, partition, requests, abandonedMs, end, find } = this.#options
    const name = `${partition}/${key}`
    await this.#underWay.get(name)
    const state = await requests.begin(stream, name, digest, { from: end() }, { abandonedMs })
    if (state.state === 'finished') return { ...(state.result as { from: number; to: number }), repeated: true }
    if (state.state === 'pending') {
      const sent = this.#underWay.get(name)
      if (sent === undefined) throw pendingElsewhere(stream, key)
      await sent
      return this.append(key, digest, append)
    }
    if (state.earlier !== undefined) {
      const found = await find(key, (state.earlier as { from: number }).from)
      if (found !== undefined) {
        await requests.finish(state.request, found)
        return { ...found, repeated: true }
      }
    }
    return this.#send(name, state.request, append)
  }

  async #send(name: string, request: BegunRequest, append: BatchAppend): Promise<Appended> {
    const { requests, send } = this.#options
    let sent: SentAppend
    try {
      sent = send(append)
    } catch (error) {
      await requests.abandon(request)
      throw error
    }
    const result = (from: number) => ({ from, to: from + append.records })
    // Whoever repeats it meanwhile waits for the answer, and finds it undecided when that is late.
    this.#underWay.set(name, sent.answer)
    const noted = sent.outcome
      .then(
        (from) => requests.finish(request, result(from)),
        (error: unknown) => (asMillraceError(error).code === 'append-unknown' ? undefined : requests.abandon(request)),
      )
      // Undone, it stays pending: whoever repeats it later looks into the topic.
      .catch(() => undefined)
      .finally(() => this.#underWay.delete(name))
    const from = await sent.answer
    await noted
    return { ...result(from), repeated: false }
  }
}

function pendingElsewhere(stream: string, key: string): MillraceError {
  return new MillraceError('conflict', 'request-pending', `Another process is at the request with key '${key}'.`, {
    hint: 'Send it again in a moment, with the same key: the answer is that of the other process.',
    context: { stream },
  })
}
