import type avsc from 'avsc'
import { MillraceError, assert } from '../base/errors.ts'
import { avroType, decodeAvro, encodeAvro, perSchema, publicSchema } from './avro.ts'
import type { AvroSchema, RecordReader } from './avro.ts'
import type { ColumnStats, DataFile } from './data-file.ts'
import { normalLocation } from './location.ts'
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
  /** The file as it was read: copied, not encoded again, into manifests of the same Avro schema. */
  readonly encoded?: { readonly schema: string; readonly file: Uint8Array }
}

/** Encodes a manifest (Iceberg spec v2, "Manifests"). `sync`: 16 random bytes. */
export function encodeManifest(
  spec: Spec,
  schema: SchemaJson,
  entries: readonly ManifestEntry[],
  sync: Uint8Array,
): Buffer {
  const avro = avroOf(spec)
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
  // A record is its fields one after the other, the file last.
  const records = entries.flatMap((entry) => [
    HEAD_TYPE.toBuffer(headRecord(entry)),
    entry.encoded?.schema === avro.schema ? entry.encoded.file : avro.fileType.toBuffer(fileRecord(entry.file, spec)),
  ])
  return encodeAvro(avro.schema, records, entries.length, metadata, sync)
}

/** Entries of a manifest, what they inherit filled in from its line in the manifest list, and its size uncompressed. */
export function decodeManifest(
  bytes: Buffer,
  listed: { path: string; addedSnapshotId: bigint; sequenceNumber: bigint },
  spec: Spec,
): { entries: ManifestEntry[]; size: number } {
  const { records, size } = decodeAvro(bytes, listed.path, readerOf)
  return { entries: records.map((record) => decodeEntry(record, listed, spec, avroOf(spec).schema)), size }
}

/** A record, all but its column statistics, and where it stands: those are read when they are asked for. */
interface Located {
  readonly record: EntryRecord
  readonly schema: string
  readonly full: avsc.Type
  readonly block: Buffer
  readonly at: number
  readonly end: number
}

// A table of thousands of files is in memory whole, and most of it would be the bounds of columns nobody filters by.
const readerOf = perSchema((schema): RecordReader<Located> => {
  const marked = markWide(JSON.parse(schema) as AvroSchema)
  const full = avroType(marked)
  const slim = avroType(withoutStatistics(marked))
  const resolver = slim.createResolver(full)
  return (block, at) => {
    const { value, offset } = slim.decode(block, at, resolver)
    return { value: { record: value as EntryRecord, schema, full, block, at, end: offset }, offset }
  }
})

const STATISTICS = [
  'column_sizes',
  'value_counts',
  'null_value_counts',
  'nan_value_counts',
  'lower_bounds',
  'upper_bounds',
] as const

function withoutStatistics(schema: AvroSchema): AvroSchema {
  const { fields, ...entry } = schema as { fields: readonly { name: string; type: { fields: { name: string }[] } }[] }
  return {
    ...entry,
    fields: fields.map((field) => {
      if (field.name !== 'data_file') return field
      const kept = field.type.fields.filter(({ name }) => !STATISTICS.some((statistic) => statistic === name))
      return { ...field, type: { ...field.type, fields: kept } }
    }),
  }
}

interface KeyValue<T> {
  readonly key: number
  readonly value: T
}

interface HeadRecord {
  readonly status: number
  readonly snapshot_id: bigint | null
  readonly sequence_number: bigint | null
  readonly file_sequence_number: bigint | null
}

interface EntryRecord extends HeadRecord {
  readonly data_file: FileRecord
}

interface FileRecord extends Statistics {
  readonly content: number
  readonly file_path: string
  readonly file_format: string
  readonly partition: Record<string, unknown>
  readonly record_count: number
  readonly file_size_in_bytes: number
  readonly split_offsets: readonly number[] | null
}

interface Statistics {
  readonly column_sizes: readonly KeyValue<number>[] | null
  readonly value_counts: readonly KeyValue<number>[] | null
  readonly null_value_counts: readonly KeyValue<number>[] | null
  readonly nan_value_counts: readonly KeyValue<number>[] | null
  readonly lower_bounds: readonly KeyValue<Buffer>[] | null
  readonly upper_bounds: readonly KeyValue<Buffer>[] | null
}

function headRecord(entry: ManifestEntry): HeadRecord {
  return {
    status: STATUSES.indexOf(entry.status),
    snapshot_id: entry.snapshotId,
    sequence_number: entry.sequenceNumber ?? null,
    file_sequence_number: entry.fileSequenceNumber ?? null,
  }
}

function fileRecord(file: DataFile, spec: Spec): FileRecord {
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
  }
}

function decodeEntry(
  { record, schema, full, block, at, end }: Located,
  listed: { path: string; addedSnapshotId: bigint; sequenceNumber: bigint },
  spec: Spec,
  ownSchema: string,
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
      path: normalLocation(data.file_path),
      records: data.record_count,
      bytes: data.file_size_in_bytes,
      // By position, not by name: names are mangled where Avro does not allow them.
      partition: spec.fields.map((field, i) => decodePartitionValue(field.result, Object.values(data.partition)[i])),
      get columns() {
        const { value } = full.decode(block, at) as { value: EntryRecord }
        return decodeColumns(value.data_file)
      },
      ...(data.split_offsets ? { splitOffsets: data.split_offsets } : {}),
      specId: spec.id,
    },
    ...(schema === ownSchema ? { encoded: { schema, file: block.subarray(at + headLength(record), end) } } : {}),
  }
}

function headLength({ status, snapshot_id, sequence_number, file_sequence_number }: HeadRecord): number {
  return HEAD_TYPE.toBuffer({ status, snapshot_id, sequence_number, file_sequence_number }).length
}

function decodeColumns(data: Statistics): Record<number, ColumnStats> {
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

const HEAD_FIELDS = [
  required(0, 'status', 'int'),
  optional(1, 'snapshot_id', WIDE),
  optional(3, 'sequence_number', WIDE),
  optional(4, 'file_sequence_number', WIDE),
]
const HEAD_TYPE = avroType({ type: 'record', name: 'head', fields: HEAD_FIELDS })

const COMPILED = new WeakMap<Spec, { schema: string; fileType: avsc.Type }>()

/** The Avro schema of manifests of a spec, and the type of the files in them. */
function avroOf(spec: Spec): { schema: string; fileType: avsc.Type } {
  let compiled = COMPILED.get(spec)
  if (!compiled) {
    const file = fileSchema(spec)
    const entry = { type: 'record', name: 'manifest_entry', fields: [...HEAD_FIELDS, required(2, 'data_file', file)] }
    compiled = { schema: publicSchema(entry), fileType: avroType(file) }
    COMPILED.set(spec, compiled)
  }
  return compiled
}

function fileSchema(spec: Spec): AvroSchema {
  const partition = spec.fields.map((f) =>
    optional(f.fieldId, avroName(f.name), avroPartitionType(f.result, f.fieldId)),
  )
  return {
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
