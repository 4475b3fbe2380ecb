import type { RecordLines } from './lines.ts'

/** Records for one partition, in the order they came in. */
export interface RoutedLines {
  readonly partition: number
  readonly lines: Buffer
  readonly records: number
}

const NEWLINE = 10

/**
 * Splits records over partitions so that records with equal values in the key columns share one, and so keep their order. Each
 * line is parsed; one that is not a JSON object goes to partition 0, where the gate will reject it. Partitions without
 * records are left out.
 */
export function routeLines(batch: RecordLines, keyColumns: readonly string[], partitions: number): RoutedLines[] {
  const lines = batch.lines.length === 1 ? batch.lines[0]! : Buffer.concat(batch.lines)
  if (partitions === 1) return batch.records === 0 ? [] : [{ partition: 0, lines, records: batch.records }]
  const target = new Uint32Array(batch.records)
  const bytes = new Float64Array(partitions)
  const records = new Uint32Array(partitions)
  forEachLine(lines, (record, from, to) => {
    const partition = partitionOfLine(lines.toString('utf8', from, to - 1), keyColumns, partitions)
    target[record] = partition
    bytes[partition]! += to - from
    records[partition]!++
  })
  const routed = Array.from(bytes, (length, partition) => ({
    partition,
    lines: Buffer.allocUnsafe(length),
    records: records[partition]!,
  }))
  const filled = new Float64Array(partitions)
  forEachLine(lines, (record, from, to) => {
    const partition = target[record]!
    filled[partition]! += lines.copy(routed[partition]!.lines, filled[partition], from, to)
  })
  return routed.filter((part) => part.records > 0)
}

/**
 * The partition of records with these key values. Equal values always share one; that unequal values may is of no
 * consequence, so a value's kind is ignored: 7, "7" and "7.0" are one key, as they may be one value after typing. Part of the
 * log's format (docs/formats/log.md): what is stored was routed by it.
 */
export function partitionOf(values: readonly unknown[], partitions: number): number {
  return mix(fnv1a(values.map(keyText).join('\u001f'))) % partitions
}

function partitionOfLine(line: string, keyColumns: readonly string[], partitions: number): number {
  const values = keyValues(line, keyColumns)
  return values === undefined ? 0 : partitionOf(values, partitions)
}

/** Values of the key columns; undefined for a line that is not a JSON object. */
export function keyValues(line: string, keyColumns: readonly string[]): unknown[] | undefined {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const row = value as Record<string, unknown>
  return keyColumns.map((column) => (Object.hasOwn(row, column) ? row[column] : undefined))
}

/** A value as partitions are chosen by it. */
export function keyText(value: unknown): string {
  if (value === undefined || value === null) return ''
  if (typeof value === 'object') return JSON.stringify(value)
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  const number = text.trim() === '' ? Number.NaN : Number(text)
  return Number.isFinite(number) ? String(number) : text
}

/** FNV-1a, 32 bit, over UTF-8 (http://www.isthe.com/chongo/tech/comp/fnv/). */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

/** The finaliser of MurmurHash3: FNV's low bits alone are too regular to take a remainder of. */
function mix(hash: number): number {
  let h = hash
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

function forEachLine(lines: Buffer, visit: (record: number, from: number, to: number) => void): void {
  let record = 0
  for (let at = 0; at < lines.length; record++) {
    const to = lines.indexOf(NEWLINE, at) + 1
    visit(record, at, to)
    at = to
  }
}
