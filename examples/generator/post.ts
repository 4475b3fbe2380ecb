import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Arrival } from './arrivals.ts'

/** How lines go to a server. */
export interface Pace {
  /** Lines a second; Infinity for as fast as the server answers; `live` for each when its time comes. */
  readonly rate: number | 'live'
  /** Most lines of a request. */
  readonly batch: number
}

/** Longest that a line waits for others to go with it, when the pace is slow. */
const LINGER_MS = 200
const RETRIES = 20
const RECONNECTS = 5

/**
 * Posts lines in their order, several at a time; returns how many of each stream the server has made durable. A request
 * without an answer is sent again under its Idempotency-Key, so that nothing arrives twice by it. Throws what cannot be
 * mended by trying again.
 */
export async function post(
  url: string,
  lines: Iterable<Arrival>,
  { rate, batch }: Pace,
  onBatch: (sent: number) => void,
): Promise<Map<string, number>> {
  const durable = new Map<string, number>()
  const began = performance.now()
  const waiting = new Map<string, string[]>()
  let sent = 0
  let held = 0
  const flush = async () => {
    for (const [stream, together] of waiting)
      durable.set(stream, (durable.get(stream) ?? 0) + (await postBatch(url, stream, together)))
    waiting.clear()
    held = 0
    onBatch(sent)
  }
  for (const { stream, line, atMs } of lines) {
    const dueMs = rate === 'live' ? atMs - Date.now() : (sent / rate) * 1_000 - (performance.now() - began)
    if (dueMs > LINGER_MS) {
      await flush()
      await sleep(dueMs)
    }
    if (waiting.has(stream)) waiting.get(stream)!.push(line)
    else waiting.set(stream, [line])
    sent++
    if (++held >= batch) await flush()
  }
  await flush()
  return durable
}

async function postBatch(url: string, stream: string, lines: readonly string[]): Promise<number> {
  const key = randomUUID()
  const token = process.env['MILLRACE_TOKEN']
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(new URL(`/v1/streams/${stream}`, url), {
      method: 'POST',
      headers: {
        'content-type': 'application/x-ndjson',
        'idempotency-key': key,
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: `${lines.join('\n')}\n`,
    }).catch((error: unknown) => error as Error)
    if (response instanceof Error) {
      if (attempt === RECONNECTS)
        throw new Error(`No answer from ${url}: is a server running? (millrace start)`, { cause: response })
      await sleep(500)
      continue
    }
    if (response.status === 202) return ((await response.json()) as { received: number }).received
    const text = await response.text()
    if (![429, 503].includes(response.status) || attempt === RETRIES)
      throw new Error(`${url} answered ${response.status} to a POST to '${stream}': ${text}`)
    await sleep(Number(response.headers.get('retry-after') ?? 1) * 1_000)
  }
}
