import { randomBytes } from 'node:crypto'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { assert, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { s3Files } from '../../../src/engine/spark/catalog.ts'
import { Lake } from '../../../src/lake/lake.ts'
import { S3Store } from '../../../src/lake/s3-store.ts'
import { SCRATCH } from '../../../src/lake/scratch.ts'
import { fieldsOf, t } from '../../../src/project/columns.ts'
import { SparkEngine } from '../../../src/runtime/spark-engine.ts'
import { systemDisk } from '../../../src/storage/disk.ts'
import { serveCatalog } from '../../lake/support/catalog.ts'
import { temporaryDirectory } from '../../lake/support/lake.ts'
import { sparkUrl } from './spark.ts'

test('a step reads and writes a lake on S3 through the REST catalog', async () => {
  const { S3_ENDPOINT: endpoint, S3_REGION: region, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY } = process.env
  assert(
    endpoint && region && S3_ACCESS_KEY_ID && S3_SECRET_ACCESS_KEY,
    'S3_* name a store: npm run test:scale starts one',
  )
  const credentials = { accessKeyId: S3_ACCESS_KEY_ID, secretAccessKey: S3_SECRET_ACCESS_KEY }
  const bucket = `spark-${randomBytes(6).toString('hex')}`
  const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true })
  await client.send(new CreateBucketCommand({ Bucket: bucket }))
  client.destroy()
  const store = await S3Store.open({
    config: { bucket, prefix: 'shop', endpoint, region, credentials },
    clock: systemClock,
    disk: systemDisk,
    random: randomBytes,
    cacheDirectory: await temporaryDirectory(),
  })
  const lake = new Lake({ store })
  const server = await serveCatalog(lake)
  const files = s3Files({ endpoint, region, ...credentials })
  const engine = new SparkEngine({ lake, url: sparkUrl(), catalog: { uri: `${server.url}/iceberg` }, files })
  onTestFinished(async () => {
    await engine.close()
    await server.close()
    store.close()
  })

  const table = await lake.create(
    { namespace: 'curated', name: 't' },
    { fields: fieldsOf({ id: t.long(), day: t.date() }), partition: [{ column: 'day', transform: { kind: 'day' } }] },
  )
  const rows = "SELECT id, date_add(DATE '2026-01-01', CAST(id % 3 AS INT)) AS day FROM range(100)"
  for (const [operation, write] of [
    ['append', rows],
    ['append', 'again'],
  ] as const) {
    const add = await engine.step(async (step) => {
      const snapshot = table.snapshot()
      const from = await step.relation(table, snapshot ? await table.files(snapshot) : [])
      return step.write(table, write === 'again' ? `SELECT id + 100 AS id, day FROM ${from}` : rows)
    })
    expect(add.map((file) => file.path.startsWith(`s3://${bucket}/shop/curated/t/data/`))).toEqual([true, true, true])
    await table.commit({ operation, add, remove: [], summary: {} })
  }
  const counted = await engine.step(async (step) =>
    step.rows(
      `SELECT count(*) AS n, sum(id) AS ids FROM ${await step.relation(table, await table.files(table.snapshot()!))}`,
    ),
  )
  expect(counted).toEqual([{ n: 200, ids: 19_900 }])
  expect(await lake.list(SCRATCH)).toEqual([])
})
