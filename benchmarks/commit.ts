import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { mkdir } from 'node:fs/promises'
import { copyToParquet } from '../src/engine/duckdb/parquet.ts'
import { Lake } from '../src/lake/lake.ts'
import { dataFile } from '../src/lake/stats.ts'
import { inTemporary, quantile, round } from './harness.ts'
import type { BenchOptions } from './run.ts'

/** Commits of one small file each, data file written and fsynced, after 1,000 earlier ones. */
export async function run({ events = 300, say }: BenchOptions): Promise<Record<string, unknown>> {
  return inTemporary(async (directory) => {
    const lake = new Lake({ root: join(directory, 'lake') })
    const table = await lake.create(
      { namespace: 'bench', name: 'commits' },
      { fields: [{ name: 'n', type: { kind: 'long' }, nullable: false }] },
    )
    const connection = await (await DuckDBInstance.create(':memory:')).connect()
    await mkdir(`${table.location}/data`, { recursive: true })
    const commit = async (i: number): Promise<number> => {
      const written = await copyToParquet(connection, `SELECT ${i}::BIGINT AS n`, {
        directory: `${table.location}/data`,
        fields: table.fields,
      })
      const add = written.map((file) => dataFile(table.fields, table.partition, file))
      const begun = performance.now()
      await table.commit({ operation: 'append', add, remove: [], summary: { 'millrace.run': String(i) } })
      return performance.now() - begun
    }
    const first: number[] = []
    for (let i = 0; i < 1_000; i++) {
      const ms = await commit(i)
      if (i < 100) first.push(ms)
    }
    say('1,000 commits done')
    const later: number[] = []
    for (let i = 0; i < events; i++) later.push(await commit(1_000 + i))
    return {
      commits: 1_000 + events,
      first_p50_ms: round(quantile(first, 0.5), 1),
      p50_ms: round(quantile(later, 0.5), 1),
      p99_ms: round(quantile(later, 0.99), 1),
      growth: round(quantile(later, 0.5) / quantile(first, 0.5), 2),
    }
  })
}
