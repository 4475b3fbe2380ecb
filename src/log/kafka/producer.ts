import { MillraceError, asMillraceError } from '../../base/errors.ts'
import type { BatchAppend, EncodedRecords, ProducerPlace, TopicPlace } from './batch.ts'
import { BATCH_HEADER, batchesOf, encodeRecords, sealBatch } from './batch.ts'
import type { KafkaCluster } from './cluster.ts'
import type { KafkaConfig, KafkaLimits } from './config.ts'
import { compress } from './driver.ts'
import { kafkaError, protocolErrorOf } from './errors.ts'
import { fetchRecords } from './fetch.ts'
import { produceRequest } from './produce.ts'

export interface ProducerOptions {
  readonly cluster: KafkaCluster
  readonly place: TopicPlace & { readonly stream: string }
  readonly compression: NonNullable<KafkaConfig['compression']>
  readonly limits: KafkaLimits
  /** Largest batch that the topic takes, bytes. */
  readonly batchBytes: number
  /** Offset after all that was decided when the log was opened. */
  readonly end: number
  /** Records below this offset are acknowledged. */
  onAcknowledged(end: number): void
}

/** An append on its way. Both promises give the offset of its first record. */
export interface SentAppend {
  /** Fails with `append-unknown` when the answer does not come in time. */
  readonly answer: Promise<number>
  /** What really became of it, however long that takes. */
  readonly outcome: Promise<number>
}

interface Pending {
  readonly append: BatchAppend
  readonly bytes: number
  readonly sinceMs: number
  readonly answer: PromiseWithResolvers<number>
  readonly outcome: PromiseWithResolvers<number>
}

/** Appends that go out as one record batch. */
interface Group {
  readonly members: readonly Pending[]
  readonly records: EncodedRecords
  readonly compressed: { readonly by: 'lz4' | 'zstd'; readonly bytes: Buffer } | undefined
}

/** Answers after which the batch cannot follow the ones before it: the broker knows the producer no longer, or another way. */
const SEQUENCE_BROKEN = new Set([
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'UNKNOWN_PRODUCER_ID',
  'INVALID_PRODUCER_EPOCH',
  'PRODUCER_FENCED',
  'INVALID_PRODUCER_ID_MAPPING',
  'DUPLICATE_SEQUENCE_NUMBER',
])
const SPARES = 2
const SPARE_BYTES_MAX = 8 * 1024 * 1024
const BACKOFF_MS = 50
const BACKOFF_MS_MAX = 2_000

/**
 * The writing end of a partition: group commit. While one record batch is on its way, appends gather; then they go
 * out together. A batch whose outcome is unknown is sent again with the same producer id and sequence number, which the broker
 * takes once; nothing is acknowledged before the broker has said where it is.
 */
export class PartitionProducer {
  readonly #options: ProducerOptions
  #waiting: Pending[] = []
  #waitingBytes = 0
  /** Payload bytes of everything that is not decided. */
  #pendingBytes = 0
  /** The group that follows the one on its way. */
  #next: Promise<Group> | undefined
  #running: Promise<void> | undefined
  /** Room of batches that were taken, for those to come: one on its way and one that is made. */
  readonly #spare: Buffer[] = []
  #identity: ProducerPlace | undefined
  #end: number
  /** Since when nothing gets through, and why. */
  #failing: { readonly sinceMs: number; readonly error: MillraceError } | undefined
  #closing = new AbortController()

  constructor(options: ProducerOptions) {
    this.#options = options
    this.#end = options.end
  }

