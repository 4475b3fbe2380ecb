import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { expect } from 'vitest'
import type { Arrival } from '../../examples/generator/arrivals.ts'
import { partitionOf } from '../../src/log/route.ts'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { verify } from '../../src/runtime/verify.ts'
import { type Home, type Row, jsonRows, query, send, statusOf } from '../runtime/home.ts'

/** What a stream promises, said once more and in plain TypeScript. */
export interface Contract {
  readonly stream: string
  readonly partitions: number
  readonly key: string
  readonly unique: readonly string[]
  /** How far behind the newest event of its partition a record may lie. */
  readonly lateMs: number
  /** The rule that a record breaks first. */
  broken(record: Record<string, unknown>): string | undefined
}

/** What becomes of the lines of a stream, one by one in their order. */
export interface Judged {
  readonly accepted: Record<string, unknown>[]
  readonly duplicates: number
  readonly quarantined: Record<string, number>
  /** Newest event of all partitions: the watermark once nobody waits for stragglers. */
  readonly newestMs: number
}

export function judge(
  lines: readonly Arrival[],
  { partitions, key, unique, lateMs, broken, stream }: Contract,
): Judged {
  const accepted: Record<string, unknown>[] = []
  const quarantined: Record<string, number> = {}
  const refuse = (rule: string) => (quarantined[rule] = (quarantined[rule] ?? 0) + 1)
  const seen = new Set<string>()
  const newest = Array.from({ length: partitions }, () => -Infinity)
  let duplicates = 0
  for (const { line } of lines.filter((arrival) => arrival.stream === stream)) {
    const record = parsed(line)
    const rule = record === undefined ? 'malformed' : broken(record)
    if (record === undefined || rule !== undefined) {
      refuse(rule!)
      continue
    }
    const atMs = Date.parse(record['at_time'] as string)
    const partition = partitionOf([record[key]], partitions)
    const id = JSON.stringify(unique.map((column) => record[column]))
    if (seen.has(id)) duplicates++
    else if (newest[partition]! - atMs > lateMs) refuse('late')
    else if (atMs > Date.now()) refuse('ahead')
    else {
      seen.add(id)
      newest[partition] = Math.max(newest[partition]!, atMs)
      accepted.push(record)
    }
  }
  return { accepted, duplicates, quarantined, newestMs: Math.max(...newest) }
}

function parsed(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line) as Record<string, unknown>
  } catch {
    return undefined
  }
}

/** Sends lines to their streams in batches of these sizes, over and over, and lets the tables catch up in between. */
export async function deliver(runtime: Runtime, lines: readonly Arrival[], sizes: readonly number[]): Promise<void> {
  for (let at = 0, i = 0; at < lines.length; i++) {
    const size = sizes[i % sizes.length]!
    const batch = lines.slice(at, at + size)
    for (const stream of new Set(batch.map((arrival) => arrival.stream)))
      await send(
        runtime,
        stream,
        batch.filter((arrival) => arrival.stream === stream).map(({ line }) => line),
      )
    at += size
    if (i % 3 === 2) await runtime.settle()
  }
  await runtime.settle()
}

/** Lets so much time pass that every partition is idle; waits until a table has computed up to then. */
export async function fallIdle(home: Home, runtime: Runtime, table: string, watermarkMs: number): Promise<void> {
  home.clock.monotonic = () => performance.now() + 3_600_000
  await expect
    .poll(() => statusOf(runtime, table).watermark, { timeout: 30_000 })
    .toBe(new Date(watermarkMs).toISOString())
  await runtime.settle()
}

/** Every dataset's counts: nothing disappears. */
export async function expectCounted(runtime: Runtime, stream: string, received: number, judged: Judged): Promise<void> {
  const { accepted, duplicates, quarantined } = judged
  const refused = Object.values(quarantined).reduce((sum, n) => sum + n, 0)
  expect(statusOf(runtime, stream)).toMatchObject({
    received,
    accepted: accepted.length,
    duplicates,
    quarantined: refused,
    rows: accepted.length,
    lag: 0,
  })
  expect(received).toBe(accepted.length + duplicates + refused)
  const rules = await query(runtime, `SELECT rule, count(*)::INT AS n FROM {quarantine.${stream}} GROUP BY rule`)
  expect(Object.fromEntries(rules.map(({ rule, n }) => [rule, n]))).toEqual(quarantined)
}

/** Rows of each table by bulk queries over what was accepted, all in one engine that knows nothing of Millrace. */
export async function expectTables(
  runtime: Runtime,
  accepted: Record<string, { rows: readonly unknown[]; columns: Record<string, string> }>,
  directory: string,
  wanted: Readonly<Record<string, string>>,
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    for (const [name, { rows, columns }] of Object.entries(accepted)) {
      const file = join(directory, `${name}.ndjson`)
      await writeFile(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
      const types = Object.entries(columns).map(([column, type]) => `${column}: '${type}'`)
      await connection.run(
        `CREATE TABLE ${name} AS FROM read_json('${file}', format = 'newline_delimited', columns = {${types.join(', ')}})`,
      )
    }
    for (const [name, sql] of Object.entries(wanted)) {
      const columns = runtime
        .lakeTable(name)
        .fields.filter(({ name: column }) => !column.startsWith('_'))
        .map(({ name: column }) => `${column}::VARCHAR AS ${column}`)
      const text = (relation: string) => `SELECT ${columns.join(', ')} FROM ${relation} ORDER BY ALL`
      const expected: Row[] = jsonRows(await connection.runAndReadAll(text(`(${sql})`)))
      expect(await query(runtime, text(`{${name}}`)), name).toEqual(expected)
      counts[name] = expected.length
    }
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
  return counts
}

export async function expectVerified(runtime: Runtime): Promise<void> {
  for (const { name } of runtime.project.order)
    expect(await verify(runtime, name), name).toMatchObject({ equal: true, missing: 0, extra: 0 })
}
