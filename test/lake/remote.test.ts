// Another catalog that does not want us, or not like this.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { Lake } from '../../src/lake/lake.ts'
import type { CatalogConfig } from '../../src/lake/remote/config.ts'
import { fieldsOf, t } from '../../src/project/columns.ts'
import { serveCatalog } from './support/catalog.ts'
import { openRemote } from './support/catalog-home.ts'
import { Gateway } from './support/gateway.ts'
import { diskHome } from './support/home.ts'
import { appendImaginary, newRoot, useHome } from './support/lake.ts'

useHome({ ...diskHome, wantsFiles: true })

const ID = { namespace: 'curated', name: 'sales' }
const FIELDS = fieldsOf({ id: t.long(), name: t.string().nullable() })

let root: string
let theirs: Lake
let gateway: Gateway
let config: CatalogConfig

beforeEach(async () => {
  root = await newRoot()
  theirs = new Lake({ root })
  const server = await serveCatalog(theirs)
  gateway = await Gateway.open(`${server.url}/iceberg`)
  config = { uri: gateway.uri, warehouse: 'w1', credential: 'shop:Pa:55word' }
  onTestFinished(async () => {
    await gateway.close()
    await server.close()
  })
})

const open = (changes: Partial<CatalogConfig> = {}, at = root): Promise<Lake> =>
  openRemote(at, { ...config, ...changes }, { patienceMs: 300 })

test('speaks below the prefix, pages through lists, and renews its token before it ends', async () => {
  gateway.lifeSeconds = 0.2
  const lake = await open()
  for (const name of ['b', 'a', 'c']) await lake.create({ namespace: 'one', name }, { fields: FIELDS })
  await lake.namespaces.create('two', { owner: 'ours' })
  await lake.namespaces.create('three', {})
  expect(await lake.list()).toEqual(['a', 'b', 'c'].map((name) => ({ namespace: 'one', name })))
  expect(await lake.list('none')).toEqual([])
  expect(await lake.namespaces.list()).toEqual(['one', 'three', 'two'])
  expect(await lake.namespaces.load('two')).toEqual({ owner: 'ours' })
  expect(await lake.namespaces.load('four')).toBeUndefined()
  await expect(lake.namespaces.create('two', {})).rejects.toMatchObject({ code: 'namespace-exists' })
  await expect(lake.namespaces.drop('one')).rejects.toMatchObject({ code: 'namespace-not-empty' })
  expect([await lake.namespaces.drop('two'), await lake.namespaces.drop('two')]).toEqual([true, false])
  const tokens = gateway.tokens.length
  await new Promise((resolve) => setTimeout(resolve, 200))
  await lake.list()
  expect(gateway.tokens.length).toBe(tokens + 1)
  // Taken back before its time.
  gateway.tokens.push('another')
  const table = (await lake.load({ namespace: 'one', name: 'a' }))!
  await appendImaginary(table)
  expect(table.history()).toHaveLength(1)
})

async function closedPort(): Promise<string> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return `http://127.0.0.1:${port}`
}

const UNTOLD = /55word|token-\d/

test.each([
  ['a catalog that is not there', { uri: await closedPort() }, 'catalog-unavailable', /ECONNREFUSED/],
  ['no login', { credential: undefined }, 'catalog-login', /does not know who is asking/],
  ['a wrong token', { credential: undefined, token: 'Pa:55word' }, 'catalog-login', /does not know/],
  ['a wrong secret', { credential: 'shop:Pa:55wordy' }, 'catalog-login', /invalid_client/],
  ['no warehouse', { warehouse: undefined }, 'catalog-refused', /404.*its configuration/],
  ['a warehouse that is not there', { warehouse: 'w2' }, 'catalog-refused', /warehouse 'w2'.*no such warehouse/],
])('%s: an error that says so, and no secret', async (_what, changes, code, message) => {
  const defined = Object.fromEntries(
    Object.entries({ ...config, ...changes }).filter(([, value]) => value !== undefined),
  ) as unknown as CatalogConfig
  const error: Error & { code: string; hint: string } = await openRemote(root, defined, { patienceMs: 300 }).then(
    () => expect.fail('it opened'),
    (thrown: unknown) => thrown as never,
  )
  expect(error).toMatchObject({
    code,
    message: expect.stringMatching(message),
    hint: expect.stringContaining('lake.catalog'),
  })
  expect(`${error.message} ${JSON.stringify(error)} ${String(error.cause)}`).not.toMatch(UNTOLD)
})

test('something else at the address', async () => {
  const other = createServer((_request, response) => void response.end('<html>hello</html>'))
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void other.close())
  const uri = `http://127.0.0.1:${(other.address() as AddressInfo).port}`
  await expect(openRemote(root, { uri }, { patienceMs: 300 })).rejects.toMatchObject({
    code: 'catalog-unavailable',
    message: expect.stringContaining('not that of an Iceberg REST catalog'),
  })
})

test('a lake that lies elsewhere than the catalog keeps its tables', async () => {
  const elsewhere = await open({}, await newRoot())
  await expect(elsewhere.create(ID, { fields: FIELDS })).rejects.toMatchObject({
    code: 'catalog-refused',
    message: expect.stringContaining('creating curated.sales'),
    hint: expect.stringContaining('bucket and prefix, or path'),
  })
  expect(await theirs.list()).toEqual([])
  await theirs.create(ID, { fields: FIELDS })
  await expect(elsewhere.load(ID)).rejects.toMatchObject({
    code: 'table-elsewhere',
    message: expect.stringContaining(root),
  })
})

test('a table that Millrace did not make', async () => {
  const lake = await open()
  const created = await fetch(`${gateway.uri}/v1/ws/w1/namespaces`, {
    method: 'POST',
    headers: { authorization: `Bearer ${gateway.tokens.at(-1)}`, 'content-type': 'application/json' },
    body: JSON.stringify({ namespace: ['curated'] }),
  })
  expect(created.status).toBe(200)
  const schema = { type: 'struct', fields: [{ id: 1, name: 'amount', required: false, type: 'long' }] }
  await fetch(`${gateway.uri}/v1/ws/w1/namespaces/curated/tables`, {
    method: 'POST',
    headers: { authorization: `Bearer ${gateway.tokens.at(-1)}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'sales', schema }),
  })
  const table = (await lake.load(ID))!
  await expect(table.evolve(FIELDS)).rejects.toMatchObject({
    code: 'incompatible-schema',
    message: expect.stringContaining('amount'),
    hint: expect.stringContaining('Millrace did not make curated.sales'),
  })
})
