import { join } from 'node:path'

/** A file that holds frames, by its name: merged ones say where they end, segments end where the next file begins. */
export interface DataName {
  readonly name: string
  readonly from: number
  readonly to: number | undefined
}

const SEGMENT = /^(\d{16})\.ndjson$/
const MERGED = /^(\d{16})-(\d{16})\.ndjson\.zst$/

const digits = (offset: number): string => String(offset).padStart(16, '0')

export const segmentName = (from: number): string => `${digits(from)}.ndjson`
export const mergedName = (from: number, to: number): string => `${digits(from)}-${digits(to)}.ndjson.zst`
/** The frame index beside a merged file. */
export const indexName = (merged: string): string => merged.replace(/\.ndjson\.zst$/, '.idx.json')
export const isIndexName = (name: string): boolean => name.endsWith('.idx.json')
export const marksPath = (directory: string): string => join(directory, 'marks.ndjson')

/** undefined when the name is not one of a file with frames. */
export function parseDataName(name: string): DataName | undefined {
  const segment = SEGMENT.exec(name)
  if (segment) return { name, from: Number(segment[1]), to: undefined }
  const merged = MERGED.exec(name)
  if (merged) return { name, from: Number(merged[1]), to: Number(merged[2]) }
  return undefined
}
