import type { Clock } from '../../base/clock.ts'
import type { MillraceError } from '../../base/errors.ts'
import { parseJson, stringifyJson } from '../json.ts'
import type { CatalogConfig } from './config.ts'
import { CatalogFailure, badAnswer, catalogError, lostAnswer } from './failure.ts'
import { Login } from './login.ts'

export interface ClientEffects {
  readonly clock: Clock
  /** Random bytes, which spread retries. */
  readonly random: (count: number) => Uint8Array
  /** How long the catalog may be away before a request fails; tests lower it. */
  readonly patienceMs?: number
  /** How long one try may take; tests lower it. */
  readonly requestMs?: number
}

export interface Request {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** Below the prefix, each part encoded. */
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export interface Answer {
  /** 304: as it was. */
  readonly status: number
  readonly body: unknown
  readonly etag: string | undefined
}

const REQUEST_MS = 30_000
const PATIENCE_MS = 60_000
/** At the start somebody waits to hear that the address is wrong. */
const START_PATIENCE_MS = 5_000
const BACKOFF_MS = 50
const BACKOFF_MS_MAX = 5_000

/** What the catalog said at the start (`CatalogConfig` of the specification). */
interface Told {
  readonly uri: string
  readonly prefix: string
  readonly separator: string
  /** Undefined where it does not tell. */
  readonly endpoints: readonly string[] | undefined
  readonly properties: Readonly<Record<string, string>>
}

/**
 * Speaks to an Iceberg REST catalog (Apache Iceberg, `open-api/rest-catalog-open-api.yaml`). Integers of 64 bits are exact both
 * ways. Nothing that it throws holds a token.
 */
export class CatalogClient {
  readonly #config: CatalogConfig
  readonly #effects: ClientEffects
  readonly #login: Login
  readonly #headers: Readonly<Record<string, string>>
  #told: Told

  private constructor(config: CatalogConfig, effects: ClientEffects, headers: Readonly<Record<string, string>>) {
    this.#headers = headers
    this.#config = { ...config, uri: config.uri.replace(/\/+$/, '') }
    this.#effects = effects
    this.#login = new Login(this.#config, effects.clock, (uri, form) => this.#postForm(uri, form))
    this.#told = { uri: this.#config.uri, prefix: '', separator: '%1F', endpoints: undefined, properties: {} }
  }

  /**
   * Asks the catalog how it wants to be spoken to. `headers` go with every request. Errors: `denied` / `catalog-login`, `catalog-denied`; `invalid` / `catalog-refused`,
   * for a warehouse that is not there too; `unavailable` / `catalog-unavailable`.
   */
  static async open(
    config: CatalogConfig,
    effects: ClientEffects,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<CatalogClient> {
    const client = new CatalogClient(config, effects, headers)
    const { warehouse } = config
    const query: Record<string, string> = warehouse === undefined ? {} : { warehouse }
    const what = warehouse === undefined ? 'its configuration' : `warehouse '${warehouse}'`
    const { body } = await client.ask(what, { method: 'GET', path: 'config', query }, START_PATIENCE_MS)
    client.#told = toldBy(body, client.#config, () =>
      client.error(
        new CatalogFailure('final', undefined, '', 'the answer is not that of an Iceberg REST catalog'),
        what,
      ),
    )
    return client
  }

  get uri(): string {
    return this.#config.uri
  }

  /** The properties that it hands to its clients, those that they may not change among them. */
  get properties(): Readonly<Record<string, string>> {
    return this.#told.properties
  }

  /** Whether it has an endpoint, as the specification writes it; one that does not tell has all. */
  has(endpoint: string): boolean {
    return this.#told.endpoints?.includes(endpoint) ?? true
  }

