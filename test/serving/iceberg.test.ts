import { afterEach, describe, expect, test } from 'vitest'
import { parseJson, stringifyJson } from '../../src/lake/json.ts'
import type { Lake } from '../../src/lake/lake.ts'
import type { Server } from '../../src/serving/server.ts'
import { fieldsOf, t } from '../../src/project/columns.ts'
import { appendImaginary, openLake } from '../lake/support/lake.ts'
import { serveCatalog } from '../lake/support/catalog.ts'

const servers: Server[] = []

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()))
})

/** What the catalog answers: tests know what they expect. */
// oxlint-disable-next-line typescript/no-explicit-any
type Answer = { status: number; body: any; text: string }

interface Client {
  readonly lake: Lake
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
}

async function attached(options: Parameters<typeof serveCatalog>[1] = {}): Promise<Client> {
  const lake = await openLake()
  const server = await serveCatalog(lake, options)
  servers.push(server)
  return {
    lake,
    call: async (method, path, body, headers = {}) => {
      const response = await fetch(`${server.url}/iceberg/v1${path}`, {
        method,
        headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : stringifyJson(body) }),
      })
      const text = await response.text()
      return { status: response.status, text, body: text === '' ? undefined : parseJson(text) }
    },
  }
}

const FIELDS = fieldsOf({ id: t.long(), name: t.string().nullable() })
const ID = { namespace: 'curated', name: 'sales' }
const TABLE = '/namespaces/curated/tables/sales'
const SCHEMA = { type: 'struct', fields: [{ id: 9, name: 'id', required: true, type: 'long' }] }

/** A snapshot as another engine would commit it: of the files of one that exists. */
function foreign(table: Awaited<ReturnType<Lake['create']>>, change: Record<string, unknown> = {}) {
  const last = table.view.metadata.snapshots!.at(-1)!
  return {
    action: 'add-snapshot',
    snapshot: {
      'snapshot-id': 9007199254740993n,
      'parent-snapshot-id': last['snapshot-id'],
      'sequence-number': table.view.metadata['last-sequence-number'] + 1n,
      'timestamp-ms': last['timestamp-ms'] + 1,
      summary: { operation: 'append', 'added-records': '1', 'total-records': '2' },
      'manifest-list': last['manifest-list'],
      'schema-id': 0,
      ...change,
    },
  }
}

const toMain = { action: 'set-snapshot-ref', 'ref-name': 'main', type: 'branch', 'snapshot-id': 9007199254740993n }

describe('namespaces', () => {
  test('are those with tables and those created; only empty ones go', async () => {
    const { lake, call } = await attached()
    await lake.create(ID, { fields: FIELDS })
    expect(await call('GET', '/namespaces')).toMatchObject({ status: 200, body: { namespaces: [['curated']] } })
    const created = await call('POST', '/namespaces', { namespace: ['lab'], properties: { owner: 'us' } })
    expect(created).toMatchObject({ status: 200, body: { namespace: ['lab'], properties: { owner: 'us' } } })
    expect((await call('POST', '/namespaces', { namespace: ['lab'] })).body.error).toMatchObject({
      type: 'AlreadyExistsException',
      code: 409,
    })
    expect((await call('GET', '/namespaces/lab')).body.properties).toEqual({ owner: 'us' })
    expect((await call('GET', '/namespaces')).body.namespaces).toEqual([['curated'], ['lab']])
    expect((await call('GET', '/namespaces?parent=lab')).body.namespaces).toEqual([])
    expect((await call('GET', '/namespaces?parent=none')).body.error.type).toBe('NoSuchNamespaceException')
    expect((await call('HEAD', '/namespaces/lab')).status).toBe(204)
    expect((await call('DELETE', '/namespaces/curated')).body.error.type).toBe('NamespaceNotEmptyException')
    expect((await call('DELETE', '/namespaces/lab')).status).toBe(204)
    expect((await call('HEAD', '/namespaces/lab')).status).toBe(404)
  })

  test.each([['..'], ['a/b'], ['.hidden'], ['']])('%o cannot be created', async (name) => {
    const { call } = await attached()
    expect((await call('POST', '/namespaces', { namespace: [name] })).body.error.type).toBe('BadRequestException')
    expect((await call('GET', `/namespaces/${encodeURIComponent(name)}x%1Fy`)).status).toBe(404)
  })
})

