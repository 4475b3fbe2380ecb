import { MillraceError } from '../base/errors.ts'
import type { Config } from '../project/config.ts'
import type {
  DirectoryLake,
  KafkaLog,
  PostgresState,
  RestCatalog,
  S3Lake,
  SchemaRegistry,
  SparkEngine,
  Target,
} from '../project/target.ts'
import { type ObjectShape, type OptionShape, checkObject, isObject } from './check-shape.ts'

/** Every option has its shape: the compiler keeps it complete. */
type Complete<T> = { readonly [K in keyof Required<T>]: OptionShape }

const KAFKA: Complete<KafkaLog> = {
  kind: { oneOf: ['kafka'] },
  brokers: 'list of texts',
  clientId: 'text',
  tls: { anyOf: ['boolean', { options: { ca: 'text', cert: 'text', key: 'text' } }] },
  sasl: {
    options: {
      mechanism: { oneOf: ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] },
      username: 'text',
      password: 'text',
    } satisfies Complete<NonNullable<KafkaLog['sasl']>>,
    required: ['mechanism', 'username', 'password'],
  },
  replication: 'number',
  topicPrefix: 'text',
  retention: 'text',
  compression: { oneOf: ['none', 'lz4', 'zstd'] },
  schemaRegistry: {
    options: {
      url: 'text',
      username: 'text',
      password: 'text',
      token: 'text',
      tls: { options: { ca: 'text', cert: 'text', key: 'text' } },
    } satisfies Complete<SchemaRegistry>,
    required: ['url'],
  },
}

const REST: Complete<RestCatalog> = {
  kind: { oneOf: ['rest'] },
  uri: 'text',
  warehouse: 'text',
  token: 'text',
  credential: 'text',
  oauth2ServerUri: 'text',
  scope: 'text',
  namespace: 'text',
}

const CATALOG: OptionShape = { options: { ...REST }, required: ['kind', 'uri'] }

const S3: Complete<S3Lake> = {
  kind: { oneOf: ['s3'] },
  bucket: 'text',
  prefix: 'text',
  endpoint: 'text',
  region: 'text',
  credentials: {
    options: { accessKeyId: 'text', secretAccessKey: 'text', sessionToken: 'text' } satisfies Complete<
      NonNullable<S3Lake['credentials']>
    >,
    required: ['accessKeyId', 'secretAccessKey'],
  },
  cacheBytes: 'number',
  catalog: CATALOG,
}

const DIRECTORY: Complete<DirectoryLake> = { kind: { oneOf: ['directory'] }, path: 'text', catalog: CATALOG }

const SPARK: Complete<SparkEngine> = {
  kind: { oneOf: ['spark'] },
  url: 'text',
  catalog: { anyOf: ['text', { options: { uri: 'text', token: 'text' }, required: ['uri'] }] },
}

const POSTGRES: Complete<PostgresState> = { kind: { oneOf: ['postgres'] }, url: 'text', schema: 'text' }

const TARGET: Complete<Target> = {
  log: { options: { ...KAFKA }, required: ['kind', 'brokers'] },
  lake: {
    anyOf: [
      { options: { ...DIRECTORY }, required: ['kind', 'path'] },
      { options: { ...S3 }, required: ['kind', 'bucket'] },
    ],
  },
  engine: { options: { ...SPARK }, required: ['kind', 'url'] },
  state: { options: { ...POSTGRES }, required: ['kind', 'url'] },
}

type Part<K extends keyof Config> = Complete<NonNullable<Config[K]>>

const CONFIG: Complete<Config> = {
  name: 'text',
  include: 'list of texts',
  server: {
    options: { port: 'number', host: 'text', token: 'text', bodyLimit: 'number' } satisfies Part<'server'>,
  },
  ingest: {
    options: { backlogBytes: 'number', commitInterval: 'text', recordLimit: 'number' } satisfies Part<'ingest'>,
  },
  limits: {
    options: {
      laneWorkers: 'number',
      functionWorkers: 'number',
      functionMemory: 'number',
      uniqueMemory: 'number',
      engineMemory: 'number',
      queryMemory: 'number',
      queryRows: 'number',
      queryTime: 'text',
      refreshes: 'number',
    } satisfies Part<'limits'>,
  },
  lake: { options: { snapshotAge: 'text', targetFileSize: 'number' } satisfies Part<'lake'> },
  targets: { named: { ...TARGET } },
}

/** What is wrong with the default export of `millrace.config.ts`. */
export function checkConfig(config: unknown, file: string): MillraceError[] {
  if (isObject(config)) return checkObject(config, { ...CONFIG } satisfies ObjectShape, '', file)
  return [
    new MillraceError('invalid', 'bad-config', 'millrace.config.ts exports no configuration.', {
      hint: "Write `export default defineConfig({ name: 'my_project' })`.",
      context: { file },
    }),
  ]
}
