import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Clock } from '../../../src/base/clock.ts'
import { systemClock } from '../../../src/base/clock.ts'
import { Lake } from '../../../src/lake/lake.ts'
import { S3Store } from '../../../src/lake/s3-store.ts'
import { systemDisk } from '../../../src/storage/disk.ts'
import { S3Objects } from '../../../src/storage/s3/objects.ts'

/** Where the lakes of a test file are: the suites of test/lake run over each. */
export interface LakeHome {
  /** Whether files must be there before a commit speaks of them, though nobody reads them. */
  readonly wantsFiles?: boolean
  /** A place for a lake, gone after the test. */
  newRoot(): Promise<string>
  /** The lake at a place, as a process of its own would open it. */
  open(root: string, options?: { readonly clock?: Clock }): Promise<Lake>
  /** The files as they are stored, past the lake. */
  read(location: string): Promise<Buffer>
  write(location: string, bytes: string | Uint8Array): Promise<void>
  remove(location: string): Promise<void>
  /** Removes everything made since it was called last. */
  clear(): Promise<void>
}

const directories: string[] = []

export async function temporary(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-lake-'))
  directories.push(directory)
  return directory
}

export const diskHome: LakeHome = {
  newRoot: temporary,
  open: async (root, options = {}) => new Lake({ root, ...options }),
  read: (location) => readFile(location),
  write: async (location, bytes) => {
    await mkdir(dirname(location), { recursive: true })
    await writeFile(location, bytes)
  },
  remove: (location) => rm(location),
  clear: async () => {
    for (const root of directories.splice(0)) await rm(root, { recursive: true, force: true })
  },
}

/** What the environment says of the S3 server that tests may use. */
export function s3Config(bucket: string) {
  const { S3_ENDPOINT, S3_REGION = 'us-east-1', S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY } = process.env
  if (S3_ENDPOINT === undefined || S3_ACCESS_KEY_ID === undefined || S3_SECRET_ACCESS_KEY === undefined)
    throw new Error('S3_ENDPOINT, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY are not set: run npm run test:scale')
  const credentials = { accessKeyId: S3_ACCESS_KEY_ID, secretAccessKey: S3_SECRET_ACCESS_KEY }
  return { bucket, endpoint: S3_ENDPOINT, region: S3_REGION, credentials }
}

export const EFFECTS = { clock: systemClock, disk: systemDisk, random: () => Math.random() }

/** Options of a store that does not wait long for a server that is there or is not. */
export async function storeOptions(root: string) {
  const [, bucket, prefix] = /^s3:\/\/([^/]+)\/(.+)$/.exec(root)!
  return {
    config: { ...s3Config(bucket!), prefix: prefix! },
    clock: systemClock,
    disk: systemDisk,
    random: randomBytes,
    cacheDirectory: join(await temporary(), 'cache'),
  }
}

/** Lakes in a bucket, each below a prefix of its own. */
export async function s3Home(bucket: string): Promise<LakeHome> {
  const objects = await S3Objects.open(s3Config(bucket), EFFECTS)
  const key = (location: string): string => location.slice(`s3://${bucket}/`.length)
  const roots: string[] = []
  return {
    newRoot: async () => {
      const root = `s3://${bucket}/${randomBytes(8).toString('hex')}`
      roots.push(root)
      return root
    },
    open: async (root, options = {}) => new Lake({ store: await S3Store.open(await storeOptions(root)), ...options }),
    read: (location) => objects.get(key(location)),
    write: (location, bytes) => objects.put(key(location), Buffer.from(bytes)),
    remove: (location) => objects.remove(key(location)),
    clear: async () => {
      for (const root of roots.splice(0)) {
        const keys = (await collected(objects.list(key(`${root}/`)))).map((object) => object.key)
        await objects.removeAll(keys)
      }
      await diskHome.clear()
    },
  }
}

export async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

/** The lake at a path of this machine, or in a bucket; looked up in another catalog where the test says so. */
export async function openAt(root: string): Promise<Lake> {
  const catalog = process.env['TEST_CATALOG']
  if (catalog !== undefined) return (await import('./catalog-home.ts')).openRemote(root, JSON.parse(catalog))
  if (!root.startsWith('s3://')) return diskHome.open(root)
  return new Lake({ store: await S3Store.open(await storeOptions(root)) })
}
