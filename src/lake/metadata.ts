import { MillraceError, messageOf } from '../base/errors.ts'
import type { IdentifiedField } from '../project/columns.ts'
import { unpooled } from './cache.ts'
import { parseJson, stringifyJson } from './json.ts'
import type { SpecJson } from './partition.ts'
import { schemaFromJson } from './schema.ts'
import type { SchemaJson } from './schema.ts'
import type { Operation, Snapshot } from './snapshot.ts'

/**
 * `v<N>.metadata.json` (Iceberg spec v2, Appendix C), ids as bigint. Values are immutable: a commit makes a new one.
 * Keys this interface does not name are kept as they were read.
 */
export interface TableMetadata {
  readonly 'format-version': number
  readonly 'table-uuid': string
  readonly location: string
  readonly 'last-sequence-number': bigint
  readonly 'last-updated-ms': number
  readonly 'last-column-id': number
  readonly 'current-schema-id': number
  readonly schemas: readonly SchemaJson[]
  readonly 'default-spec-id': number
  readonly 'partition-specs': readonly SpecJson[]
  readonly 'last-partition-id': number
  readonly 'default-sort-order-id': number
  readonly 'sort-orders': readonly unknown[]
  readonly properties?: Readonly<Record<string, string>>
  /** -1: none. Older readers want a number here even in an empty table. */
  readonly 'current-snapshot-id'?: bigint | null
  readonly refs?: Readonly<Record<string, RefJson>>
  readonly snapshots?: readonly SnapshotJson[]
  readonly 'snapshot-log'?: readonly { readonly 'timestamp-ms': number; readonly 'snapshot-id': bigint }[]
  readonly 'metadata-log'?: readonly { readonly 'timestamp-ms': number; readonly 'metadata-file': string }[]
}

export interface RefJson {
  readonly 'snapshot-id': bigint
  readonly type: 'branch' | 'tag'
}

export interface SnapshotJson {
  readonly 'snapshot-id': bigint
  readonly 'parent-snapshot-id'?: bigint | null
  readonly 'sequence-number': bigint
  readonly 'timestamp-ms': number
  readonly summary: Readonly<Record<string, string>>
  readonly 'manifest-list': string
  readonly 'schema-id'?: number
}

/** Keys of table properties that the metadata layer itself reads. */
export const PROPERTY = {
  /** How many old metadata files stay; older ones are deleted by later commits. */
  keptVersions: 'write.metadata.previous-versions-max',
  deleteOldVersions: 'write.metadata.delete-after-commit.enabled',
  /** Ids of the `string` fields that hold JSON, separated by commas. */
  jsonFields: 'millrace.json-fields',
} as const

/** How many old metadata files stay where the table does not say. */
export const KEPT_VERSIONS = 20

/** Parses a metadata file. Throws as checkMetadata. */
export function parseMetadata(text: string, path: string): TableMetadata {
  let parsed: unknown
  try {
    parsed = parseJson(text)
  } catch (error) {
    throw unreadable(path, error)
  }
  return checkMetadata(parsed, path)
}

/** Throws `corrupt` / `bad-metadata`, or `invalid` / `unsupported-format` for v1 and v3 tables. `path` says where it is from. */
export function checkMetadata(json: unknown, path: string): TableMetadata {
  const parsed = json as TableMetadata
  if (typeof parsed !== 'object' || parsed === null || !Array.isArray(parsed.schemas))
    throw unreadable(path, new Error('it is not table metadata'))
  if (parsed['format-version'] === 2) return parsed
  throw new MillraceError(
    'invalid',
    'unsupported-format',
    `${path} is Iceberg format version ${parsed['format-version']}; Millrace reads and writes version 2.`,
    {
      hint: 'Upgrade or rewrite the table as version 2 with the engine that made it.',
      context: { path },
    },
  )
}

function unreadable(path: string, cause: unknown): MillraceError {
  return new MillraceError(
    'corrupt',
    'bad-metadata',
    `${path} is not readable Iceberg metadata: ${messageOf(cause)}.`,
    {
      hint: 'Restore the file, or put the number of the last good version into version-hint.text and remove the bad file.',
      context: { path },
      cause,
    },
  )
}

/** The bytes of a metadata file. */
export function serializeMetadata(metadata: TableMetadata): Buffer {
  const { snapshots = [], 'snapshot-log': log = [], ...rest } = metadata
  const head = Buffer.from(stringifyJson(rest).slice(0, -1))
  return Buffer.concat([
    head,
    ...list(',"snapshots":[', snapshots),
    ...list(',"snapshot-log":[', log),
    Buffer.from('}'),
  ])
}

