import type { SqlResult } from './sandbox/sql-process.ts'

/** A map that forgets what was used longest ago. */
export class Recent<K, V> {
  readonly #entries = new Map<K, V>()
  readonly #entriesMax: number

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax
  }

  get(key: K): V | undefined {
    const value = this.#entries.get(key)
    if (value === undefined) return undefined
    this.#entries.delete(key)
    this.#entries.set(key, value)
    return value
  }

  set(key: K, value: V): void {
    this.#entries.delete(key)
    this.#entries.set(key, value)
    if (this.#entries.size > this.#entriesMax) this.#entries.delete(this.#entries.keys().next().value!)
  }

  delete(key: K): void {
    this.#entries.delete(key)
  }
}

export type KeptAnswer = Omit<SqlResult, 'file'>

/** Answers by ETag. An ETag is made of snapshot versions, so an entry is never stale; it is only forgotten for room. */
export class AnswerCache {
  readonly #entries = new Map<string, KeptAnswer>()
  readonly #bytesMax: number
  readonly #answerBytesMax: number
  #bytes = 0

  constructor(bytesMax: number, answerBytesMax: number) {
    this.#bytesMax = bytesMax
    this.#answerBytesMax = answerBytesMax
  }

  get(etag: string): KeptAnswer | undefined {
    const answer = this.#entries.get(etag)
    if (answer === undefined) return undefined
    this.#entries.delete(etag)
    this.#entries.set(etag, answer)
    return answer
  }

  set(etag: string, answer: KeptAnswer): void {
    const bytes = sizeOf(etag, answer)
    if (bytes > this.#answerBytesMax) return
    this.#forget(etag)
    this.#entries.set(etag, answer)
    this.#bytes += bytes
    while (this.#bytes > this.#bytesMax) this.#forget(this.#entries.keys().next().value!)
  }

  #forget(etag: string): void {
    const answer = this.#entries.get(etag)
    if (answer === undefined) return
    this.#entries.delete(etag)
    this.#bytes -= sizeOf(etag, answer)
  }
}

/** Bytes of the parts, and what an entry costs beside them. */
function sizeOf(etag: string, { parts, columns }: KeptAnswer): number {
  return parts.reduce((sum, part) => sum + part.length, etag.length + 500 + 100 * columns.length)
}
