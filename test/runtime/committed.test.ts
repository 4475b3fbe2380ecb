import { expect, test } from 'vitest'
import type { Snapshot } from '../../src/lake/table.ts'
import { newestRecord } from '../../src/runtime/streams/committed.ts'
import { recordSummary } from '../../src/runtime/record.ts'

/** A line of snapshots, newest first: those with offsets carry a record. The oldest has a parent where it is not the table's first. */
function line(offsets: readonly (number | undefined)[], isWhole: boolean): Snapshot[] {
  return offsets.map((offset, i) => ({
    id: BigInt(100 - i),
    ...(i === offsets.length - 1 && isWhole ? {} : { parentId: BigInt(99 - i) }),
    sequenceNumber: BigInt(100 - i),
    timestampMs: 0,
    operation: 'append' as const,
    summary: offset === undefined ? {} : recordSummary({ run: 'r', code: 'c', offsets: [offset] }),
    schemaId: 0,
  }))
}

test('the newest record counts, below snapshots of other engines too', () => {
  expect(newestRecord(line([], true))).toBeUndefined()
  expect(newestRecord(line([undefined, undefined], true))).toBeUndefined()
  expect(newestRecord(line([undefined, 7, 5], false))).toMatchObject({ offsets: [7] })
})

test('a record that another engine has expired is missed, not taken for a beginning', () => {
  expect(() => newestRecord(line([undefined, undefined], false))).toThrow(
    expect.objectContaining({ kind: 'corrupt', code: 'record-expired', hint: expect.stringContaining('expire') }),
  )
})
