import type * as s3 from '@aws-sdk/client-s3'
import type { GetObjectCommand, S3Client } from '@aws-sdk/client-s3'
import type { Clock } from '../../base/clock.ts'
import { MillraceError } from '../../base/errors.ts'
import { Semaphore } from '../../base/queue.ts'
import type { Disk } from '../disk.ts'
import type { S3Config, S3Credentials } from './config.ts'
import { DEFAULT_REGION } from './config.ts'
import type { Failure } from './failure.ts'
import { failureOf, storeError } from './failure.ts'

type Driver = typeof s3

export interface S3Effects {
  readonly clock: Clock
  /** Numbers in [0, 1), which spread retries. */
  readonly random: () => number
  readonly disk: Disk
  /** How long a request is tried again; tests lower it. */
  readonly patienceMs?: number
  /** How long one try may go without progress; tests lower it. */
  readonly requestMs?: number
  /** Gives credentials where the configuration has none, again once they expire. Default: those of the environment. */
  readonly credentials?: () => Promise<S3Credentials & { readonly expiration?: Date }>
}

/** An object as a listing tells of it. */
export interface StoredObject {
  readonly key: string
  readonly bytes: number
  readonly modifiedMs: number
}

const CONNECT_MS = 3_000
const REQUEST_MS = 20_000
/** A part on its way shows no progress. */
const PART_MS = 120_000
/** The store may be away this long before a request fails. */
const PATIENCE_MS = 60_000
/** At the start somebody waits to hear that the address is wrong. */
const START_PATIENCE_MS = 5_000
const BACKOFF_MS = 50
const BACKOFF_MS_MAX = 5_000

/** A part of a multipart upload, and the size up to which files are put whole. */
const PART_BYTES = 16 * 1024 ** 2
/** In memory at once, over all uploads. */
const PARTS_AT_ONCE = 4
/** What one request for deletion may name. */
const REMOVALS_AT_ONCE = 1000

/**
 * The objects of a bucket. Every request is tried again with growing pauses while the store is busy, slow or
 * away; a conditional put whose outcome is unclear is settled by looking.
 *
 * Errors: `invalid` / `not-found`, `no-such-bucket`, `s3-region`, `s3-refused`; `denied` / `s3-denied`,
 * `s3-no-credentials`; `unavailable` / `s3-unavailable` when it stayed away. None of them carries a request, so nothing
 * secret comes into a log.
 */
export class S3Objects {
  readonly bucket: string
  readonly #client: S3Client
  readonly #driver: Driver
  readonly #effects: S3Effects
  readonly #parts = new Semaphore(PARTS_AT_ONCE)

  private constructor(config: S3Config, client: S3Client, driver: Driver, effects: S3Effects) {
    this.bucket = config.bucket
    this.#client = client
    this.#driver = driver
    this.#effects = effects
  }

  /** Connects; nothing is asked of the store yet. Errors: `invalid` / `driver-missing`. */
  static async open(config: S3Config, effects: S3Effects): Promise<S3Objects> {
    const driver = await loadDriver()
    const client = new driver.S3Client({
      region: config.region ?? DEFAULT_REGION,
      ...(config.endpoint === undefined
        ? {}
        : {
            endpoint: config.endpoint,
            forcePathStyle: true,
            // Stores that are not Amazon's need not know its newer checksums.
            requestChecksumCalculation: 'WHEN_REQUIRED',
            responseChecksumValidation: 'WHEN_REQUIRED',
          }),
      // A copy: the driver writes notes of its own into it.
      ...(effects.credentials ? { credentials: effects.credentials } : {}),
      ...(config.credentials === undefined ? {} : { credentials: { ...config.credentials } }),
      // Tried again here, where it is known what an unclear outcome means.
      maxAttempts: 1,
      requestHandler: { connectionTimeout: CONNECT_MS },
    })
    return new S3Objects(config, client, driver, effects)
  }

  close(): void {
    this.#client.destroy()
  }

