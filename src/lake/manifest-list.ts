import { MillraceError } from '../base/errors.ts'
import { avroType, decodeAvro, encodeAvro, perSchema, publicSchema } from './avro.ts'
import type { AvroSchema, RecordReader } from './avro.ts'
import { normalLocation } from './location.ts'
import { markWide } from './manifest.ts'
import type { ManifestEntry } from './manifest.ts'
import type { Spec } from './partition.ts'
import { compareValues, encodeValue } from './value.ts'
import type { Value } from './value.ts'

/** A manifest as its list describes it. */
export interface ManifestFile {
  readonly path: string
  /** Bytes. */
  readonly length: number
  readonly specId: number
  readonly sequenceNumber: bigint
  /** The least sequence number of its live files. */
  readonly minSequenceNumber: bigint
  readonly addedSnapshotId: bigint
  readonly addedFiles: number
  readonly existingFiles: number
  readonly deletedFiles: number
  readonly addedRows: number
  readonly existingRows: number
  readonly deletedRows: number
  /** By partition field. */
  readonly partitions: readonly PartitionSummary[]
}

/** The range of one partition field over all entries of a manifest. Bounds are absent when all values are null. */
export interface PartitionSummary {
  readonly containsNull: boolean
  readonly lower?: Uint8Array
  readonly upper?: Uint8Array
}

/** Files of a manifest that the snapshot still has. */
export function liveFiles(manifest: ManifestFile): number {
  return manifest.addedFiles + manifest.existingFiles
}

/** What the list says of a manifest of these entries, written by snapshot `snapshotId`. */
export function describeManifest(
  entries: readonly ManifestEntry[],
  spec: Spec,
  written: { path: string; length: number; snapshotId: bigint; sequenceNumber: bigint },
): ManifestFile {
  const counts = { existing: { files: 0, rows: 0 }, added: { files: 0, rows: 0 }, deleted: { files: 0, rows: 0 } }
  let minSequenceNumber = written.sequenceNumber
  for (const { status, file, sequenceNumber } of entries) {
    counts[status].files++
    counts[status].rows += file.records
    if (status !== 'deleted' && sequenceNumber !== undefined && sequenceNumber < minSequenceNumber)
      minSequenceNumber = sequenceNumber
  }
  return {
    path: written.path,
    length: written.length,
    specId: spec.id,
    sequenceNumber: written.sequenceNumber,
    minSequenceNumber,
    addedSnapshotId: written.snapshotId,
    addedFiles: counts.added.files,
    existingFiles: counts.existing.files,
    deletedFiles: counts.deleted.files,
    addedRows: counts.added.rows,
    existingRows: counts.existing.rows,
    deletedRows: counts.deleted.rows,
    partitions: spec.fields.map((field, i) => {
      let containsNull = false
      let lower: Value | undefined
      let upper: Value | undefined
      for (const { file } of entries) {
        const value = file.partition[i] ?? null
        if (value === null) containsNull = true
        else {
          if (lower === undefined || compareValues(value, lower) < 0) lower = value
          if (upper === undefined || compareValues(value, upper) > 0) upper = value
        }
      }
      if (lower === undefined || upper === undefined) return { containsNull }
      return { containsNull, lower: encodeValue(field.result, lower), upper: encodeValue(field.result, upper) }
    }),
  }
}

const SUMMARY = {
  type: 'record',
  name: 'r508',
  fields: [
    { name: 'contains_null', type: 'boolean', 'field-id': 509 },
    { name: 'contains_nan', type: ['null', 'boolean'], default: null, 'field-id': 518 },
    { name: 'lower_bound', type: ['null', 'bytes'], default: null, 'field-id': 510 },
    { name: 'upper_bound', type: ['null', 'bytes'], default: null, 'field-id': 511 },
  ],
}

const SCHEMA = {
  type: 'record',
  name: 'manifest_file',
  fields: [
    { name: 'manifest_path', type: 'string', 'field-id': 500 },
    { name: 'manifest_length', type: 'long', 'field-id': 501 },
    { name: 'partition_spec_id', type: 'int', 'field-id': 502 },
    { name: 'content', type: 'int', 'field-id': 517 },
    { name: 'sequence_number', type: { type: 'long', wide: true }, 'field-id': 515 },
    { name: 'min_sequence_number', type: { type: 'long', wide: true }, 'field-id': 516 },
    { name: 'added_snapshot_id', type: { type: 'long', wide: true }, 'field-id': 503 },
    { name: 'added_files_count', type: 'int', 'field-id': 504 },
    { name: 'existing_files_count', type: 'int', 'field-id': 505 },
    { name: 'deleted_files_count', type: 'int', 'field-id': 506 },
    { name: 'added_rows_count', type: 'long', 'field-id': 512 },
    { name: 'existing_rows_count', type: 'long', 'field-id': 513 },
    { name: 'deleted_rows_count', type: 'long', 'field-id': 514 },
    {
      name: 'partitions',
      type: ['null', { type: 'array', items: SUMMARY, 'element-id': 508 }],
      default: null,
      'field-id': 507,
    },
  ],
}