// A table of a thousand snapshots writes them all with each commit: each is encoded once only.
const ENCODED = new WeakMap<object, Uint8Array>()
const COMMA = Buffer.from(',')

function list(opening: string, items: readonly object[]): Uint8Array[] {
  const parts: Uint8Array[] = [Buffer.from(opening)]
  for (const [i, item] of items.entries()) {
    let bytes = ENCODED.get(item)
    if (!bytes) ENCODED.set(item, (bytes = unpooled(Buffer.from(stringifyJson(item)))))
    if (i > 0) parts.push(COMMA)
    parts.push(bytes)
  }
  parts.push(Buffer.from(']'))
  return parts
}

/** Fields of the current schema. */
export function currentFields(metadata: TableMetadata): IdentifiedField[] {
  const schema = currentSchema(metadata)
  const json = metadata.properties?.[PROPERTY.jsonFields] ?? ''
  return schemaFromJson(schema, new Set(json.split(',').filter(Boolean).map(Number)))
}

export function currentSchema(metadata: TableMetadata): SchemaJson {
  const schema = metadata.schemas.find((candidate) => candidate['schema-id'] === metadata['current-schema-id'])
  if (schema) return schema
  throw new MillraceError(
    'corrupt',
    'bad-metadata',
    `The table at ${metadata.location} has no schema ${metadata['current-schema-id']}.`,
  )
}

/** The snapshot a ref points to. Tables of other writers may have a current snapshot and no refs. */
export function refId(metadata: TableMetadata, ref: string): bigint | undefined {
  const id = metadata.refs?.[ref]?.['snapshot-id'] ?? (ref === 'main' ? metadata['current-snapshot-id'] : undefined)
  return id === null || id === undefined || id < 0n ? undefined : id
}

export function findSnapshot(metadata: TableMetadata, id: bigint): SnapshotJson | undefined {
  return metadata.snapshots?.find((snapshot) => snapshot['snapshot-id'] === id)
}

/** A snapshot and its ancestors that have not expired, newest first. */
export function* lineOf(metadata: TableMetadata, id: bigint | undefined): Generator<Snapshot> {
  const byId = new Map(metadata.snapshots?.map((snapshot) => [snapshot['snapshot-id'], snapshot]))
  let at = id
  for (let json = at && byId.get(at); json; json = at && byId.get(at)) {
    yield toSnapshot(json)
    at = json['parent-snapshot-id'] ?? undefined
  }
}

/** A ref moved, or dropped with `id` undefined. Moving `main` is what readers see as a commit. */
export function withRef(metadata: TableMetadata, ref: string, id: bigint | undefined, nowMs: number): TableMetadata {
  const { [ref]: _old, ...others } = metadata.refs ?? {}
  const refs = id === undefined ? others : { ...others, [ref]: { 'snapshot-id': id, type: 'branch' as const } }
  if (ref !== 'main') return { ...metadata, refs }
  const log = metadata['snapshot-log'] ?? []
  return {
    ...metadata,
    refs,
    'current-snapshot-id': id ?? -1n,
    'snapshot-log': id === undefined ? log : [...log, { 'timestamp-ms': nowMs, 'snapshot-id': id }],
  }
}

/** The log of main since its last expired entry: it must not tell of times it no longer knows (Iceberg spec). */
export function logWithout(log: NonNullable<TableMetadata['snapshot-log']>, keep: ReadonlySet<bigint>): typeof log {
  const gone = log.findLastIndex((entry) => !keep.has(entry['snapshot-id']))
  return log.slice(gone + 1)
}

/** A snapshot as the rest of Millrace sees it. */
export function toSnapshot(json: SnapshotJson): Snapshot {
  const { operation, ...summary } = json.summary
  const parentId = json['parent-snapshot-id']
  return {
    id: json['snapshot-id'],
    ...(parentId === undefined || parentId === null ? {} : { parentId }),
    sequenceNumber: json['sequence-number'],
    timestampMs: json['timestamp-ms'],
    operation: (operation ?? 'overwrite') as Operation,
    summary,
    schemaId: json['schema-id'] ?? 0,
  }
}

/** The keys of a summary that are Millrace's own. */
export function recordIn(summary: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(summary).filter(([key]) => key.startsWith('millrace.')))
}
