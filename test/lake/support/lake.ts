import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import type { Clock } from '../../../src/base/clock.ts'
import { systemClock } from '../../../src/base/clock.ts'
import type { DataFile } from '../../../src/lake/data-file.ts'
import { Lake } from '../../../src/lake/lake.ts'
import type { LakeTable } from '../../../src/lake/table.ts'
import type { Disk } from '../../../src/storage/disk.ts'
import type { PartitionValue } from '../../../src/lake/transform.ts'

const roots: string[] = []

afterEach(async () => {
  for (const root of roots.splice(0)) await rm(root, { recursive: true, force: true })
})

/** An empty directory, removed after the test. */
export async function temporaryDirectory(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'millrace-lake-'))
  roots.push(root)
  return root
}

export async function openLake(options: { root?: string; clock?: Clock; disk?: Disk } = {}): Promise<Lake> {
  return new Lake({ root: options.root ?? (await temporaryDirectory()), ...options })
}

/** A clock whose time moves only when told. */
export function steppedClock(startMs = Date.UTC(2026, 0, 1)): Clock & { step(ms: number): void } {
  let nowMs = startMs
  return { ...systemClock, now: () => nowMs, step: (ms) => void (nowMs += ms) }
}

let counter = 0

/** A data file for tests that never read its rows: there need be no file where it says. */
export function imaginaryFile(table: LakeTable, records = 1, partition: readonly PartitionValue[] = []): DataFile {
  return {
    path: join(table.location, 'data', `imaginary-${process.pid}-${counter++}.parquet`),
    records,
    bytes: records * 100,
    partition,
    columns: {},
    synced: true,
  }
}

/** Commits an append of `count` imaginary files. */
export function appendImaginary(table: LakeTable, count = 1, summary: Record<string, string> = {}) {
  const add = Array.from({ length: count }, () => imaginaryFile(table))
  return table.commit({ operation: 'append', add, remove: [], summary })
}

export async function livePaths(table: LakeTable, ref: string | bigint = 'main'): Promise<string[]> {
  const snapshot = table.snapshot(ref)
  return snapshot ? (await table.files(snapshot)).map((file) => file.path).sort() : []
}