  /** Errors: `unavailable`/`log-closed`, `backlog-full`, `kafka-unreachable`; `invalid`/`append-too-large`. Nothing was written then. */
  append(append: BatchAppend): SentAppend {
    const bytes = append.lines.length
    this.#admit(bytes)
    const { monotonic } = this.#options.cluster.clock
    const pending: Pending = {
      append,
      bytes,
      sinceMs: monotonic(),
      answer: Promise.withResolvers(),
      outcome: Promise.withResolvers(),
    }
    // Whoever has no use for one of them need not catch it.
    pending.answer.promise.catch(() => undefined)
    pending.outcome.promise.catch(() => undefined)
    this.#pendingBytes += bytes
    this.#waitingBytes += bytes
    this.#waiting.push(pending)
    if (this.#running === undefined) this.#running = this.#run()
    else this.#prepareAhead()
    return { answer: pending.answer.promise, outcome: pending.outcome.promise }
  }

  /** Refuses new appends, and waits for those under way as long as the brokers answer. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  #admit(bytes: number): void {
    const { limits, batchBytes, place } = this.#options
    const context = { stream: place.stream, partition: place.partition }
    if (this.#closing.signal.aborted) {
      throw new MillraceError('unavailable', 'log-closed', `The log of stream '${place.stream}' is closed.`, {
        hint: 'Millrace is stopping; send again when it is back.',
      })
    }
    const most = Math.min(limits.appendBytes, batchBytes - BATCH_HEADER)
    if (bytes > most) {
      throw new MillraceError(
        'invalid',
        'append-too-large',
        `${bytes} bytes at once for stream '${place.stream}'; the limit is ${most}.`,
        { hint: `Send fewer records at a time, or raise max.message.bytes of topic '${place.topic}'.`, context },
      )
    }
    if (this.#pendingBytes + bytes > limits.pendingBytes) {
      throw new MillraceError(
        'unavailable',
        'backlog-full',
        `${this.#pendingBytes} bytes wait to be written to topic '${place.topic}'.`,
        { hint: 'The brokers are slower than the senders; send again in a moment.', context },
      )
    }
    if (this.#failing !== undefined && this.#now() - this.#failing.sinceMs > limits.appendMs) throw this.#failing.error
  }

  #now(): number {
    return this.#options.cluster.clock.monotonic()
  }

  async #run(): Promise<void> {
    while (this.#next !== undefined || this.#waiting.length > 0) {
      const group = await (this.#next ?? this.#prepare())
      this.#next = undefined
      const sent = this.#deliver(group)
      this.#prepareAhead()
      await sent
    }
    this.#running = undefined
  }

  /** While a batch is on its way the next one is made, once there is enough for it: it would not get fuller. */
  #prepareAhead(): void {
    if (this.#next === undefined && this.#waitingBytes >= this.#options.limits.batchBytes) this.#next = this.#prepare()
  }

  async #prepare(): Promise<Group> {
    const { cluster, compression } = this.#options
    const members = this.#nextGroup()
    const records = encodeRecords(
      members.map(({ append }) => append),
      this.#spare.pop(),
    )
    if (compression === 'none') return { members, records, compressed: undefined }
    const bytes = await compress(cluster.driver, compression, records.bytes.subarray(BATCH_HEADER))
    return { members, records, compressed: { by: compression, bytes } }
  }

