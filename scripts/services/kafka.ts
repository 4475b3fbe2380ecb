import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Admin } from '@platformatic/kafka'
import type { Home } from './home.ts'
import { LOGGING, needJava } from './java.ts'
import { copyJars, installOnce, locked, run } from './packages.ts'
import type { Program } from './processes.ts'
import type { Service } from './service.ts'

const VERSION = '4.2.0'
const LOCK = locked('kafka.jars')
/** Each node is broker and controller, in a quorum of KRaft. Its id is only a name: 16 bytes in base64. */
const CLUSTER = 'bWlsbHJhY2Utc2VydmljZQ'
const CONFIG = 'server.properties'

/** One broker, or three of which any one may be lost. Their data are apart: a quorum does not change its size. */
export const kafka: Service = {
  name: 'kafka',
  title: `Apache Kafka ${VERSION}`,
  address: 'KAFKA_BROKERS',
  async install(home, say) {
    await needJava()
    await installOnce(libraries(home), [LOCK], async (directory) => {
      say('Maven copies 43 MB')
      await copyJars(LOCK, directory)
    })
  },
  processes: (home) => home.state.brokers,
  ports: (home) => nodes(home).flatMap((node) => [`kafka-${node}`, `kafka-${node}-controller`]),
  async prepare(home) {
    await Promise.all(nodes(home).map((node) => prepareBroker(home, node)))
  },
  programs: (home) => nodes(home).map((node) => broker(home, node)),
  async probe(home) {
    // Each is asked itself: the others take a while to notice that one has died.
    await Promise.all(addresses(home).map((address) => probeBroker(address, nodes(home).length)))
  },
  environment: (home) => ({ KAFKA_BROKERS: addresses(home).join(',') }),
}

/** Throws unless a broker knows all of them, and all partitions have all their copies in sync. */
async function probeBroker(address: string, count: number): Promise<void> {
  const admin = new Admin({ clientId: 'services', bootstrapBrokers: [address], retries: 0, connectTimeout: 1000 })
  try {
    const { brokers, topics } = await admin.metadata({ topics: await admin.listTopics(), forceUpdate: true })
    if (brokers.size < count) throw new Error(`${address} knows ${brokers.size} of ${count} brokers`)
    for (const [name, { partitions }] of topics) {
      const behind = Object.values(partitions).find(({ isr, replicas }) => isr.length < replicas.length)
      if (behind !== undefined) throw new Error(`a partition of ${name} has ${behind.isr.length} copies in sync`)
    }
  } finally {
    await admin.close()
  }
}

function nodes(home: Home): number[] {
  return Array.from({ length: home.state.brokers }, (_, i) => i + 1)
}

function addresses(home: Home): string[] {
  return nodes(home).map((node) => `127.0.0.1:${home.port(`kafka-${node}`)}`)
}

function libraries(home: Home): string {
  return join(home.packages, 'kafka')
}

/** Writes a broker's configuration and, the first time, formats its directory. */
async function prepareBroker(home: Home, node: number): Promise<void> {
  const directory = home.folder('kafka', brokerFolder(home, node))
  const data = join(directory, 'data')
  const config = join(directory, CONFIG)
  writeFileSync(config, properties(home, node, data))
  if (existsSync(join(data, 'meta.properties'))) return
  await run('java', [...classPath(home), 'kafka.tools.StorageTool', 'format', '-t', CLUSTER, '-c', config], {
    need: 'Kafka runs on Java',
    remedy: `See ${config}.`,
  })
}

function broker(home: Home, node: number): Program {
  const cwd = join(home.directory, 'kafka', brokerFolder(home, node))
  return {
    name: `kafka-${node}`,
    command: 'java',
    args: ['-Xms128m', '-Xmx512m', ...classPath(home), 'kafka.Kafka', CONFIG],
    cwd,
    log: join(cwd, 'broker.log'),
  }
}

function brokerFolder(home: Home, node: number): string {
  return join(`of-${home.state.brokers}`, `broker-${node}`)
}

function classPath(home: Home): string[] {
  return ['-cp', join(libraries(home), '*'), LOGGING]
}

function properties(home: Home, node: number, data: string): string {
  const all = nodes(home)
  const copies = all.length
  const inSync = Math.max(1, copies - 1)
  return Object.entries({
    'process.roles': 'broker,controller',
    'node.id': node,
    'controller.quorum.voters': all.map((n) => `${n}@127.0.0.1:${home.port(`kafka-${n}-controller`)}`).join(','),
    listeners: `CLIENT://127.0.0.1:${home.port(`kafka-${node}`)},CONTROLLER://127.0.0.1:${home.port(`kafka-${node}-controller`)}`,
    'listener.security.protocol.map': 'CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'inter.broker.listener.name': 'CLIENT',
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': data,
    'auto.create.topics.enable': false,
    'default.replication.factor': copies,
    'min.insync.replicas': inSync,
    'offsets.topic.replication.factor': copies,
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.replication.factor': copies,
    'transaction.state.log.min.isr': inSync,
    'transaction.state.log.num.partitions': 4,
    'share.coordinator.state.topic.replication.factor': copies,
    'share.coordinator.state.topic.min.isr': inSync,
    'share.coordinator.state.topic.num.partitions': 4,
    // A group of tests does not wait for more members.
    'group.initial.rebalance.delay.ms': 0,
    // Half of the defaults: a broker that was killed is noticed, and its partitions led by others, after five seconds.
    'broker.heartbeat.interval.ms': 1000,
    'broker.session.timeout.ms': 5000,
    'log.cleaner.dedupe.buffer.size': 16 * 1024 * 1024,
  })
    .map(([key, value]) => `${key}=${value}\n`)
    .join('')
}
