import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { Admin } from '@platformatic/kafka'
import { Client } from 'pg'
import { expect, test } from 'vitest'
import { Home } from '../../scripts/services/home.ts'
import { isRunning, startProcess } from '../../scripts/services/processes.ts'
import { down, status } from '../../scripts/services/services.ts'

/** Told by scripts/test-scale. */
function address(variable: string): string {
  const value = process.env[variable]
  if (value === undefined) throw new Error(`${variable} is missing: run npm run test:scale`)
  return value
}

const unique = () => `services-${crypto.randomUUID().slice(0, 8)}`

test('Kafka creates a topic and tells of it', async () => {
  const admin = new Admin({ clientId: 'test', bootstrapBrokers: address('KAFKA_BROKERS').split(',') })
  const topic = unique()
  await admin.createTopics({ topics: [topic], partitions: 3, replicas: 1 })
  const { topics } = await admin.metadata({ topics: [topic] })
  expect(topics.get(topic)?.partitionsCount).toBe(3)
  await admin.deleteTopics({ topics: [topic] })
  await admin.close()
})

test('Spark Connect takes connections', async () => {
  const { hostname, port, protocol } = new URL(address('SPARK_URL'))
  expect(protocol).toBe('sc:')
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  socket.destroy()
})

test('the S3 server lets one of many put an object that is not there, and replace one that has not changed', async () => {
  const client = new S3Client({
    endpoint: address('S3_ENDPOINT'),
    region: address('S3_REGION'),
    forcePathStyle: true,
    credentials: { accessKeyId: address('S3_ACCESS_KEY_ID'), secretAccessKey: address('S3_SECRET_ACCESS_KEY') },
  })
  const Bucket = unique()
  await client.send(new CreateBucketCommand({ Bucket }))
  const put = (Body: string, condition: { IfNoneMatch: '*' } | { IfMatch: string }) =>
    client.send(new PutObjectCommand({ Bucket, Key: 'a/version', Body, ...condition }))
  const writers = ['1', '2', '3', '4', '5', '6', '7', '8']
  const results = await Promise.allSettled(writers.map((writer) => put(writer, { IfNoneMatch: '*' })))
  const won = writers.filter((_, i) => results[i]!.status === 'fulfilled')
  expect(won).toHaveLength(1)
  const lost = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
  for (const error of lost)
    expect(error).toMatchObject({
      $metadata: { httpStatusCode: expect.toSatisfy((status) => status === 409 || status === 412) },
    })

  const stored = await client.send(new GetObjectCommand({ Bucket, Key: 'a/version' }))
  expect(await stored.Body!.transformToString()).toBe(won[0])
  await put('next', { IfMatch: stored.ETag! })
  await expect(put('late', { IfMatch: stored.ETag! })).rejects.toMatchObject({ $metadata: { httpStatusCode: 412 } })
  client.destroy()
})

test('PostgreSQL answers who has the password, and nobody else', async () => {
  const url = address('POSTGRES_URL')
  const client = new Client({ connectionString: url })
  await client.connect()
  const { rows } = await client.query<{ version: number }>(
    "select current_setting('server_version_num')::int as version",
  )
  expect(rows[0]!.version).toBeGreaterThanOrEqual(150_000)
  await client.end()

  const wrong = new URL(url)
  wrong.password = 'wrong'
  await expect(new Client({ connectionString: wrong.href }).connect()).rejects.toThrow('password authentication failed')
})

test('what runs is told with its memory', () => {
  for (const name of ['kafka', 'spark', 's3', 'postgres'] as const) {
    const told = status(Home.default(), name)
    expect(told).toMatchObject({ service: name, up: true })
    expect(told.memoryBytes).toBeGreaterThan(1e6)
  }
})

test('a process that has the number of one that ended is left alone', async () => {
  const home = new Home(await mkdtemp(join(tmpdir(), 'services-')))
  const stranger = startProcess({
    name: 'stranger',
    command: 'sleep',
    args: ['600'],
    cwd: home.directory,
    log: join(home.directory, 'sleep.log'),
  })
  home.update(({ processes }) => (processes['s3'] = { pid: stranger.pid, began: 'another boot:1', seconds: 1 }))
  expect(status(home, 's3')).toMatchObject({ up: false, pids: [] })
  await down(home, ['s3'], () => {})
  expect(isRunning(stranger)).toBe(true)
  process.kill(stranger.pid, 'SIGKILL')
  await rm(home.directory, { recursive: true })
})
