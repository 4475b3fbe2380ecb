import { MillraceError, messageOf } from '../../../base/errors.ts'
import { httpGet } from '../../../storage/http.ts'
import { isTlsFault } from '../../../storage/tls.ts'

/** Where the schemas are that others write records with. */
export interface RegistryConfig {
  /** Of a registry that answers as Confluent's does, with its path: `https://registry:8081`, `http://apicurio:8080/apis/ccompat/v7`. */
  readonly url: string
  readonly username?: string
  readonly password?: string
  /** A bearer token, instead of username and password. */
  readonly token?: string
  /** Certificates as PEM texts, where the system's do not do. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string }
}

/** A schema as registered. */
export interface RegisteredSchema {
  readonly type: 'AVRO' | 'JSON' | 'PROTOBUF' | (string & {})
  readonly text: string
  /** Texts of the schemas that it refers to, each after those that it refers to itself. */
  readonly references: readonly string[]
}

interface SchemaAnswer {
  readonly schema?: string
  readonly schemaType?: string
  readonly references?: readonly { readonly subject: string; readonly version: number }[]
}

const ANSWER_BYTES_MAX = 16 * 1024 * 1024
const REFERENCES_MAX = 1000
const HINT = 'Check `schemaRegistry` of the target’s log: its url, with the path of the API, and the credentials.'

/** Reads from a schema registry (https://docs.confluent.io/platform/current/schema-registry/develop/api.html). */
export class SchemaRegistry {
  readonly #config: RegistryConfig
  readonly #url: string
  readonly #requestMs: number

  /** Errors: `invalid`/`bad-registry`. */
  constructor(config: RegistryConfig, requestMs: number) {
    this.#config = config
    this.#url = urlOf(config)
    this.#requestMs = requestMs
  }

  /** Errors: `invalid`/`bad-registry`, `registry-tls`; `denied`/`registry-login`; `unavailable`/`registry-unreachable`. */
  async check(): Promise<void> {
    await this.#get('/schemas/types')
  }

  /** The schema at a path, as `/schemas/ids/7`; undefined where the registry has none. Errors: as `check`. */
  async schema(path: string): Promise<RegisteredSchema | undefined> {
    const found = await this.#get(path)
    if (found === undefined) return undefined
    const references = new Map<string, string>()
    await this.#follow(found, references)
    return { type: found.schemaType ?? 'AVRO', text: found.schema ?? '', references: [...references.values()] }
  }

  async #follow({ references = [] }: SchemaAnswer, texts: Map<string, string>): Promise<void> {
    for (const { subject, version } of references) {
      // What was deleted may still be referred to.
      const path = `/subjects/${encodeURIComponent(subject)}/versions/${version}?deleted=true`
      if (texts.has(path) || texts.size >= REFERENCES_MAX) continue
      const found = await this.#get(path)
      if (found === undefined) continue
      await this.#follow(found, texts)
      texts.set(path, found.schema ?? '')
    }
  }

  /** What is there; undefined for nothing. */
  async #get(path: string): Promise<SchemaAnswer | undefined> {
    const { status, body } = await this.#request(path).catch((error: unknown) => {
      throw this.#failed(error)
    })
    if (status === 401 || status === 403) throw this.#denied(status)
    const answer = jsonOf(body)
    if (status === 200 && answer !== undefined) return answer as SchemaAnswer
    // 40401 to 40403: no such subject, version or schema.
    const { error_code: code } = (answer ?? {}) as { error_code?: number }
    if (status === 404 && code !== undefined && code >= 40_400 && code < 40_500) return undefined
    if (status === 408 || status === 429 || status >= 500) {
      throw this.#unreachable(`it answers ${status}`)
    }
    throw badRegistry(`The schema registry at ${this.#url} answers ${status} to ${path}.`)
  }

  #request(path: string): Promise<{ readonly status: number; readonly body: string }> {
    const { username, password, token, tls } = this.#config
    const basic = username === undefined ? undefined : Buffer.from(`${username}:${password}`).toString('base64')
    const login = token === undefined ? basic && `Basic ${basic}` : `Bearer ${token}`
    const accept = 'application/vnd.schemaregistry.v1+json, application/json'
    return httpGet(`${this.#url}${path}`, {
      headers: { accept, ...(login === undefined ? {} : { authorization: login }) },
      tls,
      timeoutMs: this.#requestMs,
      bytesMax: ANSWER_BYTES_MAX,
    })
  }

  #failed(error: unknown): MillraceError {
    if (!isTlsFault((error as { code?: string }).code ?? '')) return this.#unreachable(messageOf(error), error)
    return new MillraceError(
      'invalid',
      'registry-tls',
      `The schema registry at ${this.#url} cannot be talked to: ${messageOf(error)}`,
      {
        hint: 'Check `schemaRegistry.tls` of the target’s log: its certificates, and whether the registry speaks TLS.',
        cause: error,
      },
    )
  }

  #unreachable(why: string, cause?: unknown): MillraceError {
    return new MillraceError(
      'unavailable',
      'registry-unreachable',
      `The schema registry at ${this.#url} does not answer: ${why}`,
      { hint: 'Start it, or correct `schemaRegistry.url` of the target’s log.', cause },
    )
  }

  #denied(status: number): MillraceError {
    return new MillraceError(
      'denied',
      'registry-login',
      `The schema registry at ${this.#url} refuses the login (${status}).`,
      {
        hint: 'Check `schemaRegistry` of the target’s log: username and password, or token, and the rights to read schemas.',
      },
    )
  }
}

function jsonOf(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

function urlOf({ url, username, password, token }: RegistryConfig): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol)) throw badRegistry(`'${url}' is no schema registry.`)
  if (parsed.username !== '' || parsed.password !== '') {
    throw badRegistry('The url of the schema registry has credentials in it: give them as username and password.')
  }
  if ((username === undefined) !== (password === undefined) || (username !== undefined && token !== undefined)) {
    throw badRegistry('A schema registry is given username and password, or a token, or none.')
  }
  return `${parsed.origin}${parsed.pathname.replace(/\/+$/, '')}`
}

function badRegistry(message: string): MillraceError {
  return new MillraceError('invalid', 'bad-registry', message, { hint: HINT })
}
