import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MillraceError } from '../../src/base/errors.ts'
import { SandboxEngine } from '../../src/serving/sandbox/engine.ts'
import { isScalarFunctionAllowed, isTableFunctionAllowed } from '../../src/serving/sandbox/functions.ts'

let engine: SandboxEngine
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gate-'))
  engine = await SandboxEngine.open({
    roots: [folder],
    temporary: join(folder, 'tmp'),
    memoryBytes: 256 * 1024 * 1024,
    temporaryBytes: 1024 * 1024,
    threads: 1,
    views: 10,
  })
})

afterAll(() => rm(folder, { recursive: true, force: true }))

async function refusal(sql: string): Promise<MillraceError> {
  const error: unknown = await engine.analyse(sql).then(
    (analysis) => new Error(`let pass: ${sql} ${JSON.stringify(analysis)}`),
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof MillraceError)) throw error
  return error
}

const tablesOf = async (sql: string) => (await engine.analyse(sql)).tables.map((table) => table.name)

describe('finds the relations of a query', () => {
  test.each([
    ['select 1', []],
    ['from orders', ['orders']],
    ['table orders', ['orders']],
    ['select * from orders a join customers b using (id)', ['orders', 'customers']],
    ['select (select max(x) from a), exists(from b) from c where x in (from d)', ['c', 'a', 'b', 'd']],
    ['select * from a union all select * from b', ['a', 'b']],
    ['select * from a, lateral (select * from b where b.x = a.x)', ['a', 'b']],
    ['describe orders', ['orders']],
    ['summarize orders', ['orders']],
    ['select * from (describe orders)', ['orders']],
    ['pivot orders on kind in (1, 2) using sum(x)', ['orders']],
    ['unpivot orders on a, b', ['orders']],
    ['select * from range(3) r, unnest([1, 2]) u', []],
    ['select * from generate_series(1, (select max(a) from b))', ['b']],
    ['select * from a order by (select 1 from b)', ['a', 'b']],
    ['select sum(x) over (partition by (select 1 from b)) from a', ['a', 'b']],
    [
      'select x from a group by x having x > (select 1 from b) qualify row_number() over () = (select 1 from c)',
      ['a', 'b', 'c'],
    ],
    ['select x from a limit (select 1 from b) offset (select 1 from c)', ['a', 'b', 'c']],
    ['select list_transform([1], y -> (select 1 from a))', ['a']],
    ['select * from (values ((select 1 from a)))', ['a']],
    ['select case when (select true from a) then 1 end', ['a']],
    ['select columns(x -> x = (select 1 from a)) from b', ['b', 'a']],
    ['select * replace ((select 1 from a) as x) from b', ['b', 'a']],
    ['select distinct on ((select 1 from a)) * from b', ['a', 'b']],
  ])('%s', async (sql, tables) => {
    expect((await tablesOf(sql)).toSorted()).toEqual(tables.toSorted())
  })
})

describe('keeps the scopes of WITH apart', () => {
  test.each([
    ['with c as (select 1) select * from c', []],
    ['with c as (select * from c) select * from c', ['c']],
    ['with recursive c as (select 1 as n union all select n + 1 from c) select * from c', []],
    ['with recursive c(n) using key (n) as (select 1 union select n + 1 from recurring.c) select * from c', []],
    ['with a as (select * from b), b as (select 1) select * from a, b', ['b']],
    ['with a as (select 1), b as (select * from a) select * from b', []],
    ['select * from (with a as (select 1) select * from a) x, a', ['a']],
    ['with A as (select 1) select * from a', []],
    ['with a as (select 1) select * from (select * from (from a))', []],
    ['with a as materialized (select 1) select * from a union select * from a', []],
    ['(with a as (select 1) from a) union all (from a)', ['a']],
  ])('%s', async (sql, tables) => {
    expect(await tablesOf(sql)).toEqual(tables)
  })

  test('a WITH name cannot lend itself to a file', async () => {
    const error = await refusal('select * from (with "/etc/passwd" as (select 1) select 1) x, "/etc/passwd"')
    expect(error.code).toBe('forbidden-sql')
    expect(error.message).toContain("A WITH name like '/etc/passwd' is not allowed")
  })
})

