/**
 * What a project runs on when one machine is no longer enough. Every part may be left out: then it is the embedded one, so a
 * target may move a single part. Secrets are best read from the environment: `process.env.KAFKA_PASSWORD!`.
 */
export interface Target {
  /** Where records wait to be processed. Embedded: files under the data directory. */
  log?: KafkaLog
  /** Where tables are. Embedded: files under the data directory. */
  lake?: S3Lake | DirectoryLake
  /** What computes tables. Embedded: DuckDB in this process. */
  engine?: SparkEngine
  /** Leases, idempotency keys, places of handlers, run history. Embedded: SQLite under the data directory. */
  state?: PostgresState
}

/** Apache Kafka; a topic for each stream. */
export interface KafkaLog {
  kind: 'kafka'
  /** `host:port` of one broker or several; the others are learnt from them. */
  brokers: readonly string[]
  /** What brokers call this client in their logs. Default 'millrace'. */
  clientId?: string
  /** TLS: true for the system's certificates, or PEM texts. */
  tls?: boolean | { ca?: string; cert?: string; key?: string }
  sasl?: { mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'; username: string; password: string }
  /** Copies of topics that Millrace makes. Default: the cluster's own. */
  replication?: number
  /** A stream's topic is this and its name. Default: the project's name and a dot. */
  topicPrefix?: string
  /** How long brokers keep records, processed or not, as '30 days'. Default: until Millrace removes them. */
  retention?: string
  /** How records are compressed on their way and in the topic. Default 'lz4'. */
  compression?: 'none' | 'lz4' | 'zstd'
}

/** A directory that all processes see at the same path, on a file system with hard links. */
export interface DirectoryLake {
  kind: 'directory'
  /** Absolute. */
  path: string
}

/** A bucket that honours conditional writes (`If-None-Match`). */
export interface S3Lake {
  kind: 's3'
  bucket: string
  /** Path within the bucket. Default: the project's name. */
  prefix?: string
  /** Of a store that is not Amazon's. */
  endpoint?: string
  /** Default us-east-1. */
  region?: string
  /** Default: those of the environment. */
  credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string }
  /** Bytes of files kept on the local disk for reading. Default 10 GiB. */
  cacheBytes?: number
}

/** Apache Spark 4 with Iceberg, by Spark Connect. */
export interface SparkEngine {
  kind: 'spark'
  /** `sc://host:15002`, with options as Spark's clients take them: `sc://host:443/;use_ssl=true;token=…`. */
  url: string
  /**
   * Where Spark reaches this project's Iceberg REST catalog: `http://host:4400/iceberg`, with the token of the server where it has one. Not needed for a
   * lake in a directory, which Spark may read itself.
   */
  catalog?: string | { uri: string; token?: string }
}

/** PostgreSQL 14 or newer. */
export interface PostgresState {
  kind: 'postgres'
  /** `postgres://user:password@host:5432/database`. */
  url: string
  /** Default: the project's name. */
  schema?: string
}
