import type { DuckDBConnection } from '@duckdb/node-api'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { removeOrphans } from '../../src/lake/orphans.ts'
import { expireSnapshots } from '../../src/lake/expire.ts'
import type { Lake } from '../../src/lake/lake.ts'
import { fieldsOf, t } from '../../src/project/columns.ts'
import { requestChannel } from '../../src/serving/server.ts'
import type { RequestEvent, Server } from '../../src/serving/server.ts'
import { EVENTS, get, lines, post, project, folder, serve, until } from '../cli/support.ts'
import { serveCatalog } from '../lake/support/catalog.ts'
import { append, openDuckdb, query, relation } from '../lake/support/duckdb.ts'
import { openLake, steppedClock } from '../lake/support/lake.ts'
import { canonicalRows } from './canonical.ts'
import { PyIcebergClient } from './readers/reader.ts'

let duckdb: DuckDBConnection
const opened: { close(): unknown }[] = []

beforeAll(async () => {
  duckdb = await openDuckdb()
})
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close()
})
afterAll(() => duckdb.closeSync())

async function attached(lake: Lake, token?: string): Promise<PyIcebergClient> {
  const server: Server = await serveCatalog(lake, token === undefined ? {} : { token })
  const client = new PyIcebergClient(`${server.url}/iceberg`, token)
  opened.push(client, server)
  return client
}

/** The ids that Millrace sees in a table. */
async function ids(lake: Lake, name: string): Promise<string[]> {
  const table = (await lake.load({ namespace: 'lab', name }))!
  await table.refresh()
  const rows = await query(duckdb, `SELECT id FROM ${await relation(table)} ORDER BY id`)
  return rows.map(({ id }) => String(id))
}

const rows = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({ id: from + i, name: i % 3 === 0 ? null : `n${from + i}` }))

describe('PyIceberg through the catalog', () => {
  test('makes, fills, changes and drops tables, and Millrace reads what it wrote', async () => {
    const lake = await openLake()
    const client = await attached(lake, 'secret')
    expect(await client.do('create_namespace', { namespace: 'lab', properties: { owner: 'us' } })).toEqual({
      properties: { owner: 'us' },
    })
    await client.do('create', { table: 'lab.t', partition: ['identity'] })
    await client.do('append', { table: 'lab.t', batches: [rows(0, 3), [{ id: 2n ** 53n + 1n, name: 'wide' }]] })
    expect(await ids(lake, 't')).toEqual(['0', '1', '2', '9007199254740993'])
    await client.do('overwrite', { table: 'lab.t', rows: rows(1, 1), filter: 'id = 1' })
    await client.do('delete', { table: 'lab.t', filter: 'id = 0' })
    expect(await ids(lake, 't')).toEqual(['1', '2', '9007199254740993'])
    await client.do('evolve', { table: 'lab.t' })
    const table = (await lake.load({ namespace: 'lab', name: 't' }))!
    expect(table.fields.map(({ name }) => name)).toEqual(['id', 'name', 'note'])
    expect(table.partition.map(({ column }) => column)).toEqual(['id', 'name'])
    expect(await client.do('branch', { table: 'lab.t', rows: [{ id: 50, name: 'b', note: 'x' }] })).toEqual({
      refs: ['main', 'mark', 'work'],
    })
    expect(await ids(lake, 't')).toHaveLength(3)
    await table.refresh()
    await table.setRef('main', table.refs['work'])
    expect((await client.read('lab.t', 'id = 50')).rows).toEqual([{ id: '50', name: 'b', note: 'x' }])
    await client.do('create_with_rows', { table: 'lab.u', rows: rows(7, 2) })
    expect(await ids(lake, 'u')).toEqual(['7', '8'])
    expect(await client.do('tables', { namespace: 'lab' })).toEqual({ tables: ['lab.t', 'lab.u'] })
    await expect(client.do('drop_namespace', { namespace: 'lab' })).rejects.toThrow('NamespaceNotEmpty')
    for (const name of ['lab.t', 'lab.u']) await client.do('drop', { table: name })
    await client.do('drop_namespace', { namespace: 'lab' })
    expect(await client.do('namespaces')).toEqual({ namespaces: [] })
    await expect(client.read('lab.t')).rejects.toThrow('NoSuchTable')
  })

  test('reads what Millrace wrote; expiry and removal of orphans keep what either wrote', async () => {
    const clock = steppedClock(Date.now())
    const lake = await openLake({ clock })
    const client = await attached(lake)
    const fields = fieldsOf({ id: t.long(), name: t.string().nullable() })
    const table = await lake.create({ namespace: 'lab', name: 'both' }, { fields })
    for (let i = 0; i < 3; i++) {
      await append(duckdb, table, `SELECT ${i * 10}::BIGINT AS id, 'ours' AS name`)
      await client.do('append', { table: 'lab.both', batches: [rows(i * 10 + 1, 2)] })
    }
    clock.step(2 * 86_400_000)
    await expireSnapshots(table, { keepLast: 1, maxAgeMs: 0 })
    await removeOrphans(table, 86_400_000)
    const expected = ['0', '1', '2', '10', '11', '12', '20', '21', '22']
    expect(await ids(lake, 'both')).toEqual(expected)
    const theirs = await client.read('lab.both')
    const ours = await query(duckdb, `SELECT * FROM ${await relation(table)}`)
    expect(canonicalRows(theirs.rows, table.fields)).toEqual(canonicalRows(ours, table.fields))
  })

  test('and Millrace append at once: nothing is lost, nothing is there twice', async () => {
    const lake = await openLake()
    const fields = fieldsOf({ id: t.long(), name: t.string().nullable() })
    const table = await lake.create({ namespace: 'lab', name: 'race' }, { fields })
    const clients = [await attached(lake), await attached(lake)]
    let conflicts = 0
    const count = (message: unknown): void => void (conflicts += (message as RequestEvent).status === 409 ? 1 : 0)
    requestChannel.subscribe(count)
    const theirs = clients.map((client, k) =>
      client.do('append', {
        table: 'lab.race',
        batches: Array.from({ length: 8 }, (_, i) => rows(1000 * (k + 1) + i * 10, 10)),
      }),
    )
    let done = false
    const all = Promise.all(theirs).finally(() => (done = true))
    let ours = 0
    // As a lane commits: not without a pause, which would leave nobody else a chance.
    for (; !done; await systemClock.sleep(200))
      await append(duckdb, table, `SELECT ${ours++}::BIGINT AS id, 'ours' AS name`)
    await all
    requestChannel.unsubscribe(count)
    expect(conflicts).toBeGreaterThan(0)
    const found = await ids(lake, 'race')
    const expected = [...Array(ours).keys(), ...[1, 2].flatMap((k) => [...Array(80).keys()].map((i) => 1000 * k + i))]
    expect(found).toEqual(expected.map(String))
  })
})

