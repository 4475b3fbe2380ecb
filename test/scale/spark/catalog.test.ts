// Spark on Millrace's REST catalog, as an operator attaches it; the engine's own use of it is in engine.test.ts and s3.test.ts.
import type { DuckDBConnection } from '@duckdb/node-api'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { catalogSettings, s3Files } from '../../../src/engine/spark/catalog.ts'
import { SparkSession } from '../../../src/engine/spark/session.ts'
import type { Lake } from '../../../src/lake/lake.ts'
import { fieldsOf, t } from '../../../src/project/columns.ts'
import { serveCatalog } from '../../lake/support/catalog.ts'
import { append, openDuckdb, query, relation } from '../../lake/support/duckdb.ts'
import type { LakeHome } from '../../lake/support/home.ts'
import { diskHome, s3Config, s3Home } from '../../lake/support/home.ts'
import { openLake, useHome } from '../../lake/support/lake.ts'
import { bucket } from '../s3/bucket.ts'
import { sparkUrl } from './spark.ts'

const name = await bucket()
const { endpoint, region, credentials } = s3Config(name)
const HOMES: readonly (readonly [string, LakeHome, Record<string, string>])[] = [
  ['a directory', diskHome, {}],
  ['S3', await s3Home(name), s3Files({ endpoint, region, ...credentials })],
]

let duckdb: DuckDBConnection
const opened: { close(): unknown }[] = []

beforeAll(async () => {
  duckdb = await openDuckdb()
})
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close()
})
afterAll(() => duckdb.closeSync())

describe.each(HOMES)('a lake in %s', (_where, home, files) => {
  async function attached(): Promise<{ lake: Lake; spark: SparkSession }> {
    useHome(home)
    const lake = await openLake()
    const server = await serveCatalog(lake, { managed: ['curated'] })
    const settings = catalogSettings({ uri: `${server.url}/iceberg` }, files)
    const spark = await SparkSession.open({ url: sparkUrl(), settings })
    opened.push(spark, server)
    return { lake, spark }
  }

  async function ids(lake: Lake, namespace: string, table: string): Promise<number[]> {
    const found = (await lake.load({ namespace, name: table }))!
    await found.refresh()
    const rows = await query(duckdb, `SELECT id FROM ${await relation(found)} ORDER BY id`)
    return rows.map(({ id }) => Number(id))
  }

  test('Spark makes, fills, changes and drops tables, and Millrace reads what it wrote', async () => {
    const { lake, spark } = await attached()
    await spark.execute('CREATE NAMESPACE millrace.lab')
    await spark.execute('CREATE TABLE millrace.lab.t (id BIGINT, day DATE) USING iceberg PARTITIONED BY (months(day))')
    await spark.execute("INSERT INTO millrace.lab.t VALUES (1, DATE '2026-01-01'), (2, DATE '2026-02-01'), (3, NULL)")
    expect(await ids(lake, 'lab', 't')).toEqual([1, 2, 3])
    await spark.execute('DELETE FROM millrace.lab.t WHERE id = 2')
    await spark.execute('UPDATE millrace.lab.t SET id = 30 WHERE id = 3')
    await spark.execute(
      'MERGE INTO millrace.lab.t USING (SELECT 1L AS id) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET t.id = 10 ',
    )
    expect(await ids(lake, 'lab', 't')).toEqual([10, 30])
    await spark.execute('ALTER TABLE millrace.lab.t ADD COLUMN note STRING')
    await spark.execute("INSERT INTO millrace.lab.t VALUES (4, DATE '2026-01-01', 'x')")
    expect(await ids(lake, 'lab', 't')).toEqual([4, 10, 30])
    await spark.execute('CREATE TABLE millrace.lab.u AS SELECT id FROM millrace.lab.t')
    await spark.execute('CREATE OR REPLACE TABLE millrace.lab.u AS SELECT id + 1 AS id FROM millrace.lab.t')
    expect(await ids(lake, 'lab', 'u')).toEqual([5, 11, 31])
    expect(await spark.rows('SHOW TABLES IN millrace.lab')).toHaveLength(2)
    for (const table of ['t', 'u']) await spark.execute(`DROP TABLE millrace.lab.${table}`)
    await spark.execute('DROP NAMESPACE millrace.lab')
    expect(await lake.list()).toEqual([])
  })

  test('Spark reads what Millrace wrote; a table of the project takes its rows, and nothing else', async () => {
    const { lake, spark } = await attached()
    const table = await lake.create({ namespace: 'curated', name: 'sales' }, { fields: fieldsOf({ id: t.long() }) })
    await append(duckdb, table, 'SELECT unnest(range(5)) AS id')
    expect(await spark.rows('SELECT count(*) AS n, sum(id) AS s FROM millrace.curated.sales')).toEqual([
      { n: 5, s: 10 },
    ])
    await spark.execute('INSERT INTO millrace.curated.sales VALUES (100)')
    expect(await ids(lake, 'curated', 'sales')).toEqual([0, 1, 2, 3, 4, 100])
    for (const change of ['ADD COLUMN b INT', 'DROP COLUMN id', 'ADD PARTITION FIELD bucket(4, id)'])
      await expect(spark.execute(`ALTER TABLE millrace.curated.sales ${change}`)).rejects.toThrow(
        'belongs to the project',
      )
    await expect(spark.execute('DROP TABLE millrace.curated.sales')).rejects.toThrow('belongs to the project')
  })

  test('Spark and Millrace append at once: nothing is lost, nothing is there twice', async () => {
    const { lake, spark } = await attached()
    const table = await lake.create({ namespace: 'curated', name: 'race' }, { fields: fieldsOf({ id: t.long() }) })
    let done = false
    const theirs = (async () => {
      for (let i = 0; i < 8; i++) await spark.execute(`INSERT INTO millrace.curated.race SELECT ${1000 + i}L`)
    })().finally(() => (done = true))
    let ours = 0
    for (; !done; await systemClock.sleep(300)) await append(duckdb, table, `SELECT ${ours++}::BIGINT AS id`)
    await theirs
    expect(await ids(lake, 'curated', 'race')).toEqual([
      ...Array(ours).keys(),
      ...Array.from({ length: 8 }, (_, i) => 1000 + i),
    ])
    expect(table.history().map(({ summary }) => Number(summary['added-records']))).toEqual(Array(ours + 8).fill(1))
  })
})