  /** Throws when the bucket is not there or not ours to use. */
  async checkBucket(): Promise<void> {
    try {
      const command = new this.#driver.ListObjectsV2Command({ Bucket: this.bucket, MaxKeys: 1 })
      const send = (abortSignal: AbortSignal) => this.#client.send(command, { abortSignal })
      await this.#retried('', send, { patienceMs: START_PATIENCE_MS })
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'not-found')
        throw storeError(
          { outcome: 'final', status: 404, name: 'NoSuchBucket', message: '' },
          this.bucket,
          'the bucket',
        )
      throw error
    }
  }

  /** The bytes of an object. */
  get(key: string): Promise<Buffer> {
    return this.#retried(key, async (abortSignal, alive) => {
      const { Body } = await this.#client.send(this.#get(key), { abortSignal })
      const chunks: Uint8Array[] = []
      for await (const chunk of Body as AsyncIterable<Uint8Array>) {
        chunks.push(chunk)
        alive()
      }
      return Buffer.concat(chunks)
    })
  }

  /** Writes an object to a new local file, not synced; going on after the last byte that came. Returns its bytes. */
  async download(key: string, path: string): Promise<number> {
    const file = await this.#effects.disk.open(path, 'create')
    try {
      let done = 0
      let total = Infinity
      await this.#retried(key, async (abortSignal, alive) => {
        if (done === total) return
        const command = new this.#driver.GetObjectCommand({ ...this.#of(key), Range: `bytes=${done}-` })
        const { Body, ContentLength } = await this.#client.send(done === 0 ? this.#get(key) : command, { abortSignal })
        if (done === 0) total = ContentLength ?? Infinity
        for await (const chunk of Body as AsyncIterable<Uint8Array>) {
          await file.write(chunk, done)
          done += chunk.length
          alive()
        }
      })
      return done
    } finally {
      await file.close()
    }
  }

  /** Writes an object, over any that is there. */
  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#retried(key, (abortSignal) =>
      this.#client.send(new this.#driver.PutObjectCommand({ ...this.#of(key), Body: bytes }), { abortSignal }),
    )
  }

  /**
   * Writes an object if there is none of that key. Returns whether it is ours: a try whose outcome is unclear is repeated, and
   * when the key turns out to be taken it is read to see by whose bytes; they must therefore be like nobody else's. Throws
   * `corrupt` / `commit-unknown` when the store did not answer that either; anything else thrown means nothing was written.
   */
  async putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    let isUnclear = false
    const command = () =>
      new this.#driver.PutObjectCommand({
        ...this.#of(key),
        Body: bytes,
        IfNoneMatch: '*',
        ContentLength: bytes.length,
      })
    try {
      await this.#retried(key, (abortSignal) => this.#client.send(command(), { abortSignal }), {
        seen: ({ outcome }) => (isUnclear ||= outcome === 'unclear'),
      })
      return true
    } catch (error) {
      if (isTaken(error) && !isUnclear) return false
      if (!isTaken(error) && !isUnclear) throw error
      return await this.#holds(key, bytes)
    }
  }

  /** Uploads a local file, in parts when it is large, over any object that is there. */
  async upload(path: string, key: string): Promise<void> {
    const file = await this.#effects.disk.open(path, 'read')
    try {
      const size = await file.size()
      if (size > PART_BYTES) return await this.#uploadParts(file, size, key)
      await this.#parts.run(async () => {
        const command = new this.#driver.PutObjectCommand({ ...this.#of(key), Body: await file.read(0, size) })
        await this.#retried(key, (abortSignal) => this.#client.send(command, { abortSignal }), { limitMs: PART_MS })
      })
    } finally {
      await file.close()
    }
  }

  /** Size and time of an object; undefined when there is none. */
  async head(key: string): Promise<StoredObject | undefined> {
    try {
      const answer = await this.#retried(key, (abortSignal) =>
        this.#client.send(new this.#driver.HeadObjectCommand(this.#of(key)), { abortSignal }),
      )
      return { key, bytes: answer.ContentLength ?? 0, modifiedMs: answer.LastModified?.getTime() ?? 0 }
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'not-found') return undefined
      throw error
    }
  }

  /** The objects whose keys begin so. */
  async *list(prefix: string): AsyncGenerator<StoredObject> {
    for await (const { Contents = [] } of this.#pages(prefix)) {
      for (const { Key, Size, LastModified } of Contents)
        yield { key: Key!, bytes: Size ?? 0, modifiedMs: LastModified?.getTime() ?? 0 }
    }
  }

  /** Names directly below a prefix that ends in `/` or is empty: of objects, and of what others lie below. */
  async names(prefix: string): Promise<string[]> {
    const names: string[] = []
    const below = prefix.length
    for await (const { Contents = [], CommonPrefixes = [] } of this.#pages(prefix, '/')) {
      for (const { Key } of Contents) names.push(Key!.slice(below))
      for (const common of CommonPrefixes) names.push(common.Prefix!.slice(below, -1))
    }
    return names.sort()
  }

  async remove(key: string): Promise<void> {
    await this.#retried(key, (abortSignal) =>
      this.#client.send(new this.#driver.DeleteObjectCommand(this.#of(key)), { abortSignal }),
    )
  }

  /** Removes objects, as many at once as the store takes. */
  async removeAll(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += REMOVALS_AT_ONCE) {
      const some = keys.slice(at, at + REMOVALS_AT_ONCE).map((key) => ({ Key: key }))
      await this.#retried(`${some.length} objects`, async (abortSignal) => {
        const { Errors = [] } = await this.#client.send(
          new this.#driver.DeleteObjectsCommand({ Bucket: this.bucket, Delete: { Objects: some, Quiet: true } }),
          { abortSignal },
        )
        const [first] = Errors
        if (first === undefined) return
        const status = first.Code === 'AccessDenied' ? 403 : 500
        throw Object.assign(new Error(first.Message), { name: first.Code, $metadata: { httpStatusCode: status } })
      })
    }
  }

  /**
   * Gives up uploads in parts that were begun before a time, ms, and never ended: a process that was killed leaves them, and their parts
   * are kept, and paid for, without being seen. Returns how many; none where the store does not tell of them, or not us.
   */
  async abandonUploads(prefix: string, beforeMs: number): Promise<number> {
    const { ListMultipartUploadsCommand, AbortMultipartUploadCommand } = this.#driver
    let abandoned = 0
    let after: Pick<s3.ListMultipartUploadsCommandInput, 'KeyMarker' | 'UploadIdMarker'> | undefined = {}
    while (after) {
      const command = new ListMultipartUploadsCommand({ Bucket: this.bucket, Prefix: prefix, ...after })
      let page: s3.ListMultipartUploadsCommandOutput
      try {
        page = await this.#retried(prefix, (abortSignal) => this.#client.send(command, { abortSignal }))
      } catch (error) {
        if (error instanceof MillraceError && ['s3-denied', 's3-refused'].includes(error.code)) return abandoned
        throw error
      }
      for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
        if (!Key?.startsWith(prefix) || Initiated === undefined || Initiated.getTime() >= beforeMs) continue
        const abort = new AbortMultipartUploadCommand({ Bucket: this.bucket, Key, UploadId })
        await this.#retried(Key, (abortSignal) => this.#client.send(abort, { abortSignal })).catch((error: unknown) => {
          // Another has given it up, or ended it.
          if (!(error instanceof MillraceError) || error.code !== 'not-found') throw error
        })
        abandoned++
      }
      after = page.IsTruncated ? { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker } : undefined
    }
    return abandoned
  }

  #get(key: string): GetObjectCommand {
    return new this.#driver.GetObjectCommand(this.#of(key))
  }

  #of(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.bucket, Key: key }
  }

  async *#pages(prefix: string, delimiter?: string) {
    let token: string | undefined
    do {
      const command = new this.#driver.ListObjectsV2Command({
        Bucket: this.bucket,
        Prefix: prefix,
        ...(delimiter === undefined ? {} : { Delimiter: delimiter }),
        ...(token === undefined ? {} : { ContinuationToken: token }),
      })
      const page = await this.#retried(prefix, (abortSignal) => this.#client.send(command, { abortSignal }))
      yield page
      token = page.NextContinuationToken
    } while (token !== undefined)
  }

  async #uploadParts(file: { read(at: number, bytes: number): Promise<Buffer> }, size: number, key: string) {
    const { CreateMultipartUploadCommand, UploadPartCommand, CompleteMultipartUploadCommand } = this.#driver
    const { UploadId } = await this.#retried(key, (abortSignal) =>
      this.#client.send(new CreateMultipartUploadCommand(this.#of(key)), { abortSignal }),
    )
    const upload = { ...this.#of(key), UploadId }
    const part = (number: number) =>
      this.#parts.run(async () => {
        const Body = await file.read((number - 1) * PART_BYTES, PART_BYTES)
        const command = new UploadPartCommand({ ...upload, PartNumber: number, Body })
        const send = (abortSignal: AbortSignal) => this.#client.send(command, { abortSignal })
        const { ETag } = await this.#retried(key, send, { limitMs: PART_MS })
        return { ETag, PartNumber: number }
      })
    try {
      const numbers = Array.from({ length: Math.ceil(size / PART_BYTES) }, (_, i) => i + 1)
      const results = await Promise.allSettled(numbers.map(part))
      const failed = results.find((result) => result.status === 'rejected')
      if (failed) throw failed.reason
      const Parts = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
      await this.#retried(key, (abortSignal) =>
        this.#client.send(new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } }), {
          abortSignal,
        }),
      )
    } catch (error) {
      // Completed by a try that nobody heard the answer of: then the upload is gone, and the object is there.
      if ((await this.head(key).catch(() => undefined))?.bytes === size) return
      const abort = new this.#driver.AbortMultipartUploadCommand(upload)
      await this.#client.send(abort).catch(() => undefined)
      throw error
    }
  }

  /** Whose bytes a key has; that there are none says nothing yet, for a put may still be on its way. */
  async #holds(key: string, bytes: Uint8Array): Promise<boolean> {
    try {
      return (await this.get(key)).equals(bytes)
    } catch (error) {
      throw unknownOutcome(`s3://${this.bucket}/${key}`, error)
    }
  }

  /**
   * Tries until it succeeds, fails for good, or patience ends; a try that goes on without a sign of life has failed.
   */
  async #retried<T>(
    key: string,
    request: (signal: AbortSignal, alive: () => void) => Promise<T>,
    tries: Tries = {},
  ): Promise<T> {
    const { clock, random, requestMs = tries.limitMs ?? REQUEST_MS } = this.#effects
    const patienceMs = Math.min(tries.patienceMs ?? Infinity, this.#effects.patienceMs ?? PATIENCE_MS)
    const started = clock.monotonic()
    for (let attempt = 0; ; attempt++) {
      try {
        return await whileAlive(clock, requestMs, request)
      } catch (error) {
        // What the disk threw is not the store's.
        if (error instanceof MillraceError) throw error
        const failure = failureOf(error)
        tries.seen?.(failure)
        if (failure.outcome === 'taken') throw new Taken(key)
        const isPassing = failure.outcome === 'refused' || failure.outcome === 'unclear'
        const isLate = clock.monotonic() - started > patienceMs
        if (!isPassing || isLate) throw storeError(failure, this.bucket, `s3://${this.bucket}/${key}`)
        await clock.sleep(Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** attempt) * (0.5 + random()))
      }
    }
  }
}