  /** The path of a namespace, or of what is in it. */
  path(namespace: readonly string[], ...parts: string[]): string {
    const levels = namespace.map(encodeURIComponent).join(this.#told.separator)
    return ['namespaces', levels, ...parts.map(encodeURIComponent)].join('/')
  }

  /** One try. Throws CatalogFailure. */
  async send(request: Request): Promise<Answer> {
    try {
      return await this.#try(request)
    } catch (error) {
      if (!(error instanceof CatalogFailure)) throw error
      const isOutdated = error.status === 401 || error.status === 419
      if (!isOutdated || !this.#login.forget()) throw error
      return await this.#try(request)
    }
  }

  /**
   * A request that may be made again: tried until it succeeds, fails for good, or patience ends. `what` names it for people.
   * Errors: those of `error`.
   */
  async ask(what: string, request: Request, patienceMs?: number): Promise<Answer> {
    const patience = this.patience(patienceMs)
    for (;;) {
      try {
        return await this.send(request)
      } catch (error) {
        if (!(error instanceof CatalogFailure)) throw error
        if (error.outcome === 'final' || !(await patience.wait())) throw this.error(error, what)
      }
    }
  }

  /** All items of a list that comes in pages; `key` is where they are in an answer. */
  async all(what: string, path: string, key: string, query: Readonly<Record<string, string>> = {}): Promise<unknown[]> {
    const items: unknown[] = []
    // Empty asks for pages.
    for (let token: string | undefined = ''; token !== undefined;) {
      const { body } = await this.ask(what, { method: 'GET', path, query: { ...query, pageToken: token } })
      const page = (body ?? {}) as { readonly [key: string]: unknown }
      items.push(...((page[key] ?? []) as unknown[]))
      const next = page['next-page-token']
      token = typeof next === 'string' && next !== '' ? next : undefined
    }
    return items
  }

  /** Pauses between tries, which grow; `wait` says no once the catalog was away for too long. */
  patience(limitMs = Infinity): { wait(): Promise<boolean> } {
    const { clock, random, patienceMs = PATIENCE_MS } = this.#effects
    const until = clock.monotonic() + Math.min(limitMs, patienceMs)
    let attempt = 0
    return {
      wait: async () => {
        if (clock.monotonic() > until) return false
        await clock.sleep(Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** attempt++) * (0.5 + random(1)[0]! / 255))
        return true
      },
    }
  }

  /** A failure as an error for people, without secrets. */
  error(failure: CatalogFailure, what: string): MillraceError {
    let { message } = failure
    for (const secret of this.#login.secrets()) message = message.replaceAll(secret, '…')
    return catalogError(new CatalogFailure(failure.outcome, failure.status, failure.type, message), this.uri, what)
  }

  async #try({ method, path, query = {}, body, headers = {} }: Request): Promise<Answer> {
    const token = await this.#login.token()
    const { uri, prefix } = this.#told
    const search = new URLSearchParams(query).toString()
    const address = [uri, 'v1', ...(prefix === '' || path === 'config' ? [] : [prefix]), path].join('/')
    return this.#exchange(`${address}${search === '' ? '' : `?${search}`}`, {
      method,
      headers: {
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...this.#headers,
        ...headers,
      },
      ...(body === undefined ? {} : { body: stringifyJson(body) }),
    })
  }

  async #postForm(uri: string, form: Readonly<Record<string, string>>): Promise<unknown> {
    const { body } = await this.#exchange(uri, {
      method: 'POST',
      headers: { accept: 'application/json' },
      body: new URLSearchParams(form),
    })
    return body
  }

  async #exchange(address: string, init: RequestInit): Promise<Answer> {
    const ended = new AbortController()
    const late = new AbortController()
    const { clock, requestMs = REQUEST_MS } = this.#effects
    void clock.sleep(requestMs, ended.signal).then(() => late.abort())
    try {
      const answer = await fetch(address, { ...init, signal: late.signal })
      const text = await answer.text()
      const body = jsonOf(text)
      if (answer.status === 304) return { status: 304, body: undefined, etag: undefined }
      // Success without JSON comes from something that is no catalog.
      if (!answer.ok || (body === undefined && text !== '')) throw badAnswer(answer.status, body)
      return { status: answer.status, body, etag: answer.headers.get('etag') ?? undefined }
    } catch (error) {
      throw error instanceof CatalogFailure ? error : lostAnswer(error)
    } finally {
      ended.abort()
    }
  }
}

function jsonOf(text: string): unknown {
  try {
    return parseJson(text)
  } catch {
    return undefined
  }
}

function toldBy(body: unknown, { uri }: CatalogConfig, bad: () => MillraceError): Told {
  const { defaults, overrides, endpoints } = (body ?? {}) as {
    defaults?: Record<string, string>
    overrides?: Record<string, string>
    endpoints?: string[]
  }
  if (typeof defaults !== 'object' && typeof overrides !== 'object') throw bad()
  const properties = { ...defaults, ...overrides }
  return {
    uri: (properties['uri'] ?? uri).replace(/\/+$/, ''),
    prefix: properties['prefix'] ?? '',
    separator: properties['namespace-separator'] ?? '%1F',
    endpoints: Array.isArray(endpoints) ? endpoints : undefined,
    properties,
  }
}
