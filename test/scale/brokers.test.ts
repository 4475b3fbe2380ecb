import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Admin, ProduceAcks, Producer, stringSerializers } from '@platformatic/kafka'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Home } from '../../scripts/services/home.ts'
import { down, environment, killProcess, restartProcess, status, up } from '../../scripts/services/services.ts'

let home: Home

beforeAll(async () => {
  home = Home.default().beside(await mkdtemp(join(tmpdir(), 'brokers-')))
  await up(home, ['kafka'], () => {}, { brokers: 3 })
})

afterAll(async () => {
  await down(home, ['kafka'], () => {})
  await rm(home.directory, { recursive: true })
})

test('a cluster of three goes on without any one broker, which comes back', async () => {
  const bootstrapBrokers = environment(home, ['kafka'])['KAFKA_BROKERS']!.split(',')
  expect(status(home, 'kafka').pids).toHaveLength(3)
  const admin = new Admin({ clientId: 'test', bootstrapBrokers, retries: 20 })
  await admin.createTopics({ topics: ['events'], partitions: 3, replicas: 3 })
  const send = async (value: string) => {
    const producer = new Producer({
      clientId: 'test',
      bootstrapBrokers,
      serializers: stringSerializers,
      retries: 60,
      retryDelay: 500,
    })
    await producer.send({
      acks: ProduceAcks.ALL,
      messages: [0, 1, 2].map((partition) => ({ topic: 'events', partition, value })),
    })
    await producer.close()
  }
  await send('before')
  for (const node of [1, 2, 3]) {
    await killProcess(home, `kafka-${node}`)
    expect(status(home, 'kafka')).toMatchObject({ up: false, pids: { length: 2 } })
    await send(`without ${node}`)
    await restartProcess(home, `kafka-${node}`)
    expect(status(home, 'kafka')).toMatchObject({ up: true, pids: { length: 3 } })
  }
  await admin.close()
})
