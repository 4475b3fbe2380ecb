import type { Clock } from '../base/clock.ts'
import { assert } from '../base/errors.ts'
import type { Disk } from '../storage/disk.ts'
import { checkConditionalWrites } from '../storage/s3/capability.ts'
import type { S3Config } from '../storage/s3/config.ts'
import { DEFAULT_REGION } from '../storage/s3/config.ts'
import type { S3Effects } from '../storage/s3/objects.ts'
import { S3Objects } from '../storage/s3/objects.ts'
import { Cache } from './cache.ts'
import { FileCache } from './file-cache.ts'
import { isBelow } from './location.ts'
import type { Draft, LakeStore, NewFile } from './store.ts'

export interface S3StoreOptions {
  readonly config: S3Config
  readonly clock: Clock
  readonly disk: Disk
  /** Random bytes for names and pauses. */
  readonly random: (count: number) => Uint8Array
  /** For local copies, of this process alone; emptied at the start. */
  readonly cacheDirectory: string
  /** Another catalog takes the commits: the bucket need not refuse to overwrite. */
  readonly commitsElsewhere?: boolean
  /** Nothing will be written: whether the bucket can hold a lake is not tried out. */
  readonly looking?: boolean
  /** How long the store may be away, and how long one try may go without progress; see S3Effects. */
  readonly patienceMs?: number
  readonly requestMs?: number
}

const CACHE_BYTES = 10 * 1024 ** 3
/** Manifests that were just written: the next commit looks at those of the last. */
const WRITTEN_BYTES = 16 * 1024 ** 2

/**
 * A lake in a bucket: docs/formats/lake.md. A version is put by a conditional write, and everything that it refers to is
 * stored before. Errors: those of S3Objects.
 */
export class S3Store implements LakeStore {
  readonly root: string
  readonly clientSettings: Readonly<Record<string, string>>
  readonly local: FileCache
  readonly #objects: S3Objects
  readonly #bucket: string
  readonly #disk: Disk
  readonly #written = new Cache<Buffer>(WRITTEN_BYTES)

  private constructor(root: string, config: S3Config, objects: S3Objects, local: FileCache, disk: Disk) {
    this.root = root
    this.clientSettings = clientSettings(config)
    this.local = local
    this.#objects = objects
    this.#bucket = `s3://${objects.bucket}/`
    this.#disk = disk
  }

  /** Checks that the bucket can hold a lake. Errors: `invalid` / `no-conditional-writes`, and those of S3Objects. */
  static async open({
    config,
    cacheDirectory,
    commitsElsewhere,
    looking,
    ...effects
  }: S3StoreOptions): Promise<S3Store> {
    const { bucket, prefix = '' } = config
    const base = prefix === '' ? '' : `${prefix.replaceAll(/^\/+|\/+$/g, '')}/`
    const random = (): number => effects.random(1)[0]! / 256
    const s3Effects: S3Effects = { ...effects, random }
    const objects = await S3Objects.open(config, s3Effects)
    if (commitsElsewhere || looking) await objects.checkBucket()
    else await checkConditionalWrites(objects, `${base}.probe-${Buffer.from(effects.random(16)).toString('hex')}`)
    const key = (location: string): string => keyOf(location, bucket)
    const remote = {
      download: (location: string, path: string) => objects.download(key(location), path),
      upload: (path: string, location: string) => objects.upload(path, key(location)),
      size: async (location: string) => (await objects.head(key(location)))?.bytes,
    }
    const local = await FileCache.open(cacheDirectory, config.cacheBytes ?? CACHE_BYTES, remote, effects.disk)
    return new S3Store(`s3://${bucket}/${base}`.replace(/\/$/, ''), config, objects, local, effects.disk)
  }

  close(): void {
    this.#objects.close()
  }

  reaches(location: string): boolean {
    return isBelow(location, this.#bucket.slice(0, -1))
  }

  async read(location: string): Promise<Buffer> {
    const known = this.#written.get(location)
    // Whoever reads it keeps what it says.
    this.#written.delete(location)
    return known ?? this.#objects.get(this.#key(location))
  }

  async exists(location: string): Promise<boolean> {
    return (await this.#objects.head(this.#key(location))) !== undefined
  }

  names(place: string): Promise<string[]> {
    return this.#objects.names(this.#key(`${place}/`))
  }

  /** What was written here and never uploaded is among them. */
  async *files(place: string): AsyncGenerator<{ location: string; modifiedMs: number }> {
    for await (const { key, modifiedMs } of this.#objects.list(this.#key(`${place}/`)))
      yield { location: this.#bucket + key, modifiedMs }
    yield* this.local.pending(place)
  }

  async write({ path, bytes }: NewFile): Promise<void> {
    await this.#objects.put(this.#key(path), bytes)
    this.#written.set(path, Buffer.from(bytes), bytes.length)
  }

  async settle(): Promise<void> {}

  draft(location: string, bytes: Buffer): Draft {
    return {
      write: async () => {},
      publish: () => this.#objects.putIfAbsent(this.#key(location), bytes),
      discard: async () => {},
    }
  }

  note(location: string, bytes: Buffer): Promise<void> {
    return this.#objects.put(this.#key(location), bytes)
  }

  async remove(location: string): Promise<void> {
    this.#written.delete(location)
    await this.#objects.remove(this.#key(location))
    await this.local.forget(location)
  }

  async abandonUploads(place: string, beforeMs: number): Promise<void> {
    await this.#objects.abandonUploads(this.#key(`${place}/`), beforeMs)
  }

  async makeNamespace(): Promise<void> {}

  makeTable(location: string): Promise<void> {
    return this.openTable(location)
  }

  async openTable(location: string): Promise<void> {
    await this.#disk.makeDirectory(this.local.pathOf(`${location}/data`))
  }

  /** The versions first, the oldest of them first: until the last is gone the table is what it was. */
  async removeTable(location: string): Promise<void> {
    const keys: string[] = []
    for await (const { key } of this.#objects.list(this.#key(`${location}/`))) keys.push(key)
    const versionOf = (key: string): number => Number(/\/metadata\/v(\d+)\.metadata\.json$/.exec(key)?.[1] ?? 0)
    const versions = keys.filter((key) => versionOf(key) > 0).sort((a, b) => versionOf(a) - versionOf(b))
    for (const key of versions) await this.#objects.remove(key)
    await this.#objects.removeAll(keys.filter((key) => versionOf(key) === 0))
    await this.#disk.removeTree(this.local.pathOf(location))
  }

  #key(location: string): string {
    return keyOf(location, this.#objects.bucket)
  }
}

/** As Iceberg's Java library and PyIceberg name them. */
function clientSettings({ endpoint, region = DEFAULT_REGION }: S3Config): Record<string, string> {
  return {
    'client.region': region,
    's3.region': region,
    ...(endpoint === undefined ? {} : { 's3.endpoint': endpoint, 's3.path-style-access': 'true' }),
  }
}

function keyOf(location: string, bucket: string): string {
  const base = `s3://${bucket}/`
  assert(location.startsWith(base), `${location} is in the bucket of the lake`)
  return location.slice(base.length)
}