test('property: what is forbidden is found wherever it hides, however deep', async () => {
  const cores = [
    "from '/etc/passwd'",
    "from read_text('/etc/passwd')",
    "select getenv('HOME') as x",
    'from information_schema.tables',
  ]
  const hides: ((inner: string) => string)[] = [
    (inner) => `select * from (${inner}) t`,
    (inner) => `with a as (${inner}) select * from a`,
    (inner) => `with a as materialized (${inner}), b as (select 1) select * from b`,
    (inner) => `with recursive a as ((${inner}) union all (select * from a)) select * from a`,
    (inner) => `select (from (${inner}) limit 1) as x`,
    (inner) => `select 1 as x where exists (${inner})`,
    (inner) => `select 1 as x where 1 in (${inner})`,
    (inner) => `select * from (select 1 as y) o, lateral (${inner}) t`,
    (inner) => `(${inner}) union all (select 1)`,
    (inner) => `(select 1) except (${inner})`,
    (inner) => `select list_transform([1], y -> (from (${inner}) limit 1)) as x`,
    (inner) => `select case when true then (from (${inner}) limit 1) end as x`,
    (inner) => `select sum(1) over (order by (from (${inner}) limit 1)) as x`,
    (inner) => `select sum(1) filter (where (from (${inner}) limit 1) is null) as x`,
    (inner) => `select 1 as x order by (from (${inner}) limit 1)`,
    (inner) => `select 1 as x limit (from (${inner}) limit 1)`,
    (inner) => `select {'k': [(from (${inner}) limit 1)]} as x`,
    (inner) => `from (values ((from (${inner}) limit 1))) v(x)`,
    (inner) => `from range((from (${inner}) limit 1))`,
    (inner) => `select * from (describe ${inner}) t`,
    (inner) => `from (select 1 as x) o left join (${inner}) t on true`,
    (inner) => `select 1 as x group by (from (${inner}) limit 1)`,
    (inner) => `select 1 as x having (from (${inner}) limit 1) is null`,
    (inner) => `select cast((from (${inner}) limit 1) as varchar) as x`,
  ]
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...cores),
      fc.array(fc.constantFrom(...hides), { maxLength: 6 }),
      async (core, path) => {
        const sql = path.reduce((inner, hide) => hide(inner), core)
        const found: unknown = await engine.analyse(sql).then(
          ({ tables }) => tables.some((table) => table.name === '/etc/passwd'),
          (error: unknown) => (error instanceof MillraceError ? error.code : error),
        )
        // Some nestings, such as a window in a window, are no SQL.
        fc.pre(found !== 'bad-sql')
        expect([true, 'forbidden-sql'], sql).toContain(found)
      },
    ),
    { numRuns: 400 },
  )
})