describe('tables', () => {
  test('are listed, loaded with exact ids, and dropped', async () => {
    const { lake, call } = await attached()
    const table = await lake.create(ID, { fields: FIELDS })
    await appendImaginary(table)
    await appendImaginary(table)
    expect((await call('GET', '/namespaces/curated/tables')).body).toEqual({
      identifiers: [{ namespace: ['curated'], name: 'sales' }],
    })
    const { body } = await call('GET', TABLE)
    expect(body['metadata-location']).toBe(table.metadataPath)
    expect(body.metadata).toEqual(parseJson(stringifyJson(table.view.metadata)))
    expect(body.metadata['current-snapshot-id']).toBe(table.snapshot()!.id)
    expect((await call('GET', `${TABLE}?snapshots=refs`)).body.metadata.snapshots).toHaveLength(1)
    expect((await call('HEAD', TABLE)).status).toBe(204)
    expect((await call('HEAD', `${TABLE}x`)).status).toBe(404)
    expect((await call('DELETE', `${TABLE}?purgeRequested=true`)).status).toBe(204)
    expect(await lake.list()).toEqual([])
  })

  test('are created with field ids of the catalog, or staged and created by their first commit', async () => {
    const { lake, call } = await attached()
    await call('POST', '/namespaces', { namespace: ['curated'] })
    const spec = { fields: [{ 'source-id': 9, 'field-id': 1000, name: 'part', transform: 'bucket[4]' }] }
    const request = { name: 'sales', schema: SCHEMA, 'partition-spec': spec, properties: { owner: 'them' } }
    const staged = await call('POST', '/namespaces/curated/tables', { ...request, 'stage-create': true })
    expect(staged.body['metadata-location']).toBeUndefined()
    expect(await lake.load(ID)).toBeUndefined()
    const { metadata } = staged.body
    const commit = {
      requirements: [{ type: 'assert-create' }],
      updates: [
        { action: 'assign-uuid', uuid: metadata['table-uuid'] },
        { action: 'upgrade-format-version', 'format-version': 2 },
        { action: 'add-schema', schema: metadata.schemas[0], 'last-column-id': 1 },
        { action: 'set-current-schema', 'schema-id': -1 },
        { action: 'add-spec', spec: metadata['partition-specs'][0] },
        { action: 'set-default-spec', 'spec-id': -1 },
        { action: 'add-sort-order', 'sort-order': { 'order-id': 0, fields: [] } },
        { action: 'set-default-sort-order', 'sort-order-id': -1 },
        { action: 'set-location', location: `file://${metadata.location}` },
        { action: 'set-properties', updates: { owner: 'them' } },
      ],
    }
    const created = await call('POST', TABLE, commit)
    expect(created.body.metadata).toMatchObject({ ...metadata, 'last-updated-ms': expect.any(Number) })
    const table = (await lake.load(ID))!
    expect(table.fields).toMatchObject([{ id: 1, name: 'id', type: { kind: 'long' }, nullable: false }])
    expect(table.partition).toEqual([{ column: 'id', transform: { kind: 'bucket', count: 4 }, name: 'part' }])
    expect(table.properties).toMatchObject({ owner: 'them', 'write.metadata.delete-after-commit.enabled': 'true' })
    // Whoever staged it as well has lost.
    expect((await call('POST', TABLE, commit)).body.error.type).toBe('CommitFailedException')
    expect((await call('POST', '/namespaces/curated/tables', request)).body.error.type).toBe('AlreadyExistsException')
  })

  test.each([
    [{ schema: SCHEMA, location: '/elsewhere' }, 400, 'A table of this name lies at'],
    [{ schema: SCHEMA, properties: { 'format-version': '3' } }, 406, 'Format version 3'],
    [{ schema: { fields: [{ id: 1, name: 'a', required: false, type: 'variant' }] } }, 400, "'variant' is no type"],
    [
      { schema: { fields: [] }, 'partition-spec': { fields: [{ 'source-id': 1, name: 'p', transform: 'day' }] } },
      400,
      'refers to the field 1',
    ],
    [
      { schema: SCHEMA, 'partition-spec': { fields: [{ 'source-id': 9, name: 'p', transform: 'hash' }] } },
      400,
      "'hash' is no transform",
    ],
    [{}, 400, "'schema' of the request is not an object"],
  ])('of which the catalog cannot make one are refused: %o', async (request, status, message) => {
    const { call } = await attached()
    await call('POST', '/namespaces', { namespace: ['curated'] })
    const answer = await call('POST', '/namespaces/curated/tables', { name: 'sales', ...request })
    expect(answer).toMatchObject({ status, body: { error: { code: status } } })
    expect(answer.body.error.message).toContain(message)
    expect((await call('HEAD', TABLE)).status).toBe(404)
  })

  test('of types that Millrace does not read are kept for the engines that do', async () => {
    const { call } = await attached()
    await call('POST', '/namespaces', { namespace: ['lab'] })
    const type = { type: 'map', 'key-id': 5, key: 'uuid', 'value-id': 6, value: 'timestamptz', 'value-required': false }
    const schema = { type: 'struct', fields: [{ id: 4, name: 'm', required: false, type }] }
    await call('POST', '/namespaces/lab/tables', { name: 'theirs', schema })
    const { body } = await call('GET', '/namespaces/lab/tables/theirs')
    expect(body.metadata.schemas[0].fields[0].type).toEqual({ ...type, 'key-id': 2, 'value-id': 3 })
    expect(body.metadata['last-column-id']).toBe(3)
    const changed = await call('POST', '/namespaces/lab/tables/theirs', {
      requirements: [{ type: 'assert-table-uuid', uuid: body.metadata['table-uuid'] }],
      updates: [{ action: 'set-properties', updates: { a: 'b' } }],
    })
    expect(changed.body.metadata.properties).toMatchObject({ a: 'b' })
  })
})