test('a running project takes rows from PyIceberg between its own, and goes on where it was after a restart', async () => {
  const root = project({
    'events.ts': EVENTS['events.ts'],
  })
  const data = folder()
  let { running, url } = await serve(root, data)
  const client = new PyIcebergClient(`${url}/iceberg`)
  opened.push(client)
  const event = (id: number) => lines({ id: String(id), kind: 'a', amount: '1.00' })
  const seen = () => get(url, '/v1/datasets')
  const settled = (rowCount: number) =>
    until(seen, ({ datasets }) => datasets[0].rows === rowCount && datasets[0].lag === 0)
  await post(url, '/v1/streams/events', event(1))
  await settled(1)
  const { rows: template } = await client.read('processed.events')
  expect(template).toHaveLength(1)
  await client.do('append_copies', { table: 'processed.events', column: 'id', values: ['x', 'y'] })
  await post(url, '/v1/streams/events', event(2))
  await settled(4)
  await expect(client.do('evolve', { table: 'processed.events' })).rejects.toThrow('belongs to the project')
  await expect(client.do('drop', { table: 'processed.events' })).rejects.toThrow('belongs to the project')
  await client.do('append_copies', { table: 'processed.events', column: 'id', values: ['z'] })
  client.close()
  await running.kill('SIGTERM')
  ;({ running, url } = await serve(root, data))
  await post(url, '/v1/streams/events', event(2) + event(3))
  const { datasets } = await settled(6)
  expect(datasets[0]).toMatchObject({ received: 4, accepted: 3, duplicates: 1 })
  const sql = JSON.stringify({ sql: 'select id from events order by id' })
  const { body } = await post(url, '/v1/sql', sql, 'application/json')
  expect(body.rows.flat()).toEqual(['1', '2', '3', 'x', 'y', 'z'])
  await running.kill('SIGTERM')
})