describe('refuses', () => {
  test.each([
    "copy orders to 'x.csv'",
    "copy (select 1) to 'x.csv'",
    "attach 'x.db'",
    'detach memory',
    'install httpfs',
    'load httpfs',
    'set threads = 1',
    'reset threads',
    'pragma database_list',
    'pragma show_tables',
    'call duckdb_settings()',
    'create table x as select 1',
    'create macro f() as 1',
    'create secret s (type s3)',
    'insert into orders values (1)',
    'update orders set x = 1',
    'delete from orders',
    'drop view orders',
    'prepare p as select 1',
    'execute p',
    'explain select 1',
    'explain analyze select 1',
    'checkpoint',
    'begin',
    'vacuum',
    "export database 'x'",
    "import database 'x'",
    'use memory',
    'analyze',
    'alter table orders add column x int',
    'truncate orders',
    'pivot orders on kind using sum(x)',
    'comment on table orders is null',
    'merge into orders using orders on true when matched then delete',
  ])('%s', async (sql) => {
    const error = await refusal(sql)
    expect(error.kind).toBe('invalid')
    expect(['not-a-query', 'bad-sql']).toContain(error.code)
  })

  test.each([
    ['show tables', 'SHOW'],
    ['show databases', 'SHOW'],
    ['describe', 'SHOW'],
    ['select * from (show all tables)', 'SHOW'],
    ["select * from read_text('/etc/passwd')", 'read_text()'],
    ["select * from READ_TEXT('/etc/passwd')", 'read_text()'],
    ["select * from system.main.read_text('/etc/passwd')", 'read_text()'],
    ["from read_parquet('x')", 'read_parquet()'],
    ["select (select content from read_blob('x'))", 'read_blob()'],
    ["with a as (from glob('*')) from a", 'glob()'],
    ["select 1 where exists (from sniff_csv('x'))", 'sniff_csv()'],
    ["from a, lateral (from query('select 1'))", 'query()'],
    ["from query_table('orders')", 'query_table()'],
    ['from duckdb_settings()', 'duckdb_settings()'],
    ['from duckdb_secrets()', 'duckdb_secrets()'],
    ["from pragma_table_info('x')", 'pragma_table_info()'],
    ["from json_execute_serialized_sql('{}')", 'json_execute_serialized_sql()'],
    ["from parquet_metadata('x')", 'parquet_metadata()'],
    ['from enable_logging()', 'enable_logging()'],
    ['from checkpoint()', 'checkpoint()'],
    ["select getenv('HOME')", 'getenv()'],
    ["select GetEnv('HOME')", 'getenv()'],
    ["select main.getenv('HOME')", 'getenv()'],
    ["select ('HOME').getenv()", 'getenv()'],
    ["select current_setting('temp_directory')", 'current_setting()'],
    ["select list_transform(['a'], x -> current_setting(x))", 'current_setting()'],
    ["select getvariable('x')", 'getvariable()'],
    ["select write_log('x')", 'write_log()'],
    ['select version()', 'version()'],
    ["select nextval('x')", 'nextval()'],
    ["select json_serialize_sql('select 1')", 'json_serialize_sql()'],
    ['select sleep_ms(1000)', 'sleep_ms()'],
    ["select 1 order by current_setting('x')", 'current_setting()'],
    ["select sum(1) filter (where getenv('x') = '')", 'getenv()'],
    ['select * from information_schema.tables', "'information_schema.tables'"],
    ['select * from pg_catalog.pg_class', "'pg_catalog.pg_class'"],
    ['select * from main.orders', "'main.orders'"],
    ['select * from memory.main.orders', "'memory.main.orders'"],
    ['select * from recurring.orders', "'recurring.orders'"],
    ['select * from orders at (version => 1)', 'AT'],
  ])('%s', async (sql, what) => {
    const error = await refusal(sql)
    expect(error).toMatchObject({ kind: 'invalid', code: 'forbidden-sql' })
    expect(error.message.toLowerCase()).toContain(what.toLowerCase())
    expect(error.hint).toBeTruthy()
  })

  test.each([
    'select 1; select 2',
    'select 1; drop table x',
    'select 1; -- x\n select 2',
    'select 1 ; set threads = 1',
  ])('several statements: %s', async (sql) => {
    expect(['several-statements', 'not-a-query']).toContain((await refusal(sql)).code)
  })

  test.each(['', '  ', '-- nothing', ';;', '/* select 1 */'])('no statement: %j', async (sql) => {
    expect((await refusal(sql)).message).toBe('The SQL holds no statement.')
  })

  test('one statement with a semicolon and comments is one', async () => {
    expect(await tablesOf('/* a; b */ select * from orders; -- done; really')).toEqual(['orders'])
  })

  test('says where a syntax error is', async () => {
    const error = await refusal('select 1\nfrom a\nwhere wher x')
    expect(error.code).toBe('bad-sql')
    expect(error.message).toMatch(/^Line 3, column 12: syntax error at or near "x"\.$/)
  })

  test('nesting beyond what the parser takes', async () => {
    const error = await refusal(`select ${'('.repeat(50_000)}1${')'.repeat(50_000)}`)
    expect(error.code).toBe('bad-sql')
  })
})

test.each([
  ['select now()', false],
  ['select current_date', false],
  ['select CURRENT_TIMESTAMP', false],
  ['select x + random() from a', false],
  ['select ago(interval 1 day)', false],
  ['select uuid()', false],
  ['select * from a using sample 10%', false],
  ['select * from a tablesample 10%', false],
  ['select 1', true],
  ['select sum(x), list_avg([1]), split_part(y, z, 1) from a group by all order by 1', true],
])('tells whether an answer can be kept: %s', async (sql, stable) => {
  expect((await engine.analyse(sql)).stable).toBe(stable)
})

test('every function of DuckDB is on the list of those looked at, or refused', async () => {
  const looked = new Set((await readFile(new URL('functions-allowed.txt', import.meta.url), 'utf8')).split('\n'))
  const connection = await (await DuckDBInstance.create(':memory:')).connect()
  const functions = await connection.runAndReadAll(
    'select distinct function_name, function_type from duckdb_functions()',
  )
  const allowed = functions
    .getRows()
    .map(([name, type]) => ({ name: String(name), type: String(type) }))
    .filter(({ name, type }) =>
      type === 'table' || type === 'table_macro'
        ? isTableFunctionAllowed(name)
        : type !== 'pragma' && isScalarFunctionAllowed(name),
    )
    .map(({ name }) => name)
  expect(allowed.filter((name) => !looked.has(name))).toEqual([])
})

test('table functions that are not on the allow-list are refused, all of them', async () => {
  const connection = await (await DuckDBInstance.create(':memory:')).connect()
  const functions = await connection.runAndReadAll(
    "select distinct function_name from duckdb_functions() where function_type in ('table', 'table_macro')",
  )
  const names = functions.getRows().map(([name]) => String(name))
  expect(names.length).toBeGreaterThan(80)
  for (const name of names.filter((each) => !isTableFunctionAllowed(each))) {
    expect((await refusal(`select * from "${name}"('x')`)).code, name).toBe('forbidden-sql')
  }
})
