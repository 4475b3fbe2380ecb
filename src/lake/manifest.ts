import type avsc from 'avsc'
import { MillraceError, assert } from '../base/errors.ts'
import { avroType, decodeAvro, encodeAvro } from './avro.ts'
import type { AvroSchema } from './avro.ts'
import type { ColumnStats, DataFile } from './data-file.ts'
import type { Spec } from './partition.ts'
import type { PrimitiveType, SchemaJson } from './schema.ts'
import type { PartitionValue } from './transform.ts'
import { transformName } from './transform.ts'
import { decimalSize, fromTwosComplement, twosComplement } from './value.ts'

/** What an entry says of its file: it was there before, this snapshot adds it, this snapshot removes it. */
export type EntryStatus = 'existing' | 'added' | 'deleted'
const STATUSES = ['existing', 'added', 'deleted'] as const

/** One line of a manifest. */
export interface ManifestEntry {
  readonly status: EntryStatus
  /** The snapshot that added the file or, for `deleted`, that removed it. */
  readonly snapshotId: bigint
  /** Undefined in what this commit adds: readers inherit it from the manifest list (spec, "Sequence Number Inheritance"). */
  readonly sequenceNumber: bigint | undefined
  readonly fileSequenceNumber: bigint | undefined
  readonly file: DataFile
}

/** Encodes a manifest (Iceberg spec v2, "Manifests"). `sync`: 16 random bytes. */
export function encodeManifest(
  spec: Spec,
  schema: SchemaJson,
  entries: readonly ManifestEntry[],
  sync: Uint8Array,
): Buffer {
  const { avro, type } = manifestType(spec)
  const metadata = {
    schema: JSON.stringify(schema),
    'schema-id': String(schema['schema-id']),
    'partition-spec': JSON.stringify(
      spec.fields.map((f) => ({
        name: f.name,
        transform: transformName(f.transform),
        'source-id': f.sourceId,
        'field-id': f.fieldId,
      })),
    ),
    'partition-spec-id': String(spec.id),
    'format-version': '2',
    content: 'data',
  }
  return encodeAvro(
    avro,
    type,
    entries.map((entry) => encodeEntry(entry, spec)),
    metadata,
    sync,
  )
}

/** Entries of a manifest, what they inherit filled in from its line in the manifest list, and its size uncompressed. */
export function decodeManifest(
  bytes: Buffer,
  listed: { path: string; addedSnapshotId: bigint; sequenceNumber: bigint },
  spec: Spec,
): { entries: ManifestEntry[]; size: number } {
  const { records, size } = decodeAvro(bytes, listed.path, markWide)
  const entries = records.map((record) => decodeEntry(record as EntryRecord, listed, spec))
  return { entries, size }
}

interface KeyValue<T> {
  readonly key: number
  readonly value: T
}

interface EntryRecord {
  readonly status: number
  readonly snapshot_id: bigint | null
  readonly sequence_number: bigint | null
  readonly file_sequence_number: bigint | null
  readonly data_file: DataFileRecord
}

interface DataFileRecord {
  readonly content: number
  readonly file_path: string
  readonly file_format: string
  readonly partition: Record<string, unknown>
  readonly record_count: number
  readonly file_size_in_bytes: number
  readonly column_sizes: readonly KeyValue<number>[] | null
  readonly value_counts: readonly KeyValue<number>[] | null
  readonly null_value_counts: readonly KeyValue<number>[] | null
  readonly nan_value_counts: readonly KeyValue<number>[] | null
  readonly lower_bounds: readonly KeyValue<Buffer>[] | null
  readonly upper_bounds: readonly KeyValue<Buffer>[] | null
  readonly split_offsets: readonly number[] | null
}