describe('commits', () => {
  test('compare, swap and carry on the record of the last step', async () => {
    const { lake, call } = await attached()
    const table = await lake.create(ID, { fields: FIELDS })
    const first = await appendImaginary(table, 1, { 'millrace.offsets': '[7]' })
    const requirements = [
      { type: 'assert-table-uuid', uuid: table.view.metadata['table-uuid'] },
      { type: 'assert-ref-snapshot-id', ref: 'main', 'snapshot-id': first.id },
      { type: 'assert-current-schema-id', 'current-schema-id': 0 },
      { type: 'assert-default-spec-id', 'default-spec-id': 0 },
      { type: 'assert-default-sort-order-id', 'default-sort-order-id': 0 },
      { type: 'assert-last-assigned-field-id', 'last-assigned-field-id': 2 },
      { type: 'assert-last-assigned-partition-id', 'last-assigned-partition-id': 999 },
    ]
    const commit = { requirements, updates: [foreign(table), toMain] }
    const done = await call('POST', TABLE, commit)
    expect(done.status).toBe(200)
    expect(done.text).toContain('"current-snapshot-id":9007199254740993')
    expect(table.snapshot()).toMatchObject({
      id: 9007199254740993n,
      parentId: first.id,
      summary: { 'millrace.offsets': '[7]', 'total-records': '2' },
    })
    // Ours goes on top of it.
    expect((await appendImaginary(table)).parentId).toBe(9007199254740993n)
    const late = await call('POST', TABLE, commit)
    expect(late).toMatchObject({ status: 409, body: { error: { type: 'CommitFailedException', code: 409 } } })
    expect(table.history()).toHaveLength(3)
  })

  test('that rest on a number another branch has taken meanwhile are to be made again', async () => {
    const { lake, call } = await attached()
    const table = await lake.create(ID, { fields: FIELDS })
    const main = await appendImaginary(table)
    const stale = foreign(table)
    await table.commit({ operation: 'append', add: [], remove: [], summary: {}, ref: 'work' })
    const requirements = [{ type: 'assert-ref-snapshot-id', ref: 'main', 'snapshot-id': main.id }]
    const answer = await call('POST', TABLE, { requirements, updates: [stale, toMain] })
    expect(answer.body.error.type).toBe('CommitFailedException')
  })

  test('evolve columns, partitions, order, properties, refs and expire snapshots', async () => {
    const { lake, call } = await attached()
    const table = await lake.create(ID, { fields: FIELDS, properties: { gone: 'soon' } })
    const [old, now] = [await appendImaginary(table), await appendImaginary(table)]
    const fields = [...table.view.metadata.schemas[0]!.fields, { id: 3, name: 'note', required: false, type: 'string' }]
    const answer = await call('POST', TABLE, {
      requirements: [],
      updates: [
        { action: 'add-schema', schema: { type: 'struct', 'schema-id': 1, fields } },
        { action: 'set-current-schema', 'schema-id': -1 },
        { action: 'add-spec', spec: { fields: [{ 'source-id': 3, name: 'note', transform: 'identity' }] } },
        { action: 'set-default-spec', 'spec-id': -1 },
        {
          action: 'add-sort-order',
          'sort-order': {
            fields: [{ 'source-id': 1, transform: 'identity', direction: 'asc', 'null-order': 'nulls-first' }],
          },
        },
        { action: 'set-default-sort-order', 'sort-order-id': -1 },
        { action: 'remove-properties', removals: ['gone'] },
        { action: 'set-snapshot-ref', 'ref-name': 'keep', type: 'tag', 'snapshot-id': now.id, 'max-ref-age-ms': 5 },
        { action: 'remove-snapshots', 'snapshot-ids': [old.id] },
      ],
    })
    expect(answer.status).toBe(200)
    const { metadata } = answer.body
    expect(metadata).toMatchObject({
      'current-schema-id': 1,
      'last-column-id': 3,
      'default-spec-id': 1,
      'last-partition-id': 1000,
      'default-sort-order-id': 1,
      refs: { main: { 'snapshot-id': now.id }, keep: { type: 'tag', 'snapshot-id': now.id, 'max-ref-age-ms': 5 } },
      snapshots: [{ 'snapshot-id': now.id }],
      'snapshot-log': [{ 'snapshot-id': now.id }],
    })
    expect(metadata.properties['gone']).toBeUndefined()
    expect(table.fields.map(({ name }) => name)).toEqual(['id', 'name', 'note'])
    const dropped = await call('POST', TABLE, {
      requirements: [],
      updates: [{ action: 'remove-snapshot-ref', 'ref-name': 'keep' }],
    })
    expect(Object.keys(dropped.body.metadata.refs)).toEqual(['main'])
  })

  test.each<[string, (table: Awaited<ReturnType<Lake['create']>>) => unknown, number]>([
    ['a manifest list elsewhere', (table) => foreign(table, { 'manifest-list': '/etc/passwd' }), 400],
    [
      'a manifest list that climbs out',
      (table) => foreign(table, { 'manifest-list': `${table.location}/../../x.avro` }),
      400,
    ],
    [
      'a manifest list that is not there',
      (table) => foreign(table, { 'manifest-list': `file://${table.location}/metadata/none.avro` }),
      400,
    ],
    ['a snapshot id that is taken', (table) => foreign(table, { 'snapshot-id': table.snapshot()!.id }), 400],
    ['a ref to nothing', () => toMain, 400],
    [
      'the removal of what main is at',
      (t) => ({ action: 'remove-snapshots', 'snapshot-ids': [t.snapshot()!.id] }),
      400,
    ],
    ['another place', () => ({ action: 'set-location', location: '/elsewhere' }), 400],
    ['another identity', () => ({ action: 'assign-uuid', uuid: '00000000-0000-4000-8000-000000000000' }), 400],
    ['format version 3', () => ({ action: 'upgrade-format-version', 'format-version': 3 }), 406],
    ['statistics files', () => ({ action: 'set-statistics', statistics: {} }), 406],
    ['a schema nobody added', () => ({ action: 'set-current-schema', 'schema-id': -1 }), 400],
    ['no action', () => ({}), 400],
  ])('with %s are refused and change nothing', async (_what, update, status) => {
    const { lake, call } = await attached()
    const table = await lake.create(ID, { fields: FIELDS })
    await appendImaginary(table)
    const before = table.metadataPath
    expect(await call('POST', TABLE, { requirements: [], updates: [update(table)] })).toMatchObject({
      status,
      body: { error: { code: status } },
    })
    expect(table.metadataPath).toBe(before)
  })
})

