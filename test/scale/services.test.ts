import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { Admin, Producer, stringSerializers } from '@platformatic/kafka'
import { Client } from 'pg'
import { expect, test } from 'vitest'
import { Home } from '../../scripts/services/home.ts'
import { isRunning, startProcess } from '../../scripts/services/processes.ts'
import { down, environment, killProcess, restartProcess, status, up } from '../../scripts/services/services.ts'
import { SparkSession } from '../../src/engine/spark/session.ts'

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

test('Spark reads from Kafka', async () => {
  const bootstrapBrokers = address('KAFKA_BROKERS').split(',')
  const topic = unique()
  const admin = new Admin({ clientId: 'test', bootstrapBrokers })
  await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 })
  const producer = new Producer({ clientId: 'test', bootstrapBrokers, serializers: stringSerializers })
  await producer.send({ messages: [{ topic, key: 'a', value: 'one' }] })
  await producer.close()

  const spark = await SparkSession.open({ url: address('SPARK_URL') })
  const options = `'kafka.bootstrap.servers' '${bootstrapBrokers.join(',')}', 'subscribe' '${topic}'`
  await spark.execute(`create temporary view records using kafka options (${options})`)
  const rows = await spark.rows(
    'select "offset"::int as place, "key"::string as name, "value"::string as text from records',
  )
  expect(rows).toEqual([{ place: 0, name: 'a', text: 'one' }])
  await spark.close()
  await admin.deleteTopics({ topics: [topic] })
  await admin.close()
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

test('what was killed comes back with what it had', async () => {
  const home = Home.default().beside(await mkdtemp(join(tmpdir(), 'services-')))
  await up(home, ['s3', 'postgres'], () => {})
  const { POSTGRES_URL } = environment(home, ['postgres'])
  const query = async (sql: string) => {
    const client = new Client({ connectionString: POSTGRES_URL })
    await client.connect()
    const { rows } = await client.query<{ n: number }>(sql)
    await client.end()
    return rows
  }
  await query('create table kept as select 1 as n')
  for (const name of ['s3', 'postgres'] as const) {
    await killProcess(home, name)
    expect(status(home, name)).toMatchObject({ up: false, pids: [] })
    await restartProcess(home, name)
    expect(status(home, name)).toMatchObject({ up: true })
  }
  expect(environment(home, ['postgres'])).toEqual({ POSTGRES_URL })
  expect(await query('select n from kept')).toEqual([{ n: 1 }])
  await down(home, ['s3', 'postgres'], () => {})
  await rm(home.directory, { recursive: true })
})
