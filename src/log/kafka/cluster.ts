import type { Connection, ConnectionOptions, ResponseParser, Writer } from '@platformatic/kafka'
import type { Clock } from '../../base/clock.ts'
import { MillraceError, asMillraceError } from '../../base/errors.ts'
import type { KafkaConfig } from './config.ts'
import type { Codec } from './decode.ts'
import type { Driver } from './driver.ts'
import { codecOf, loadDriver } from './driver.ts'
import { kafkaError, protocolErrorOf } from './errors.ts'
import { WireReader } from './wire.ts'

interface Address {
  readonly host: string
  readonly port: number
}

type Metadata = ReturnType<Driver['metadataV12']['parseResponse']>

/** A request that the driver has no fast form of. */
export interface RawRequest<T> {
  readonly api: number
  readonly version: number
  write(writer: Writer): Writer
  read(reader: WireReader): T
}

/** Versions of the protocol that are spoken: produce and fetch in their flexible forms. Kafka 2.8 has them, and 4.x still does. */
const PRODUCE = { api: 0, version: 9 }
const FETCH = { api: 1, version: 12 }
const OLDEST = 'Kafka 2.8'

/** The brokers of a cluster: who leads which partition, and connections to them. */
export class KafkaCluster {
  readonly driver: Driver
  readonly codec: Codec
  readonly clock: Clock
  readonly #config: KafkaConfig
  readonly #requestMs: number
  readonly #known = new Map<number, Address>()
  readonly #leaders = new Map<string, number>()
  /** By address and purpose: a broker answers a connection's requests in turn, and a fetch may wait long. */
  readonly #connections = new Map<string, Promise<Connection>>()
  /** What a connection broke with: what waits for an answer is only told that it is closed. */
  readonly #faults = new WeakMap<Connection, unknown>()
  #isKnown = false
  #closed = false

  private constructor(config: KafkaConfig, driver: Driver, clock: Clock, requestMs: number) {
    this.#config = config
    this.driver = driver
    this.codec = codecOf(driver)
    this.clock = clock
    this.#requestMs = requestMs
  }

  /**
   * Connects to a cluster and checks that it can be used.
   *
   * Errors: `invalid`/`driver-missing`, `bad-brokers`, `kafka-tls`, `kafka-too-old`; `denied`/`kafka-login`; `unavailable`/`kafka-unreachable`.
   */
  static async connect(config: KafkaConfig, clock: Clock, requestMs: number): Promise<KafkaCluster> {
    for (const broker of config.brokers) addressOf(broker)
    if (config.brokers.length === 0) throw badBrokers('')
    const cluster = new KafkaCluster(config, await loadDriver(), clock, requestMs)
    try {
      await cluster.#checkVersions()
      return cluster
    } catch (error) {
      await cluster.close()
      throw error
    }
  }

  get brokers(): readonly string[] {
    return this.#config.brokers
  }