describe('tables of the project', () => {
  const managed = { managed: ['curated'] }

  test('take rows from outside, not another shape, another owner or delete files', async () => {
    const { lake, call } = await attached(managed)
    const table = await lake.create(ID, { fields: FIELDS })
    await appendImaginary(table)
    const schema = { type: 'struct', fields: table.view.metadata.schemas[0]!.fields }
    for (const update of [
      { action: 'add-schema', schema },
      { action: 'set-properties', updates: { 'millrace.dataset': 'other' } },
      { action: 'remove-properties', removals: ['millrace.json-fields'] },
      { action: 'set-snapshot-ref', 'ref-name': 'candidate', type: 'branch', 'snapshot-id': table.snapshot()!.id },
      foreign(table, { summary: { operation: 'delete', 'added-delete-files': '1' } }),
    ]) {
      const refused = await call('POST', TABLE, { requirements: [], updates: [update] })
      expect(refused).toMatchObject({ status: 403, body: { error: { type: 'ForbiddenException' } } })
    }
    const second = await appendImaginary(table)
    const back = { ...toMain, 'snapshot-id': second.parentId }
    for (const update of [back, { action: 'remove-snapshot-ref', 'ref-name': 'main' }]) {
      const refused = await call('POST', TABLE, { requirements: [], updates: [update] })
      expect(refused.body.error.message).toContain('forward only')
    }
    expect((await call('DELETE', TABLE)).status).toBe(403)
    const { status } = await call('POST', TABLE, { requirements: [], updates: [foreign(table), toMain] })
    expect(status).toBe(200)
  })

  test('whose snapshots are audited first take none from outside', async () => {
    const { lake, call } = await attached(managed)
    const table = await lake.create(ID, { fields: FIELDS })
    await appendImaginary(table)
    await table.commit({ operation: 'append', add: [], remove: [], summary: {}, ref: 'candidate' })
    const refused = await call('POST', TABLE, { requirements: [], updates: [foreign(table), toMain] })
    expect(refused.body.error.message).toContain('audited before they are published')
  })
})

test('everything needs the token, and errors are in the catalog’s own form', async () => {
  const { call } = await attached({ token: 'secret' })
  const denied = await call('GET', '/config')
  expect(denied).toMatchObject({ status: 401, body: { error: { type: 'NotAuthorizedException', code: 401 } } })
  const headers = { authorization: 'Bearer secret' }
  const { body } = await call('GET', '/config', undefined, headers)
  expect(body).toMatchObject({ defaults: {}, overrides: {} })
  expect(body.endpoints).toContain('POST /v1/{prefix}/namespaces/{namespace}/tables/{table}')
  expect((await call('POST', '/namespaces', '{"namespace": [', headers)).body.error.type).toBe('BadRequestException')
  const rename = await call('POST', '/tables/rename', {}, headers)
  expect(rename).toMatchObject({ status: 406, body: { error: { type: 'UnsupportedOperationException' } } })
  expect((await call('GET', '/namespaces/none/tables', undefined, headers)).body.error.type).toBe(
    'NoSuchNamespaceException',
  )
})
