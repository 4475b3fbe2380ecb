import { createWriteStream } from 'node:fs'
import { once } from 'node:events'

export interface Generated {
  readonly events: number
  readonly duplicates: number
  readonly bad: number
  readonly bytes: number
}

/** Share of events that repeat the one before, and of events with a wrong type. */
const DUPLICATE_EVERY = 100
const BAD_EVERY = 1_000
const EVENTS_PER_SECOND = 500

/** A seeded generator: the same events for the same seed on any machine (xorshift32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 0x1_0000_0000
  }
}

/** Click-like events of about 180 bytes as lines of JSON: `start` continues the sequence of an earlier call. */
export function* clickEvents(
  count: number,
  start = 0,
  seed = 42,
): Generator<{ line: string; kind: 'good' | 'duplicate' | 'bad' }> {
  const random = randomOf(seed + start)
  const base = Date.UTC(2026, 0, 1)
  let last: string | undefined
  for (let i = start; i < start + count; i++) {
    if (i % DUPLICATE_EVERY === 3 && last !== undefined) {
      yield { line: last, kind: 'duplicate' }
      continue
    }
    const bad = i % BAD_EVERY === 7
    const at = new Date(base + (i / EVENTS_PER_SECOND) * 1_000).toISOString()
    const id = `${Math.floor(random() * 0x1_0000_0000)
      .toString(16)
      .padStart(8, '0')}${i.toString(36).padStart(7, '0')}`
    const line = `{"event_id":"${id}","user_id":"u${Math.floor(random() * 100_000)}","page":"/p/${Math.floor(random() * 1_000)}","action":"${['view', 'click', 'buy'][Math.floor(random() * 3)]}","at":"${at}","duration_ms":${bad ? '"slow"' : Math.floor(random() * 10_000)},"price":${(Math.floor(random() * 1_000) / 100).toFixed(2)},"ref":"https://example.com/${Math.floor(random() * 1_000_000)}"}`
    if (!bad) last = line
    yield { line, kind: bad ? 'bad' : 'good' }
  }
}

/** Writes events to a file, one a line. */
export async function writeEvents(path: string, count: number, start = 0): Promise<Generated> {
  const out = createWriteStream(path, { highWaterMark: 1 << 22 })
  let [duplicates, bad, bytes] = [0, 0, 0]
  let chunk: string[] = []
  const flush = async () => {
    const text = chunk.join('')
    chunk = []
    bytes += Buffer.byteLength(text)
    if (!out.write(text)) await once(out, 'drain')
  }
  for (const { line, kind } of clickEvents(count, start)) {
    if (kind === 'duplicate') duplicates++
    else if (kind === 'bad') bad++
    chunk.push(`${line}\n`)
    if (chunk.length === 10_000) await flush()
  }
  await flush()
  out.end()
  await once(out, 'finish')
  return { events: count, duplicates, bad, bytes }
}