  async #checkVersions(): Promise<void> {
    const { apiVersionsV3 } = this.driver
    const { apiKeys } = await this.anywhere((connection) => apiVersionsV3.api.async(connection, 'millrace', '1'))
    const isSpoken = ({ api, version }: { api: number; version: number }) =>
      apiKeys.some(
        ({ apiKey, minVersion, maxVersion }) => apiKey === api && minVersion <= version && version <= maxVersion,
      )
    this.#isKnown = true
    if (isSpoken(PRODUCE) && isSpoken(FETCH)) return
    throw new MillraceError('invalid', 'kafka-too-old', `Kafka at ${this.brokers.join(', ')} is too old.`, {
      hint: `Upgrade the brokers to ${OLDEST} or newer.`,
    })
  }

  /** Does work with the first broker that can be reached. Errors: those of `kafkaError`. */
  async anywhere<T>(work: (connection: Connection) => Promise<T>, topic?: string): Promise<T> {
    let failure: unknown
    for (const address of [...this.#known.values(), ...this.#config.brokers.map(addressOf)]) {
      try {
        return await this.#using(await this.#connection(address, 'control'), work)
      } catch (error) {
        const known = this.#error(error, topic)
        if (known.kind !== 'unavailable') throw known
        failure ??= known
      }
    }
    throw failure
  }

  /** Sends a request to the broker that leads a partition. Errors: those of `kafkaError`; who leads is asked again after one. */
  async onLeader<T>(topic: string, partition: number, purpose: string, request: RawRequest<T>): Promise<T> {
    return this.withLeader(topic, partition, purpose, (connection) => this.send(connection, request))
  }

  async withLeader<T>(
    topic: string,
    partition: number,
    purpose: string,
    work: (connection: Connection) => Promise<T>,
  ): Promise<T> {
    const name = `${topic}/${partition}`
    try {
      if (!this.#leaders.has(name)) await this.metadata(topic)
      const address = this.#known.get(this.#leaders.get(name) ?? -1)
      if (address === undefined) throw this.#leaderless(topic, partition)
      return await this.#using(await this.#connection(address, purpose), work)
    } catch (error) {
      this.forgetLeader(topic, partition)
      throw this.#error(error, topic)
    }
  }

  forgetLeader(topic: string, partition: number): void {
    this.#leaders.delete(`${topic}/${partition}`)
  }

  /** Partitions of a topic with their replicas; undefined when there is no such topic. */
  async metadata(topic: string): Promise<readonly { partition: number; replicas: number; led: boolean }[] | undefined> {
    const { metadataV12 } = this.driver
    const answer = await this.anywhere(
      (connection) =>
        // What is wrong with a topic is said by its code, and thrown as an error with the response in it.
        metadataV12.api.async(connection, [topic], false, false).catch((error: unknown) => responseOf<Metadata>(error)),
      topic,
    )
    for (const { nodeId, host, port } of answer.brokers) this.#known.set(nodeId, { host, port })
    const found = answer.topics.find(({ name }) => name === topic)
    if (found === undefined || found.errorCode === 3) return undefined
    if (found.errorCode !== 0 && found.errorCode !== 5) {
      throw this.#error(new this.driver.ProtocolError(found.errorCode), topic)
    }
    for (const { partitionIndex, leaderId } of found.partitions) {
      this.#leaders.set(`${topic}/${partitionIndex}`, leaderId)
    }
    return found.partitions
      .map(({ partitionIndex, replicaNodes, leaderId }) => ({
        partition: partitionIndex,
        replicas: replicaNodes.length,
        led: leaderId >= 0,
      }))
      .toSorted((a, b) => a.partition - b.partition)
  }

  /** Refuses what comes and closes all connections. */
  async close(): Promise<void> {
    this.#closed = true
    const connections = await Promise.allSettled(this.#connections.values())
    this.#connections.clear()
    const open = connections.flatMap((opened) => (opened.status === 'fulfilled' ? [opened.value] : []))
    await Promise.all(open.map((connection) => connection.close()))
  }

  async #connection(address: Address, purpose: string): Promise<Connection> {
    const key = `${address.host}:${address.port}/${purpose}`
    const known = this.#connections.get(key)
    const open = await known?.catch(() => undefined)
    if (open !== undefined && (open.status === 'connected' || open.status === 'reauthenticating')) return open
    if (this.#closed) throw closed()
    if (known === this.#connections.get(key)) {
      void open?.close()
      this.#connections.set(key, this.#open(address))
    }
    return this.#connections.get(key)!
  }

  async #open({ host, port }: Address): Promise<Connection> {
    const { clientId = 'millrace', tls, sasl } = this.#config
    const options: ConnectionOptions = {
      connectTimeout: this.#requestMs,
      requestTimeout: this.#requestMs,
      maxInflights: 100,
      ...(tls === undefined || tls === false ? {} : { tls: tls === true ? {} : tls, tlsServerName: !isAddress(host) }),
      ...(sasl === undefined ? {} : { sasl }),
    }
    const connection = new this.driver.Connection(clientId, options)
    // A connection at rest is opened again when it is needed.
    connection.on('error', (error: unknown) => this.#faults.set(connection, error))
    await connection.connect(host, port)
    return connection
  }

  /** With TLS 1.3 a broker refuses a client's certificate only once the connection is open. */
  async #using<T>(connection: Connection, work: (connection: Connection) => Promise<T>): Promise<T> {
    try {
      return await work(connection)
    } catch (error) {
      throw protocolErrorOf(error) === undefined ? (this.#faults.get(connection) ?? error) : error
    }
  }

  /** Errors: what the driver throws. */
  send<T>(connection: Connection, { api, version, write, read }: RawRequest<T>): Promise<T> {
    const parse: ResponseParser<T> = (_correlation, _api, _version, reader) =>
      read(new WireReader(reader.buffer.slice(reader.position)))
    return new Promise((resolve, reject) => {
      connection.send<T>(
        api,
        version,
        () => write(this.driver.Writer.create()),
        parse,
        true,
        true,
        (error, answer) => (error ? reject(error) : resolve(answer as T)),
      )
    })
  }

  #leaderless(topic: string, partition: number): MillraceError {
    return new MillraceError(
      'unavailable',
      'kafka-unreachable',
      `Nobody leads partition ${partition} of topic '${topic}'.`,
      {
        hint: 'Start the brokers that hold its replicas.',
        context: { topic, partition },
      },
    )
  }

  #error(error: unknown, topic: string | undefined): MillraceError {
    return kafkaError(error, {
      brokers: this.brokers,
      isKnown: this.#isKnown,
      ...(topic === undefined ? {} : { topic }),
    })
  }
}

const PATIENCE_MS = 15_000
const LOOK_MS = 100

/** Does work again while it fails with what passes by itself: a new topic's leaders are not everywhere known at once. */
export async function patiently<T>({ clock }: KafkaCluster, work: () => Promise<T>): Promise<T> {
  const until = clock.monotonic() + PATIENCE_MS
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (asMillraceError(error).kind !== 'unavailable' || clock.monotonic() > until) throw error
      await clock.sleep(LOOK_MS)
    }
  }
}

/** The response within an error that was thrown for a code in it. */
function responseOf<T>(error: unknown): T {
  const { response } = error as { response?: T }
  if (response === undefined) throw error
  return response
}

function addressOf(broker: string): Address {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(broker)
  if (match === null) throw badBrokers(broker)
  return { host: match[1] ?? match[2]!, port: Number(match[3]) }
}

/** IP addresses are no names that a certificate is chosen by (RFC 6066, section 3). */
function isAddress(host: string): boolean {
  return host.includes(':') || /^[\d.]+$/.test(host)
}

function badBrokers(broker: string): MillraceError {
  return new MillraceError('invalid', 'bad-brokers', `'${broker}' names no Kafka broker.`, {
    hint: "Give `brokers` as a list of 'host:port'.",
  })
}

function closed(): MillraceError {
  return new MillraceError('unavailable', 'log-closed', 'The connection to Kafka is closed.', {
    hint: 'Millrace is stopping; send again when it is back.',
  })
}
