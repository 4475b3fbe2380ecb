import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { afterEach } from 'vitest'
import type { Clock } from '../../../src/base/clock.ts'
import { systemClock } from '../../../src/base/clock.ts'
import type { DataFile } from '../../../src/lake/data-file.ts'
import type { Lake } from '../../../src/lake/lake.ts'
import type { LakeTable } from '../../../src/lake/table.ts'
import type { PartitionValue } from '../../../src/lake/transform.ts'
import { diskHome, temporary } from './home.ts'
import type { LakeHome } from './home.ts'

let home: LakeHome = diskHome

afterEach(() => home.clear())

/** From now on lakes are there. */
export function useHome(next: LakeHome): void {
  home = next
}

/** An empty directory of this machine, removed after the test. */
export const temporaryDirectory = temporary

/** A place for a lake, gone after the test. */
export const newRoot = (): Promise<string> => home.newRoot()
export const readStored = (location: string): Promise<Buffer> => home.read(location)
export const writeStored = (location: string, bytes: string | Uint8Array): Promise<void> => home.write(location, bytes)
export const removeStored = (location: string): Promise<void> => home.remove(location)

export async function openLake({ root, ...options }: { root?: string; clock?: Clock } = {}): Promise<Lake> {
  return home.open(root ?? (await newRoot()), options)
}

/** A clock whose time moves only when told. */
export function steppedClock(startMs = Date.UTC(2026, 0, 1)): Clock & { step(ms: number): void } {
  let nowMs = startMs
  return { ...systemClock, now: () => nowMs, step: (ms) => void (nowMs += ms) }
}

let counter = 0

/** A data file for tests that never read its rows: there need be no file where it says, unless the home wants one. */
export function imaginaryFile(table: LakeTable, records = 1, partition: readonly PartitionValue[] = []): DataFile {
  const path = `${table.location}/data/imaginary-${process.pid}-${counter++}.parquet`
  if (home.wantsFiles === true) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, '')
  }
  return {
    path,
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