function encodeEntry(entry: ManifestEntry, spec: Spec): EntryRecord {
  const { file } = entry
  assert(file.partition.length === spec.fields.length, `${file.path} has a value for each partition field`)
  const columns = Object.entries(file.columns).map(([id, stats]) => [Number(id), stats] as const)
  function pick<T>(of: (stats: ColumnStats) => T | undefined): KeyValue<T>[] {
    const picked: KeyValue<T>[] = []
    for (const [key, stats] of columns) {
      const value = of(stats)
      if (value !== undefined) picked.push({ key, value })
    }
    return picked
  }
  const partition: Record<string, unknown> = {}
  spec.fields.forEach(
    (field, i) => (partition[avroName(field.name)] = encodePartitionValue(field.result, file.partition[i]!)),
  )
  return {
    status: STATUSES.indexOf(entry.status),
    snapshot_id: entry.snapshotId,
    sequence_number: entry.sequenceNumber ?? null,
    file_sequence_number: entry.fileSequenceNumber ?? null,
    data_file: {
      content: 0,
      file_path: file.path,
      file_format: 'PARQUET',
      partition,
      record_count: file.records,
      file_size_in_bytes: file.bytes,
      column_sizes: pick((stats) => stats.bytes),
      value_counts: pick((stats) => stats.values),
      null_value_counts: pick((stats) => stats.nulls),
      nan_value_counts: pick((stats) => stats.nans),
      lower_bounds: pick((stats) => stats.lower as Buffer | undefined),
      upper_bounds: pick((stats) => stats.upper as Buffer | undefined),
      split_offsets: file.splitOffsets ?? null,
    },
  }
}

function decodeEntry(
  record: EntryRecord,
  listed: { path: string; addedSnapshotId: bigint; sequenceNumber: bigint },
  spec: Spec,
): ManifestEntry {
  const data = record.data_file
  const status = STATUSES[record.status]
  if (status === undefined || data.content !== 0 || data.file_format.toUpperCase() !== 'PARQUET') {
    throw new MillraceError(
      'invalid',
      'unsupported-file',
      `${data.file_path} is not a Parquet data file (format ${data.file_format}, content ${data.content}).`,
      {
        hint: 'Millrace reads Parquet data files only; rewrite the table with copy-on-write and Parquet.',
        context: { manifest: listed.path },
      },
    )
  }
  return {
    status,
    snapshotId: record.snapshot_id ?? listed.addedSnapshotId,
    // Only files added by the manifest's own commit may inherit; what is existing or deleted carries its number.
    sequenceNumber: record.sequence_number ?? listed.sequenceNumber,
    fileSequenceNumber: record.file_sequence_number ?? listed.sequenceNumber,
    file: {
      path: data.file_path,
      records: data.record_count,
      bytes: data.file_size_in_bytes,
      // By position, not by name: names are mangled where Avro does not allow them.
      partition: spec.fields.map((field, i) => decodePartitionValue(field.result, Object.values(data.partition)[i])),
      columns: decodeColumns(data),
      ...(data.split_offsets ? { splitOffsets: data.split_offsets } : {}),
      specId: spec.id,
    },
  }
}

function decodeColumns(data: DataFileRecord): Record<number, ColumnStats> {
  const columns: Record<number, { -readonly [K in keyof ColumnStats]: ColumnStats[K] }> = {}
  function put<K extends keyof ColumnStats>(
    name: K,
    values: readonly KeyValue<NonNullable<ColumnStats[K]>>[] | null | undefined,
  ): void {
    for (const { key, value } of values ?? []) (columns[key] ??= {})[name] = value
  }
  put('bytes', data.column_sizes)
  put('values', data.value_counts)
  put('nulls', data.null_value_counts)
  put('nans', data.nan_value_counts)
  put('lower', data.lower_bounds)
  put('upper', data.upper_bounds)
  return columns
}

function encodePartitionValue(type: PrimitiveType, value: PartitionValue): unknown {
  return value !== null && type.kind === 'decimal'
    ? twosComplement(value as bigint, decimalSize(type.precision))
    : value
}

// The type may have been widened since: an int column's values are then read as long.
function decodePartitionValue(type: PrimitiveType, value: unknown): PartitionValue {
  if (value === null || value === undefined) return null
  if (Buffer.isBuffer(value)) return fromTwosComplement(value)
  if (type.kind === 'long' || type.kind === 'timestamp') return BigInt(value as number | bigint)
  return typeof value === 'bigint' ? Number(value) : (value as PartitionValue)
}

