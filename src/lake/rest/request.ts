import type { Json } from '../json.ts'
import { badRequest } from './error.ts'

/** A JSON object of a request, read part by part. Every method throws `invalid` / `bad-request` naming the part. */
export class RequestPart {
  readonly #json: { readonly [key: string]: Json }
  readonly #name: string

  constructor(json: unknown, name: string) {
    if (typeof json !== 'object' || json === null || Array.isArray(json)) throw badRequest(`${name} is not an object.`)
    this.#json = json as { readonly [key: string]: Json }
    this.#name = name
  }

  get json(): { readonly [key: string]: Json } {
    return this.#json
  }

  has(key: string): boolean {
    return this.#json[key] !== undefined && this.#json[key] !== null
  }

  text(key: string): string {
    const value = this.#json[key]
    return typeof value === 'string' ? value : this.#refuse(key, 'a text')
  }

  integer(key: string): number {
    const value = this.#json[key]
    return typeof value === 'number' && Number.isSafeInteger(value) ? value : this.#refuse(key, 'a whole number')
  }

  /** A 64-bit id. */
  id(key: string): bigint {
    return toId(this.#json[key]) ?? this.#refuse(key, 'a 64-bit id')
  }

  ids(key: string): bigint[] {
    return this.list(key).map((value) => toId(value) ?? this.#refuse(key, 'a list of 64-bit ids'))
  }

  part(key: string): RequestPart {
    return new RequestPart(this.#json[key], `'${key}' of ${this.#name}`)
  }

  list(key: string): readonly Json[] {
    const value = this.#json[key]
    return Array.isArray(value) ? (value as readonly Json[]) : this.#refuse(key, 'a list')
  }

  parts(key: string): RequestPart[] {
    return this.list(key).map((value, i) => new RequestPart(value, `'${key}[${i}]' of ${this.#name}`))
  }

  texts(key: string): string[] {
    return this.list(key).map((value) => (typeof value === 'string' ? value : this.#refuse(key, 'a list of texts')))
  }

  /** An object of texts; empty when it is not there. */
  properties(key: string): Record<string, string> {
    if (!this.has(key)) return {}
    const entries = Object.entries(this.part(key).json)
    return Object.fromEntries(
      entries.map(([name, value]) => [
        name,
        typeof value === 'string' ? value : this.#refuse(key, 'an object of texts'),
      ]),
    )
  }

  #refuse(key: string, wanted: string): never {
    throw badRequest(`'${key}' of ${this.#name} is not ${wanted}.`)
  }
}

function toId(value: Json | undefined): bigint | undefined {
  if (typeof value === 'bigint') return value
  return typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : undefined
}
