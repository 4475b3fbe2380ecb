import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { MillraceError } from '../../../src/base/errors.ts'
import { checkConditionalWrites } from '../../../src/storage/s3/capability.ts'
import type { S3Config } from '../../../src/storage/s3/config.ts'
import { S3Objects } from '../../../src/storage/s3/objects.ts'
import { EFFECTS, collected, s3Config } from '../../lake/support/home.ts'
import { temporaryDirectory } from '../../lake/support/lake.ts'
import { bucket } from './bucket.ts'
import { FaultyProxy } from './faulty-proxy.ts'
import type { Fault } from './faulty-proxy.ts'

const name = await bucket()
let proxy: FaultyProxy
let objects: S3Objects

beforeAll(async () => {
  proxy = await FaultyProxy.open(s3Config(name).endpoint)
  objects = await opened({ endpoint: proxy.url })
})
afterEach(async () => {
  proxy.fault = () => 'none'
  await objects.removeAll((await collected(objects.list(''))).map(({ key }) => key))
})
afterAll(() => proxy.close())

function opened(change: Partial<S3Config>, patienceMs = 10_000, requestMs = 500): Promise<S3Objects> {
  return S3Objects.open({ ...s3Config(name), ...change }, { ...EFFECTS, patienceMs, requestMs })
}

/** Does this to the next requests of a method, then nothing. */
function next(method: string, ...faults: Fault[]): void {
  proxy.fault = (request) => (request.method === method ? (faults.shift() ?? 'none') : 'none')
}

test('puts, gets, lists and removes; large files go in parts', async () => {
  const directory = await temporaryDirectory()
  const bytes = randomBytes(35_000_000)
  await writeFile(join(directory, 'large'), bytes)
  await objects.upload(join(directory, 'large'), 'a/large')
  await objects.put('a/b/small', Buffer.from('x'))
  expect(await objects.download('a/large', join(directory, 'back'))).toBe(bytes.length)
  expect((await readFile(join(directory, 'back'))).equals(bytes)).toBe(true)
  expect(await objects.names('a/')).toEqual(['b', 'large'])
  expect(await objects.names('none/')).toEqual([])
  expect((await collected(objects.list('a/'))).map((object) => [object.key, object.bytes])).toEqual([
    ['a/b/small', 1],
    ['a/large', bytes.length],
  ])
  expect(await objects.head('a/large')).toMatchObject({ bytes: bytes.length })
  await objects.remove('a/large')
  await objects.remove('a/large')
  expect(await objects.head('a/large')).toBeUndefined()
  await expect(objects.get('a/large')).rejects.toMatchObject({ code: 'not-found' })
})

test('lists more than a page', async () => {
  const keys = Array.from({ length: 1003 }, (_, i) => `many/${String(i).padStart(4, '0')}`)
  for (let at = 0; at < keys.length; at += 50)
    await Promise.all(keys.slice(at, at + 50).map((key) => objects.put(key, Buffer.from('x'))))
  expect(await objects.names('many/')).toHaveLength(1003)
  await objects.removeAll(keys)
  expect(await objects.names('many/')).toEqual([])
})

describe('a conditional put', () => {
  const FAULTS: readonly Fault[] = ['refused', '500 after', 'cut', 'slow']

  test.each(FAULTS)('that meets %s is settled: ours once, theirs otherwise', async (fault) => {
    proxy.slowMs = 1500
    next('PUT', fault)
    expect(await objects.putIfAbsent('a', Buffer.from('ours'))).toBe(true)
    next('PUT', fault, fault)
    expect(await objects.putIfAbsent('a', Buffer.from('theirs'))).toBe(false)
    expect((await objects.get('a')).toString()).toBe('ours')
  })

  test('whose outcome stays unclear says so', async () => {
    const hasty = await opened({ endpoint: proxy.url }, 300)
    proxy.fault = () => '500 after'
    await expect(hasty.putIfAbsent('a', Buffer.from('ours'))).rejects.toMatchObject({ code: 'commit-unknown' })
    proxy.fault = () => 'refused'
    await expect(hasty.putIfAbsent('b', Buffer.from('ours'))).rejects.toMatchObject({
      kind: 'unavailable',
      code: 's3-unavailable',
    })
  })

  test('of many at once is won by one', async () => {
    const results = await Promise.all(
      Array.from({ length: 16 }, (_, i) => objects.putIfAbsent('race', Buffer.from(String(i)))),
    )
    expect(results.filter(Boolean)).toHaveLength(1)
    expect((await objects.get('race')).toString()).toBe(String(results.indexOf(true)))
  })
})