/** How a request is tried, where it is not as all others. */
interface Tries {
  /** Told of every failure. */
  readonly seen?: (failure: Failure) => void
  /** Longest time without a sign of life. */
  readonly limitMs?: number
  readonly patienceMs?: number
}

/** Ends a request that has shown no sign of life for so long, whatever it is waiting for. */
async function whileAlive<T>(
  clock: Clock,
  limitMs: number,
  request: (signal: AbortSignal, alive: () => void) => Promise<T>,
): Promise<T> {
  const ended = new AbortController()
  const late = new AbortController()
  let aliveAt = clock.monotonic()
  const silence = async (): Promise<never> => {
    for (;;) {
      const left = aliveAt + limitMs - clock.monotonic()
      if (left <= 0) break
      await clock.sleep(left, ended.signal)
      if (ended.signal.aborted) break
    }
    late.abort()
    throw Object.assign(new Error(`no answer for ${limitMs} ms`), { name: 'TimeoutError' })
  }
  try {
    return await Promise.race([request(late.signal, () => void (aliveAt = clock.monotonic())), silence()])
  } finally {
    ended.abort()
  }
}

/** The condition of a request did not hold. */
class Taken extends Error {}

function isTaken(error: unknown): boolean {
  return error instanceof Taken
}

function unknownOutcome(location: string, cause: unknown): MillraceError {
  return new MillraceError(
    'corrupt',
    'commit-unknown',
    `${location} may or may not be committed: the store went away.`,
    {
      hint: 'Do not commit the same change again. Start again when the store is back: loading the table shows whether the snapshot is there.',
      context: { location },
      cause,
    },
  )
}

async function loadDriver(): Promise<Driver> {
  try {
    return await import('@aws-sdk/client-s3')
  } catch (cause) {
    throw new MillraceError('invalid', 'driver-missing', 'The driver for S3 is not installed.', {
      hint: 'Run npm install @aws-sdk/client-s3.',
      cause,
    })
  }
}
