import type { IncomingMessage } from 'node:http'
import { request as plainRequest } from 'node:http'
import { request as tlsRequest } from 'node:https'

export interface HttpGet {
  readonly headers?: Readonly<Record<string, string>>
  /** Certificates as PEM texts, where the system's do not do. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string } | undefined
  /** How long the whole answer may take, ms. */
  readonly timeoutMs: number
  /** Bytes that it may have. */
  readonly bytesMax: number
}

/** The answer to a GET, which follows no redirects: unlike `fetch` it takes certificates. Errors: those of Node, where there is none. */
export async function httpGet(
  url: string,
  { headers, tls, timeoutMs, bytesMax }: HttpGet,
): Promise<{ readonly status: number; readonly body: string }> {
  const send = url.startsWith('https:') ? tlsRequest : plainRequest
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs)
    send(url, { ...tls, ...(headers === undefined ? {} : { headers }), signal }, resolve)
      .on('error', reject)
      .end()
  })
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > bytesMax) throw new Error(`the answer has more than ${bytesMax} bytes`)
    chunks.push(chunk)
  }
  return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }
}