const TYPE = avroType(SCHEMA)
const PUBLIC_SCHEMA = publicSchema(SCHEMA)

const readerOf = perSchema((schema): RecordReader<ListRecord> => {
  const type = avroType(markWide(JSON.parse(schema) as AvroSchema))
  return (block, at) => type.decode(block, at)
})

interface ListRecord {
  readonly manifest_path: string
  readonly manifest_length: number
  readonly partition_spec_id: number
  readonly content: number
  readonly sequence_number: bigint
  readonly min_sequence_number: bigint
  readonly added_snapshot_id: bigint
  readonly added_files_count: number
  readonly existing_files_count: number
  readonly deleted_files_count: number
  readonly added_rows_count: number
  readonly existing_rows_count: number
  readonly deleted_rows_count: number
  readonly partitions:
    readonly { contains_null: boolean; lower_bound: Buffer | null; upper_bound: Buffer | null }[] | null
}

/** Encodes a snapshot's manifest list (Iceberg spec v2, "Manifest Lists"). `sync`: 16 random bytes. */
export function encodeManifestList(
  manifests: readonly ManifestFile[],
  snapshot: { id: bigint; parentId: bigint | undefined; sequenceNumber: bigint },
  sync: Uint8Array,
): Buffer {
  const records = manifests.map((m) => ({
    manifest_path: m.path,
    manifest_length: m.length,
    partition_spec_id: m.specId,
    content: 0,
    sequence_number: m.sequenceNumber,
    min_sequence_number: m.minSequenceNumber,
    added_snapshot_id: m.addedSnapshotId,
    added_files_count: m.addedFiles,
    existing_files_count: m.existingFiles,
    deleted_files_count: m.deletedFiles,
    added_rows_count: m.addedRows,
    existing_rows_count: m.existingRows,
    deleted_rows_count: m.deletedRows,
    partitions: m.partitions.map((p) => ({
      contains_null: p.containsNull,
      contains_nan: null,
      lower_bound: p.lower ?? null,
      upper_bound: p.upper ?? null,
    })),
  }))
  const metadata = {
    'snapshot-id': String(snapshot.id),
    'parent-snapshot-id': snapshot.parentId === undefined ? 'null' : String(snapshot.parentId),
    'sequence-number': String(snapshot.sequenceNumber),
    'format-version': '2',
  }
  return encodeAvro(
    PUBLIC_SCHEMA,
    records.map((record) => TYPE.toBuffer(record)),
    records.length,
    metadata,
    sync,
  )
}

/** The manifests of a list. Throws `invalid` / `delete-files` when rows are deleted by files: ours would come back. */
export function decodeManifestList(bytes: Buffer, path: string): ManifestFile[] {
  return decodeAvro(bytes, path, readerOf).records.map((m) => {
    if (m.content !== 0) {
      throw new MillraceError(
        'invalid',
        'delete-files',
        `${path} lists delete files, which Millrace neither writes nor applies.`,
        {
          hint: 'Set write.delete.mode, write.update.mode and write.merge.mode to copy-on-write in the engine that wrote them, and rewrite the data files.',
          context: { path },
        },
      )
    }
    return {
      path: normalLocation(m.manifest_path),
      length: m.manifest_length,
      specId: m.partition_spec_id,
      sequenceNumber: m.sequence_number,
      minSequenceNumber: m.min_sequence_number,
      addedSnapshotId: m.added_snapshot_id,
      addedFiles: m.added_files_count,
      existingFiles: m.existing_files_count,
      deletedFiles: m.deleted_files_count,
      addedRows: m.added_rows_count,
      existingRows: m.existing_rows_count,
      deletedRows: m.deleted_rows_count,
      partitions: (m.partitions ?? []).map((p) => ({
        containsNull: p.contains_null,
        ...(p.lower_bound ? { lower: p.lower_bound } : {}),
        ...(p.upper_bound ? { upper: p.upper_bound } : {}),
      })),
    }
  })
}