  #nextGroup(): Pending[] {
    const { limits, batchBytes } = this.#options
    const most = Math.min(limits.batchBytes, batchBytes / 2)
    let bytes = 0
    let count = 0
    while (count < this.#waiting.length && (count === 0 || bytes + this.#waiting[count]!.bytes <= most)) {
      bytes += this.#waiting[count++]!.bytes
    }
    this.#waitingBytes -= bytes
    return this.#waiting.splice(0, count)
  }

  /** Sends a batch until it is known what became of it. */
  async #deliver(group: Group): Promise<void> {
    const { clock } = this.#options.cluster
    let doubtful = false
    for (let attempt = 0; ; attempt++) {
      try {
        this.#settle(group, await this.#send(group, doubtful))
        return
      } catch (thrown) {
        const { error, sequence, sent } = thrown as SendError
        // The first answer says that it was not taken; later ones may be about an attempt that was, and whose answer was lost.
        if (sequence && !doubtful) this.#identity = undefined
        else if (error.kind !== 'unavailable' && !doubtful && !sequence) return this.#refuse(group, error)
        doubtful ||= sent && !sequence
        this.#failing ??= { sinceMs: this.#now(), error }
        this.#answerLate(group, doubtful, error)
        if (this.#closing.signal.aborted) return this.#refuse(group, doubtful ? this.#unknown(error) : error)
        await clock.sleep(Math.min(BACKOFF_MS * 2 ** attempt, BACKOFF_MS_MAX), this.#closing.signal)
      }
    }
  }

  /** Offset of the batch, once the broker has it. Throws `SendError`. */
  async #send(group: Group, doubtful: boolean): Promise<number> {
    const { cluster, place, limits } = this.#options
    let sent = false
    try {
      const producer = (this.#identity ??= await this.#newIdentity())
      const batch = sealBatch(group.records, producer, cluster.codec.crc32c, group.compressed)
      const purpose = `produce/${place.topic}/${place.partition}`
      const answer = await cluster.withLeader(place.topic, place.partition, purpose, (connection) => {
        sent = true
        return cluster.send(connection, produceRequest(place, batch, limits.requestMs))
      })
      if (answer.code === 0) return answer.from
      cluster.forgetLeader(place.topic, place.partition)
      const refusal = new cluster.driver.ProtocolError(answer.code, answer.message ?? null)
      const name = protocolErrorOf(refusal)!
      const error = kafkaError(refusal, { brokers: cluster.brokers, topic: place.topic })
      if (!SEQUENCE_BROKEN.has(name)) {
        throw new SendError(error, {
          sequence: false,
          sent: name === 'REQUEST_TIMED_OUT' || name === 'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
        })
      }
      const found = doubtful ? await this.#find(producer) : undefined
      if (found !== undefined) return found
      if (doubtful) this.#identity = undefined
      throw new SendError(error, { sequence: true, sent: true })
    } catch (error) {
      if (error instanceof SendError) throw error
      throw new SendError(asMillraceError(error), { sequence: false, sent })
    }
  }

  async #newIdentity(): Promise<ProducerPlace> {
    const { cluster, place } = this.#options
    const { initProducerIdV4 } = cluster.driver
    const { producerId, producerEpoch } = await cluster.anywhere(
      (connection) => initProducerIdV4.api.async(connection, null, 0),
      place.topic,
    )
    return { id: producerId, epoch: producerEpoch, sequence: 0 }
  }

  /** Looks in the topic whether a batch of this producer and sequence is there; its offset, or undefined. */
  async #find(producer: ProducerPlace): Promise<number | undefined> {
    const { cluster, place, limits } = this.#options
    const purpose = `look/${place.topic}/${place.partition}`
    for (let from = this.#end; ;) {
      const options = { isolation: 'all', waitMs: 0, limits } as const
      const { bytes } = await fetchRecords(cluster, place, purpose, from, options)
      const before = from
      for (const batch of batchesOf(bytes, place, cluster.codec.crc32c)) {
        const { id, epoch, sequence } = batch.producer
        if (id === producer.id && epoch === producer.epoch && sequence === producer.sequence) return batch.from
        from = batch.to
      }
      if (from === before) return undefined
    }
  }

  #settle({ members, records }: Group, from: number): void {
    const { id, epoch, sequence } = this.#identity!
    // Sequence numbers start over after the largest of 31 bits.
    this.#identity = { id, epoch, sequence: (sequence + records.records) % 2 ** 31 }
    this.#end = from + records.records
    this.#failing = undefined
    if (this.#spare.length < SPARES && records.room.length <= SPARE_BYTES_MAX) this.#spare.push(records.room)
    let at = from
    const offsets = members.map(({ append }) => {
      const own = at
      at += Math.max(1, append.records)
      return own
    })
    this.#options.onAcknowledged(members.at(-1)!.append.records === 0 ? offsets.at(-1)! : at)
    members.forEach(({ bytes, answer, outcome }, i) => {
      this.#pendingBytes -= bytes
      outcome.resolve(offsets[i]!)
      answer.resolve(offsets[i]!)
    })
  }

  #refuse({ members }: { readonly members: readonly Pending[] }, error: MillraceError): void {
    for (const { bytes, answer, outcome } of members) {
      this.#pendingBytes -= bytes
      outcome.reject(error)
      answer.reject(error)
    }
  }

  /** Tells those who have waited long enough: that nothing was kept, or that it is not known. */
  #answerLate(group: Group, doubtful: boolean, error: MillraceError): void {
    const late = ({ sinceMs }: Pending) => this.#now() - sinceMs > this.#options.limits.appendMs
    for (const { answer } of group.members.filter(late)) answer.reject(doubtful ? this.#unknown(error) : error)
    const refused = this.#waiting.filter(late)
    if (refused.length === 0) return
    this.#waiting = this.#waiting.filter((pending) => !late(pending))
    this.#waitingBytes -= refused.reduce((sum, { bytes }) => sum + bytes, 0)
    this.#refuse({ members: refused }, error)
  }

  #unknown(cause: MillraceError): MillraceError {
    const { place } = this.#options
    return new MillraceError(
      'unavailable',
      'append-unknown',
      `Whether topic '${place.topic}' holds the records is not known: ${cause.message}`,
      {
        hint: 'Send them again with the same Idempotency-Key, so that they cannot be there twice.',
        context: { stream: place.stream, partition: place.partition },
        cause,
      },
    )
  }
}

/** Why a batch was not acknowledged. */
class SendError extends Error {
  readonly error: MillraceError
  /** The broker refuses its place among the producer's batches. */
  readonly sequence: boolean
  /** It may have been written all the same. */
  readonly sent: boolean

  constructor(error: MillraceError, { sequence, sent }: { readonly sequence: boolean; readonly sent: boolean }) {
    super(error.message)
    this.error = error
    this.sequence = sequence
    this.sent = sent
  }
}
