import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'

/**
 * What stands before a catalog in a company: a warehouse with a prefix of its own, OAuth2 tokens that end, lists that come in pages of one, and
 * credentials that are handed out with tables. What it lets through goes to a catalog that knows nothing of that.
 */
export class Gateway {
  readonly #server: Server
  readonly #catalog: string
  readonly seen: string[] = []
  readonly tokens: string[] = []
  /** Tokens given last so long. */
  lifeSeconds = 3600
  /** Settings that come with each table. */
  tableConfig: Record<string, string> = {}

  private constructor(catalog: string) {
    this.#catalog = catalog
    this.#server = createServer((request, response) => void this.#handle(request, response))
  }

  static async open(catalog: string): Promise<Gateway> {
    const gateway = new Gateway(catalog)
    await new Promise<void>((resolve) => gateway.#server.listen(0, '127.0.0.1', resolve))
    return gateway
  }

  get uri(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/api`
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url!, this.uri)
    const path = url.pathname.replace(/^\/api/, '')
    const answer = (status: number, body: unknown) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    const refuse = (code: number, type: string, message: string) => answer(code, { error: { message, type, code } })
    this.seen.push(`${request.method} ${path}`)
    if (path === '/v1/oauth/tokens') return this.#login(await formOf(request), answer)
    const token = request.headers.authorization?.replace('Bearer ', '') ?? ''
    if (token !== this.tokens.at(-1))
      return void refuse(401, 'NotAuthorizedException', `the token '${token}' is not known`)
    if (path === '/v1/config') {
      if (url.searchParams.get('warehouse') !== 'w1') return void refuse(404, 'NotFoundException', 'no such warehouse')
      return void answer(200, { defaults: {}, overrides: { prefix: 'ws/w1' } })
    }
    if (!path.startsWith('/v1/ws/w1/')) return void refuse(404, 'NotFoundException', path)
    await this.#forward(request, `${this.#catalog}/v1/${path.slice('/v1/ws/w1/'.length)}`, url.searchParams, response)
  }

  #login(form: URLSearchParams, answer: (status: number, body: unknown) => void): void {
    const { client_id: id, client_secret: secret, grant_type: type } = Object.fromEntries(form)
    if (id !== 'shop' || secret !== 'Pa:55word' || type !== 'client_credentials')
      return answer(401, { error: 'invalid_client', error_description: `no client ${id} with ${secret}` })
    this.tokens.push(`token-${this.tokens.length}`)
    answer(200, { access_token: this.tokens.at(-1), token_type: 'bearer', expires_in: this.lifeSeconds })
  }

  async #forward(request: IncomingMessage, target: string, query: URLSearchParams, response: ServerResponse) {
    const body = request.method === 'POST' ? JSON.stringify(await json(request)) : undefined
    const answer = await fetch(`${target}?${query.toString()}`, {
      method: request.method!,
      ...(body === undefined ? {} : { body, headers: { 'content-type': 'application/json' } }),
    })
    const text = await answer.text()
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(this.#changed(text, query))
  }

  #changed(text: string, query: URLSearchParams): string {
    // Numbers of tables stay as they are written.
    if (text.startsWith('{"metadata-location"'))
      return text.replace('{', `{"config":${JSON.stringify(this.tableConfig)},`)
    const page = query.get('pageToken')
    const list = /^\{"(namespaces|identifiers)":/.exec(text)?.[1]
    if (page === null || list === undefined) return text
    const items = (JSON.parse(text) as Record<string, unknown[]>)[list]!
    const at = Number(page)
    const next = at + 1 < items.length ? { 'next-page-token': String(at + 1) } : {}
    return JSON.stringify({ [list]: items.slice(at, at + 1), ...next })
  }
}

async function formOf(request: IncomingMessage): Promise<URLSearchParams> {
  let text = ''
  for await (const chunk of request) text += String(chunk)
  return new URLSearchParams(text)
}
