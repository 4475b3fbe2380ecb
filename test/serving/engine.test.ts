import { mkdir, mkdtemp, rm, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { SandboxEngine } from '../../src/serving/sandbox/engine.ts'
import type { SandboxQuery, SandboxRelation } from '../../src/serving/sandbox/protocol.ts'
import { writeLake } from './fixture.ts'

/** The engine of a query process, in this process: what its parent cannot be made to send. */

let engine: SandboxEngine
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'engine-'))
  await writeLake(folder)
  await mkdir(join(folder, 'tmp'))
  engine = await SandboxEngine.open({
    roots: [join(folder, 'lake')],
    temporary: join(folder, 'tmp'),
    memoryBytes: 256 * 1024 * 1024,
    temporaryBytes: 1024 * 1024,
    threads: 1,
    views: 2,
  })
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const relation = (name: string, version: string, sql: string): SandboxRelation => ({
  name,
  version,
  sql,
  columns: [{ name: 'n', json: false }],
})

async function run(sql: string, relations: SandboxRelation[], change: Partial<SandboxQuery> = {}): Promise<string> {
  const parts: Uint8Array[] = []
  const query: SandboxQuery = {
    sql,
    relations,
    parameters: [],
    format: 'arrays',
    maxRows: 1_000,
    maxBytes: 100_000,
    keys: 0,
    ...change,
  }
  await engine.query(query, async (bytes) => void parts.push(bytes))
  return Buffer.concat(parts).toString()
}

test('a relation is read as of the version asked for', async () => {
  expect(await run('from a', [relation('a', '1', '(values (1)) v(n)')])).toBe('[1]')
  // The same version means the same rows: its view is not made again.
  expect(await run('from a', [relation('a', '1', '(values (7)) v(n)')])).toBe('[1]')
  expect(await run('from a', [relation('a', '2', '(values (2)) v(n)')])).toBe('[2]')
})

test('views are forgotten, the least recently used first, and made again', async () => {
  for (const name of ['a', 'b', 'c', 'd', 'a', 'd']) {
    expect(await run(`from ${name}`, [relation(name, '5', `(values ('${name}')) v(n)`)])).toBe(`["${name}"]`)
  }
  const several = ['a', 'b', 'c'].map((name) => relation(name, '6', `(values ('${name}')) v(n)`))
  expect(await run('select a.n || b.n || c.n from a, b, c', several)).toBe('["abc"]')
})

test('only the columns of the dataset are seen', async () => {
  const hidden = relation('h', '1', '(values (1, 2)) v(n, secret)')
  expect(await run('from h', [hidden])).toBe('[1]')
  await expect(run('select secret from h', [hidden])).rejects.toMatchObject({ code: 'bad-sql' })
})

test('a relation that was not sent is refused, even when a view of it is left from before', async () => {
  await run('from a', [relation('a', '9', '(values (1)) v(n)')])
  await expect(run('from a', [])).rejects.toMatchObject({ code: 'unknown-dataset' })
})

test('the gate holds here too', async () => {
  await expect(run("from read_text('/etc/passwd')", [])).rejects.toMatchObject({ code: 'forbidden-sql' })
  await expect(run('select 1; select 2', [])).rejects.toMatchObject({ code: 'several-statements' })
})

test('files outside the roots are out of reach of DuckDB itself', async () => {
  const outside = relation('o', '1', "read_text('/etc/hostname')")
  await expect(run('from o', [outside])).rejects.toMatchObject({ kind: 'internal', code: 'relation-failed' })
})

test('files that are gone: come back later, and no path in the message', async () => {
  const path = join(folder, 'lake', 'gone.parquet')
  await expect(run('from g', [relation('g', '1', `read_parquet('${path}')`)])).rejects.toMatchObject({
    kind: 'unavailable',
    code: 'query-files',
    message: expect.not.stringContaining(folder),
  })
  // Gone between the view and the query.
  const numbers = join(folder, 'lake', 'numbers.parquet')
  await run('select count(*) from g', [relation('g', '2', `read_parquet('${numbers}')`)])
  await unlink(numbers)
  await expect(
    run('select count(*), sum(n) from g', [relation('g', '2', `read_parquet('${numbers}')`)]),
  ).rejects.toMatchObject({
    kind: 'unavailable',
  })
})

test('an answer over its limit of bytes stops', async () => {
  await expect(run("select repeat('x', 1000) from range(1000)", [], { maxBytes: 10_000 })).rejects.toMatchObject({
    kind: 'invalid',
    code: 'result-too-large',
    context: { limit: 10_000 },
  })
})
