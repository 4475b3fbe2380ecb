import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Admin, ProduceAcks, Producer, stringSerializers } from '@platformatic/kafka'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { Home } from '../../scripts/services/home.ts'
import { down, environment, killProcess, restartProcess, status, up } from '../../scripts/services/services.ts'

/** A home of its own: the cluster that others use stays whole. */
let home: Home
let bootstrapBrokers: string[]

beforeAll(async () => {
  home = Home.default().beside(await mkdtemp(join(tmpdir(), 'brokers-')))
  await up(home, ['kafka'], () => {}, { brokers: 3 })
  bootstrapBrokers = environment(home, ['kafka'])['KAFKA_BROKERS']!.split(',')
})

afterAll(async () => {
  await down(home, ['kafka'], () => {})
  await rm(home.directory, { recursive: true })
})

/** Sends to every partition, until all brokers that must have it do. The driver does not look for new leaders while it retries. */
async function send(value: string): Promise<void> {
  const messages = [0, 1, 2].map((partition) => ({ topic: 'events', partition, value }))
  await vi.waitFor(
    async () => {
      const producer = new Producer({ clientId: 'test', bootstrapBrokers, serializers: stringSerializers, retries: 0 })
      try {
        await producer.send({ acks: ProduceAcks.ALL, messages })
      } finally {
        await producer.close()
      }
    },
    { timeout: 60_000, interval: 200 },
  )
}

test('a cluster of three goes on without any one broker, which comes back', async () => {
  expect(status(home, 'kafka').pids).toHaveLength(3)
  const admin = new Admin({ clientId: 'test', bootstrapBrokers })
  await admin.createTopics({ topics: ['events'], partitions: 3, replicas: 3 })
  await admin.close()
  await send('before')
  for (const node of [1, 2, 3]) {
    await killProcess(home, `kafka-${node}`)
    expect(status(home, 'kafka')).toMatchObject({ up: false, pids: { length: 2 } })
    await send(`without ${node}`)
    await restartProcess(home, `kafka-${node}`)
    expect(status(home, 'kafka')).toMatchObject({ up: true, pids: { length: 3 } })
  }
})