test('a download goes on where it was cut', async () => {
  const directory = await temporaryDirectory()
  const bytes = randomBytes(2_000_000)
  await objects.put('cut', bytes)
  next('GET', 'cut within', 'cut', 'cut within')
  await objects.download('cut', join(directory, 'cut'))
  expect((await readFile(join(directory, 'cut'))).equals(bytes)).toBe(true)
})

test('an upload in parts survives whatever meets its requests', async () => {
  const directory = await temporaryDirectory()
  const bytes = randomBytes(40_000_000)
  await writeFile(join(directory, 'large'), bytes)
  const faults: Fault[] = ['refused', 'cut', '500 after', 'cut within']
  let count = 0
  proxy.fault = ({ method }) => (method === 'PUT' || method === 'POST' ? (faults[count++ % 8] ?? 'none') : 'none')
  const patient = await opened({ endpoint: proxy.url }, 30_000, 10_000)
  await patient.upload(join(directory, 'large'), 'parts')
  proxy.fault = () => 'none'
  expect((await objects.get('parts')).equals(bytes)).toBe(true)
})

test('uploads in parts that were never ended are given up, not those of others or that go on', async () => {
  const { S3Client, CreateMultipartUploadCommand, ListMultipartUploadsCommand, UploadPartCommand } =
    await import('@aws-sdk/client-s3')
  const { bucket: Bucket, ...config } = s3Config(objects.bucket)
  const client = new S3Client({ ...config, forcePathStyle: true })
  const left = async () => {
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket, Prefix: 'cut/' }))
    return new Set(Uploads.map(({ Key }) => Key))
  }
  for (const Key of ['cut/t/data/a', 'cut/t/data/b', 'cut/other/data/c']) {
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }))
    await client.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: 'part' }))
  }
  expect(await objects.abandonUploads('cut/t/', Date.now() - 86_400_000)).toBe(0)
  expect((await left()).size).toBe(3)
  expect(await objects.abandonUploads('cut/t/', Date.now() + 60_000)).toBe(2)
  expect(await left()).toEqual(new Set(['cut/other/data/c']))
  expect(await objects.abandonUploads('cut/', Date.now() + 60_000)).toBe(1)
  client.destroy()
})

describe('what is wrong with a store is told with the remedy', () => {
  const credentials = { accessKeyId: s3Config('').credentials.accessKeyId, secretAccessKey: 'a-secret-that-is-wrong' }

  test.each<[string, Partial<S3Config>, { kind: string; code: string }]>([
    ['no such bucket', { bucket: 'no-such-bucket-anywhere' }, { kind: 'invalid', code: 'no-such-bucket' }],
    ['a wrong secret', { credentials }, { kind: 'denied', code: 's3-denied' }],
    [
      'an unknown key',
      { credentials: { ...credentials, accessKeyId: 'nobody' } },
      { kind: 'denied', code: 's3-denied' },
    ],
    ['nobody there', { endpoint: 'http://127.0.0.1:1' }, { kind: 'unavailable', code: 's3-unavailable' }],
  ])('%s', async (_what, change, wanted) => {
    const wrong = await opened(change, 100)
    const error = await checkConditionalWrites(wrong, 'probe').then(
      () => undefined,
      (thrown: unknown) => thrown as MillraceError,
    )
    expect(error).toMatchObject({ ...wanted, hint: expect.stringMatching(/target/) })
    expect(inspect(error, { depth: 20 })).not.toMatch(/a-secret|Signature=|x-amz-security/i)
  })

  test.each([
    ['ignores If-None-Match', 200],
    ['does not have it', 501],
  ])('a store that %s', async (_what, status) => {
    const server = createServer((request, response) => {
      request.resume()
      const listing = '<?xml version="1.0"?><ListBucketResult></ListBucketResult>'
      if (request.method === 'GET') response.writeHead(200, { 'content-type': 'application/xml' }).end(listing)
      else response.writeHead(request.method === 'PUT' ? status : 204).end()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const store = await opened({ endpoint: `http://127.0.0.1:${port}` }, 100)
    await expect(checkConditionalWrites(store, 'probe')).rejects.toMatchObject({
      kind: 'invalid',
      code: 'no-conditional-writes',
      hint: expect.stringContaining('conditional writes'),
    })
    store.close()
    server.close()
  })
})