/** Avro names are `[A-Za-z_][A-Za-z0-9_]*`; other characters are mangled as Iceberg's Java library does. */
function avroName(name: string): string {
  return name.replace(/^\d|[^A-Za-z0-9_]/g, (char) =>
    /\d/.test(char) ? `_${char}` : `_x${char.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

const WIDE = { type: 'long', wide: true } as const

function optional(id: number, name: string, type: AvroSchema): AvroSchema {
  return { name, type: ['null', type], default: null, 'field-id': id }
}

function required(id: number, name: string, type: AvroSchema): AvroSchema {
  return { name, type, 'field-id': id }
}

function map(id: number, name: string, keyId: number, valueId: number, value: AvroSchema): AvroSchema {
  const pair = {
    type: 'record',
    name: `k${keyId}_v${valueId}`,
    fields: [required(keyId, 'key', 'int'), required(valueId, 'value', value)],
  }
  return optional(id, name, { type: 'array', items: pair, logicalType: 'map' })
}

function avroPartitionType(type: PrimitiveType, id: number): AvroSchema {
  switch (type.kind) {
    case 'date':
      return { type: 'int', logicalType: 'date' }
    case 'long':
      return WIDE
    case 'timestamp':
      return { ...WIDE, logicalType: 'timestamp-micros', 'adjust-to-utc': false }
    case 'decimal': {
      const { precision, scale } = type
      return {
        type: 'fixed',
        name: `decimal_${precision}_${scale}_${id}`,
        size: decimalSize(precision),
        logicalType: 'decimal',
        precision,
        scale,
      }
    }
    case 'json':
      return 'string'
    default:
      return type.kind
  }
}

const TYPES = new WeakMap<Spec, { avro: AvroSchema; type: avsc.Type }>()

function manifestType(spec: Spec): { avro: AvroSchema; type: avsc.Type } {
  let compiled = TYPES.get(spec)
  if (!compiled) {
    const avro = manifestSchema(spec)
    compiled = { avro, type: avroType(avro) }
    TYPES.set(spec, compiled)
  }
  return compiled
}

function manifestSchema(spec: Spec): AvroSchema {
  const partition = spec.fields.map((f) =>
    optional(f.fieldId, avroName(f.name), avroPartitionType(f.result, f.fieldId)),
  )
  const file = {
    type: 'record',
    name: 'r2',
    fields: [
      required(134, 'content', 'int'),
      required(100, 'file_path', 'string'),
      required(101, 'file_format', 'string'),
      required(102, 'partition', { type: 'record', name: 'r102', fields: partition }),
      required(103, 'record_count', 'long'),
      required(104, 'file_size_in_bytes', 'long'),
      map(108, 'column_sizes', 117, 118, 'long'),
      map(109, 'value_counts', 119, 120, 'long'),
      map(110, 'null_value_counts', 121, 122, 'long'),
      map(137, 'nan_value_counts', 138, 139, 'long'),
      map(125, 'lower_bounds', 126, 127, 'bytes'),
      map(128, 'upper_bounds', 129, 130, 'bytes'),
      optional(132, 'split_offsets', { type: 'array', items: 'long', 'element-id': 133 }),
    ],
  }
  return {
    type: 'record',
    name: 'manifest_entry',
    fields: [
      required(0, 'status', 'int'),
      optional(1, 'snapshot_id', WIDE),
      optional(3, 'sequence_number', WIDE),
      optional(4, 'file_sequence_number', WIDE),
      required(2, 'data_file', file),
    ],
  }
}

const WIDE_FIELDS = new Set([
  'snapshot_id',
  'sequence_number',
  'file_sequence_number',
  'added_snapshot_id',
  'min_sequence_number',
])

/** Marks the longs of a manifest or manifest list that may not fit a double: ids, and every partition value. */
export function markWide(schema: AvroSchema, inPartition = false): AvroSchema {
  if (Array.isArray(schema)) return (schema as AvroSchema[]).map((part) => markWide(part, inPartition))
  if (typeof schema === 'string') return schema === 'long' && inPartition ? WIDE : schema
  const part = schema as { type?: AvroSchema; fields?: readonly { name: string; type: AvroSchema }[] }
  if (part.fields) {
    const fields = part.fields.map((field) => ({
      ...field,
      type: markWide(field.type, inPartition || field.name === 'partition' || WIDE_FIELDS.has(field.name)),
    }))
    return { ...part, fields }
  }
  if (part.type === 'long') return inPartition ? { ...part, wide: true } : schema
  return typeof part.type === 'object' ? { ...part, type: markWide(part.type, inPartition) } : schema
}
