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
  /** Where the Avro and JSON schemas are that others write their topics with, for streams with a `topic`. */
  schemaRegistry?: SchemaRegistry
}

/** A registry with the interface of Confluent's. */
export interface SchemaRegistry {
  /** With the path of the interface: `https://registry:8081`, `http://apicurio:8080/apis/ccompat/v7`. */
  url: string
  username?: string
  password?: string
  /** A bearer token, instead of username and password. */
  token?: string
  /** Certificates as PEM texts, where the system's do not do. */
  tls?: { ca?: string; cert?: string; key?: string }
}

/** A directory that all processes see at the same path, on a file system with hard links. */
export interface DirectoryLake {
  kind: 'directory'
  /** Absolute. */
  path: string
  /** Another catalog for its tables. Default: the directory is the catalog. */
  catalog?: RestCatalog
}

/** A bucket that honours conditional writes (`If-None-Match`), or any with a catalog of its own. */
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
  /** Another catalog for its tables. Default: the bucket is the catalog. */
  catalog?: RestCatalog
}

/** An Iceberg REST catalog that is not Millrace's own: it says which tables there are, and takes every commit. */
export interface RestCatalog {
  kind: 'rest'
  /** `https://host:8181/path`, to which `/v1/…` is added. */
  uri: string
  /** What the catalog calls the warehouse, where it has several. */
  warehouse?: string
  /** A bearer token. */
  token?: string
  /** OAuth2 client credentials, `id:secret`; tokens are renewed. */
  credential?: string
  /** Where tokens are given. Default: by the catalog, `/v1/oauth/tokens`. */
  oauth2ServerUri?: string
  /** Default 'catalog'. */
  scope?: string
  /** Namespace that holds those of the lake (processed, curated, quarantine), for catalogs that several projects share; levels divided by dots. */
  namespace?: string
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
