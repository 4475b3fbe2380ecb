import type { LogLimits } from '../local/limits.ts'
import { defaultLogLimits } from '../local/limits.ts'
import type { Compression } from './batch.ts'
import type { RegistryConfig } from './registry/client.ts'

/** Where the streams' topics are, and how they are made. */
export interface KafkaConfig {
  /** `host:port` of one broker or several; the others are learnt from them. */
  readonly brokers: readonly string[]
  /** What brokers call this client in their logs. Default 'millrace'. */
  readonly clientId?: string
  /** TLS: true for the system's certificates, or PEM texts. */
  readonly tls?: boolean | { readonly ca?: string; readonly cert?: string; readonly key?: string }
  readonly sasl?: {
    readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
    readonly username: string
    readonly password: string
  }
  /** Copies of topics that Millrace makes. Default: the cluster's own. */
  readonly replication?: number
  /** A stream's topic is this and its name. Default 'millrace.'. */
  readonly topicPrefix?: string
  /** How long brokers keep records, processed or not, as '30 days'. Default: until Millrace removes them. */
  readonly retention?: string
  /** How records are compressed on their way and in the topic. Default 'lz4'. */
  readonly compression?: Extract<Compression, 'none' | 'lz4' | 'zstd'>
  /** Where the schemas are that others write their topics with. */
  readonly schemaRegistry?: RegistryConfig
}

export const DEFAULT_PREFIX = 'millrace.'

/** A topic that somebody else made and writes to. */
export interface ForeignTopic {
  readonly name: string
}

/** Every bound of the log on Kafka, in one place. Per partition unless said otherwise. */
export interface KafkaLimits extends Pick<
  LogLimits,
  'appendBytes' | 'pendingBytes' | 'segmentBytes' | 'keys' | 'keyAgeMs' | 'keyLength' | 'markBytes'
> {
  /** Payload bytes after which a record batch takes no further append. */
  readonly batchBytes: number
  /** How long an append waits for its acknowledgement, ms. */
  readonly appendMs: number
  /** How long a broker may take to answer, ms. */
  readonly requestMs: number
  /** Bytes asked for at once; a single record batch may be larger. */
  readonly fetchBytes: number
  /** How long a broker waits for records that a fetch asks for, ms. */
  readonly fetchWaitMs: number
  /** Bytes fetched ahead of what was taken. */
  readonly aheadBytes: number
  /** Bytes for which `take` does not wait any more. */
  readonly takeBytes: number
  /** How long `take` waits for records that are there but not yet fetched, ms. */
  readonly takeMs: number
}

const MiB = 1024 * 1024

export const defaultKafkaLimits: KafkaLimits = {
  appendBytes: defaultLogLimits.appendBytes,
  pendingBytes: defaultLogLimits.pendingBytes,
  segmentBytes: defaultLogLimits.segmentBytes,
  keys: defaultLogLimits.keys,
  keyAgeMs: defaultLogLimits.keyAgeMs,
  keyLength: defaultLogLimits.keyLength,
  markBytes: defaultLogLimits.markBytes,
  batchBytes: 2 * MiB,
  appendMs: 30_000,
  requestMs: 10_000,
  fetchBytes: 2 * MiB,
  fetchWaitMs: 500,
  aheadBytes: 128 * MiB,
  takeBytes: 32 * MiB,
  takeMs: 1_000,
}

/** A batch as large as the largest append, with what its records add to it. */
export function batchBytesMax(limits: KafkaLimits): number {
  return Math.ceil(limits.appendBytes * 1.25) + MiB
}
