import { createServer, request as send } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * What happens to a request: the server answers an error in its place (`refused`, `denied`), or does it and the answer is lost: an
 * error comes instead (`500 after`), the connection is cut before or within the answer, or nothing comes for a while.
 */
export type Fault = 'none' | 'refused' | 'denied' | '500 after' | 'cut' | 'cut within' | 'slow'

const SLOW_DOWN = '<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>'
const ACCESS_DENIED = '<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access denied.</Message></Error>'

/** A proxy in front of an object store that does to each request what `fault` says. */
export class FaultyProxy {
  readonly #server: Server
  readonly #target: URL
  fault: (request: IncomingMessage) => Fault = () => 'none'
  readonly seen = new Map<Fault, number>()
  slowMs = 0

  private constructor(target: string) {
    this.#target = new URL(target)
    this.#server = createServer((request, response) => void this.#handle(request, response))
  }

  static async open(target: string): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(target)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const fault = this.fault(request)
    this.seen.set(fault, (this.seen.get(fault) ?? 0) + 1)
    const chunks: Buffer[] = []
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer)
      if (fault === 'refused') return void response.writeHead(503, { 'content-type': 'application/xml' }).end(SLOW_DOWN)
      if (fault === 'denied')
        return void response.writeHead(403, { 'content-type': 'application/xml' }).end(ACCESS_DENIED)
      const { status, headers, body } = await this.#forward(request, Buffer.concat(chunks))
      if (fault === 'slow') await new Promise((resolve) => setTimeout(resolve, this.slowMs))
      if (fault === '500 after') return void response.writeHead(500).end()
      if (fault === 'cut') return void response.destroy()
      response.writeHead(status, headers)
      if (fault !== 'cut within') return void response.end(body)
      response.write(body.subarray(0, Math.floor(body.length / 2)), () => response.destroy())
    } catch {
      // The client went away, or the store: either way there is nobody to tell.
      response.destroy()
    }
  }

  #forward(
    { method, url, headers }: IncomingMessage,
    body: Buffer,
  ): Promise<{ status: number; headers: IncomingMessage['headers']; body: Buffer }> {
    return new Promise((resolve, reject) => {
      const { hostname, port } = this.#target
      // The signature covers the host the client meant: it is handed on as it came.
      const upstream = send({ hostname, port, method, path: url, headers }, (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.on('error', reject)
        answer.on('end', () => {
          const { 'transfer-encoding': _, ...rest } = answer.headers
          resolve({ status: answer.statusCode!, headers: rest, body: Buffer.concat(chunks) })
        })
      })
      upstream.on('error', reject)
      upstream.end(body)
    })
  }
}
