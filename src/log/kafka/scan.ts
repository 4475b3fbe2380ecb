import { type MillraceError, asMillraceError } from '../../base/errors.ts'
import type { TopicPlace } from './batch.ts'
import type { KafkaCluster } from './cluster.ts'
import type { KafkaLimits } from './config.ts'
import type { Codec, Decoded } from './decode.ts'
import { Arena, decodeRecords } from './decode.ts'
import type { Fetched } from './fetch.ts'
import { fetchRecords } from './fetch.ts'

/** A partition to read from. */
export interface TopicReader {
  readonly cluster: KafkaCluster
  readonly place: TopicPlace
  readonly limits: KafkaLimits
  readonly codec: Codec
}

export interface ReadOptions {
  readonly purpose: string
  readonly waitMs: number
  readonly arena: Arena
  readonly signal?: AbortSignal
  /** Called with what keeps it from reading, when that lasts, and without when it no longer does. */
  onWaiting?(error?: MillraceError): void
}

export type Part = Decoded & Pick<Fetched, 'start' | 'stable'>

const BACKOFF_MS = 100
const BACKOFF_MS_MAX = 2_000
/** A batch that was damaged on its way comes whole when it is fetched again; one on a broker's disk does not. */
const CORRUPT_MAX = 3
/** An election is over after fewer attempts. */
const WAITING_ATTEMPTS = 4

/**
 * The committed records of one fetch, decoded into the arena; empty when nothing came in time. Tries again while the brokers, or the schema registry, do not answer,
 * until the signal.
 *
 * Errors: `invalid`/`offset-gone`, `old-record-format`; `corrupt`/`log-corrupt`; `denied`/…; those of the registry
 */
export async function readPart(
  { cluster, place, limits, codec }: TopicReader,
  from: number,
  options: ReadOptions,
): Promise<Part> {
  for (let attempt = 0, corrupt = 0; ; attempt++) {
    try {
      const { waitMs, purpose } = options
      const fetched = await fetchRecords(cluster, place, purpose, from, { isolation: 'committed', waitMs, limits })
      const { bytes, aborted, start, stable } = fetched
      const decode = () => decodeRecords({ ...place, bytes, from, aborted }, codec, options.arena)
      let decoded = decode()
      for (; decoded.missing.size > 0; decoded = decode()) await codec.values?.load(decoded.missing)
      if (attempt > WAITING_ATTEMPTS) options.onWaiting?.()
      return { ...decoded, start, stable }
    } catch (thrown) {
      const error = asMillraceError(thrown)
      const passes = error.code === 'log-corrupt' ? ++corrupt < CORRUPT_MAX : error.kind === 'unavailable'
      if (!passes || error.code === 'log-closed' || options.signal?.aborted) throw error
      if (attempt === WAITING_ATTEMPTS) options.onWaiting?.(error)
      await cluster.clock.sleep(Math.min(BACKOFF_MS * 2 ** attempt, BACKOFF_MS_MAX), options.signal)
    }
  }
}

/** The committed records of [from, to), a fetch at a time, each there until the next is asked for; a part may reach beyond `to`. Errors: those of `readPart`. */
export async function* scanTopic(
  reader: TopicReader,
  from: number,
  to: number,
  options: { readonly purpose: string; readonly signal?: AbortSignal },
): AsyncGenerator<Part> {
  const purpose = `${options.purpose}/${reader.place.topic}/${reader.place.partition}`
  const arena = new Arena()
  for (let next = from; next < to;) {
    const part = await readPart(reader, next, { ...options, arena, purpose, waitMs: reader.limits.fetchWaitMs })
    yield part
    next = part.next
  }
}
