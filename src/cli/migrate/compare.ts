import { availableParallelism } from 'node:os'
import { Database } from '../../engine/duckdb/database.ts'
import type { Lake } from '../../lake/lake.ts'
import { type LakeTable, nameOf } from '../../lake/table.ts'
import { contentOf } from '../../log/carry.ts'
import type { StreamLog } from '../../log/log.ts'
import type { Stream } from '../../project/stream.ts'
import { holding, relationOf } from '../../runtime/warehouse.ts'
import type { Disk } from '../../storage/disk.ts'

/** Something on both sides. */
export interface Compared {
  readonly name: string
  /** Rows of a table's newest snapshot; records of a partition. */
  readonly records: number
  readonly targetRecords: number
  /** A table's does not depend on the order of rows, a partition's does on that of records. */
  readonly checksum: string
  readonly equal: boolean
}

const MEMORY = 512 * 1024 * 1024

/** Compares the rows of the newest snapshots of tables, by counts and the sums of the rows' hashes. */
export async function compareTables(
  tables: readonly LakeTable[],
  target: Lake,
  temporary: string,
): Promise<Compared[]> {
  const database = await Database.open({ threads: availableParallelism(), memory: MEMORY, temporary })
  try {
    const compared: Compared[] = []
    for (const table of tables) {
      const there = await target.load(table.id)
      const [own, other] = [await rowsOf(table, database), there && (await rowsOf(there, database))]
      const equal = own.rows === other?.rows && own.sum === other.sum
      const name = nameOf(table.id)
      compared.push({ name, records: own.rows, targetRecords: other?.rows ?? 0, checksum: checksum(own.sum), equal })
    }
    return compared
  } finally {
    await database.close()
  }
}

/** Compares what partitions hold, record by record. */
export async function compareLogs(
  logs: ReadonlyMap<Stream, StreamLog>,
  target: ReadonlyMap<Stream, StreamLog>,
  disk: Disk,
): Promise<Compared[]> {
  const compared: Compared[] = []
  for (const [stream, log] of logs) {
    const there = target.get(stream)!
    const sameMarks = stream.sources.length === 0 || marksOf(log) === marksOf(there)
    for (const { partition, start, end } of log.partitions) {
      const other = there.partitions[partition]!
      const own = await contentOf(log.partitions[partition]!, disk, start, end)
      const found = other.end < end ? undefined : await contentOf(other, disk, start, Math.max(end, other.end))
      const equal = own.records === found?.records && own.digest === found.digest && sameMarks
      const name = `${stream.name}/${partition}`
      const targetRecords = found?.records ?? Math.max(0, other.end - start)
      compared.push({ name, records: own.records, targetRecords, checksum: own.digest.slice(0, 16), equal })
    }
  }
  return compared
}

/** Which records came from where; without offsets for those of nothing. */
function marksOf(log: StreamLog): string {
  return JSON.stringify(
    log
      .marks()
      .map(({ partition, offset, to, mark }) => JSON.stringify(offset === to ? [mark] : [partition, offset, to, mark]))
      .toSorted(),
  )
}

/** A file at a time: a table need not fit on this machine. */
async function rowsOf(table: LakeTable, database: Database): Promise<{ rows: number; sum: bigint }> {
  const snapshot = table.snapshot('main') ?? table.snapshot('candidate')
  let [rows, sum] = [0, 0n]
  for (const file of snapshot ? await table.files(snapshot) : []) {
    const [found] = await holding(table, async (hold) =>
      database.rows(
        `SELECT count(*) AS n, coalesce(sum(hash(r)), 0)::VARCHAR AS total FROM (SELECT * FROM ${await relationOf(table, [file], hold)}) AS r`,
      ),
    )
    rows += Number(found!.n)
    sum += BigInt(String(found!.total))
  }
  return { rows, sum }
}

function checksum(sum: bigint): string {
  return BigInt.asUintN(64, sum).toString(16).padStart(16, '0')
}
