import type { Clock } from '../../base/clock.ts'
import type { CatalogConfig } from './config.ts'
import { CatalogFailure } from './failure.ts'

/** Answers one request; throws CatalogFailure. */
export type PostForm = (uri: string, form: Readonly<Record<string, string>>) => Promise<unknown>

/** Share of a token's life after which it is renewed. */
const RENEW_AT = 0.8

/**
 * The token that requests carry: the one that was given, or one that client credentials are exchanged for (RFC 6749, 4.4), renewed
 * before it ends.
 */
export class Login {
  readonly #config: CatalogConfig
  readonly #clock: Clock
  readonly #post: PostForm
  #token: Promise<Token> | undefined
  /** The newest tokens, which requests may still be answered about. */
  #given: readonly string[] = []

  constructor(config: CatalogConfig, clock: Clock, post: PostForm) {
    this.#config = config
    this.#clock = clock
    this.#post = post
  }

  /** Undefined where the catalog wants none. */
  async token(): Promise<string | undefined> {
    if (this.#config.credential === undefined) return this.#config.token
    const known = await this.#token?.catch(() => undefined)
    if (known === undefined || this.#clock.monotonic() >= known.renewAtMs) this.#token = this.#exchange()
    return (await this.#token!).text
  }

  /** The catalog does not take it any more. Returns whether there may be another. */
  forget(): boolean {
    this.#token = undefined
    return this.#config.credential !== undefined
  }

  /** What must not be told. */
  secrets(): string[] {
    const { token = '', credential = '' } = this.#config
    return [token, credential, credential.slice(credential.indexOf(':') + 1), ...this.#given].filter(
      (text) => text !== '',
    )
  }

  async #exchange(): Promise<Token> {
    const { uri, oauth2ServerUri = `${uri}/v1/oauth/tokens`, credential = '', scope = 'catalog' } = this.#config
    const at = credential.indexOf(':')
    const id: Record<string, string> = at < 0 ? {} : { client_id: credential.slice(0, at) }
    const asked = this.#clock.monotonic()
    const answer = (await this.#post(oauth2ServerUri, {
      grant_type: 'client_credentials',
      ...id,
      client_secret: credential.slice(at + 1),
      scope,
    })) as { access_token?: unknown; expires_in?: unknown } | undefined
    const { access_token: text, expires_in: seconds } = answer ?? {}
    if (typeof text !== 'string') throw new CatalogFailure('final', 401, 'NoToken', 'the answer holds no access_token')
    this.#given = [text, ...this.#given].slice(0, 2)
    const lifeMs = typeof seconds === 'number' ? seconds * 1000 * RENEW_AT : Infinity
    return { text, renewAtMs: asked + lifeMs }
  }
}

interface Token {
  readonly text: string
  readonly renewAtMs: number
}
