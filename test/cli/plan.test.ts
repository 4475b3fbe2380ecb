import { readdirSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { SHOP, folder, millrace, project, write } from './support.ts'

const STREAM = "import { check, endpoint, sql, stream, t, table } from 'millrace'\n"

/** Each mistake with what plan says of it, in the order of the lines. */
const MISTAKES: readonly {
  name: string
  files: Record<string, string>
  says: readonly (string | RegExp)[]
  code: string
}[] = [
  {
    name: 'a typo in a column',
    files: {
      'a.ts': `${STREAM}export const orders = stream('orders', { columns: { id: t.string(), at: t.timestamp() }, time: 'att' as 'at' })`,
    },
    says: [
      "error: stream 'orders': time names column 'att', which stream 'orders' does not have.",
      /where .*a\.ts:2/,
      "hint  Did you mean 'at'?",
    ],
    code: 'unknown-column',
  },
  {
    name: 'a handler of something that is no dataset',
    files: {
      'a.ts':
        "import { onChange } from 'millrace'\nconst orders = undefined\nexport const notify = onChange(orders!, () => {}, { name: 'notify' })",
    },
    says: [
      "a.ts: handler 'notify': what it is to follow is undefined.",
      /where .*a\.ts:3/,
      'hint  Name a stream or table by the variable that declares it.',
    ],
    code: 'not-a-dataset',
  },
  {
    name: 'two handlers of one name',
    files: {
      'a.ts': `${STREAM.replace('endpoint', 'onChange')}export const orders = stream('orders', { columns: { id: t.string() } })\nexport const a = onChange(orders, () => {}, { name: 'notify' })\nexport const b = onChange(orders, () => {}, { name: 'notify' })`,
    },
    says: ["Two handlers are called 'notify'", /a\.ts:3\./, /where .*a\.ts:4/, 'hint  Rename one of them.'],
    code: 'duplicate-name',
  },
  {
    name: 'a cycle',
    files: {
      'a.ts':
        "import { sql, table } from 'millrace'\nimport { b } from './b.ts'\nexport const a = table('a', { sql: sql`select * from ${b}` })",
      'b.ts':
        "import { sql, table } from 'millrace'\nimport { a } from './a.ts'\nexport const b = table('b', { sql: sql`select * from ${a}` })",
    },
    says: ["Cannot access 'a' before initialization", /where .*b\.ts:3/, 'Two files import each other'],
    code: 'cycle',
  },
  {
    name: 'two datasets of one name',
    files: {
      'a.ts': `${STREAM}export const a = stream('orders', { columns: { id: t.string() } })\nexport const b = stream('orders', { columns: { id: t.string() } })`,
    },
    says: ["Two datasets are called 'orders'", /a\.ts:2\./, /where .*a\.ts:3/, 'hint  Rename one of them.'],
    code: 'duplicate-name',
  },
  {
    name: 'a check on a missing column of a stream',
    files: {
      'a.ts': `${STREAM}export const orders = stream('orders', { columns: { quantity: t.int() }, checks: [check.range('quantit', { min: 1 })] })`,
    },
    says: ["check range(quantit) names column 'quantit'", "Did you mean 'quantity'?"],
    code: 'unknown-column',
  },
  {
    name: 'a check on a column that the query of a table does not return',
    files: {
      'a.ts': `${STREAM}export const orders = stream('orders', { columns: { id: t.string() } })\nexport const x = table('x', { sql: sql\`select id as other from \${orders}\`, checks: [check.unique('id')] })`,
    },
    says: [
      "table 'x': check unique(id) names column 'id', which the query does not return.",
      /where .*a\.ts:3/,
      'It returns other.',
    ],
    code: 'unknown-column',
  },
  {
    name: 'SQL that does not bind',
    files: {
      'a.ts': `${STREAM}export const orders = stream('orders', { columns: { id: t.string() } })\nexport const x = table('x', { sql: sql\`select idd from \${orders}\` })`,
    },
    says: ["table 'x', sql: Binder error", '"idd"', /where .*a\.ts:3/, "Did you mean 'id'?"],
    code: 'bad-sql',
  },
  {
    name: 'SQL that does not parse, in an endpoint',
    files: {
      'a.ts': `${STREAM}export const orders = stream('orders', { columns: { id: t.string() } })\nexport const e = endpoint('e', { sql: sql\`selec id from \${orders}\` })`,
    },
    says: ["endpoint 'e', sql: Parser error", /where .*a\.ts:3/],
    code: 'bad-sql',
  },
  {
    name: 'an import of something the SDK does not have',
    files: { 'a.ts': "import { strem } from 'millrace'\nexport const a = strem" },
    says: ["'millrace' does not provide an export named 'strem'", /where .*a\.ts:1/, "Did you mean 'stream'?"],
    code: 'bad-project-file',
  },
  {
    name: 'an import of something another file does not have',
    files: {
      'a.ts': "import { ordres } from './b.ts'\nexport const a = ordres",
      'b.ts': `${STREAM}export const orders = stream('orders', { columns: { id: t.string() } })`,
    },
    says: ["does not provide an export named 'ordres'", /where .*a\.ts:1/, "Did you mean 'orders'?"],
    code: 'bad-project-file',
  },
  {
    name: 'a type that there is not',
    files: { 'a.ts': `${STREAM}export const orders = stream('orders', { columns: { at: t.timestmp() } })` },
    says: ['a.ts cannot be loaded: t.timestmp is not a function', /where .*a\.ts:2/, "Did you mean 't.timestamp'?"],
    code: 'bad-project-file',
  },
  {
    name: 'a name that no table of the lake could have',
    files: { 'a.ts': `${STREAM}export const orders = stream('my orders', { columns: { id: t.string() } })` },
    says: ["'my orders' is not a usable name.", /where .*a\.ts:2/, 'lower-case letters'],
    code: 'bad-name',
  },
  {
    name: 'an import of a missing file',
    files: { 'a.ts': "import { orders } from './orders.ts'\nexport const a = orders" },
    says: ['a.ts cannot be loaded: Cannot find module', 'Check the path, with its extension (.ts)'],
    code: 'bad-project-file',
  },
  {
    name: 'a file that is not TypeScript',
    files: { 'a.ts': `${STREAM}\nexport const orders = stream('orders', { columns: { id: t.string() )` },
    says: ["a.ts cannot be loaded: Expected ',', got ')'.", /where .*a\.ts:3/],
    code: 'bad-project-file',
  },
  {
    name: 'TypeScript that cannot be stripped',
    files: {
      'a.ts': `${STREAM}enum Kind { a }\nexport const orders = stream('orders', { columns: { id: t.string() } })`,
    },
    says: ['TypeScript enum is not supported', /where .*a\.ts:2/, 'a union or an object instead of an enum'],
    code: 'bad-project-file',
  },
  {
    name: 'a file that throws',
    files: { 'a.ts': `${STREAM}\nexport const x = JSON.parse('{')` },
    says: ['a.ts cannot be loaded: Expected property name', /where .*a\.ts:3/],
    code: 'bad-project-file',
  },
  {
    name: 'a declaration that cannot be',
    files: { 'a.ts': `${STREAM}export const orders = stream('orders', { columns: { price: t.decimal(50, 2) } })` },
    says: [
      'a.ts: t.decimal(50, 2) is not a decimal type.',
      /where .*a\.ts:2/,
      'Precision is a whole number from 1 to 38',
    ],
    code: 'bad-type',
  },
  {
    name: 'a project without declarations',
    files: { 'a.ts': 'export const a = 1' },
    says: ['No file of', 'exports a stream, table, endpoint or handler.', 'export const events = stream('],
    code: 'empty-project',
  },
  {
    name: 'a configuration with an unknown option',
    files: {
      'millrace.config.ts': "export default { nam: 'x', server: { portt: 1, host: 7 } }",
      'a.ts': `${STREAM}export const orders = stream('orders', { columns: { id: t.string() } })`,
    },
    says: [
      "There is no option 'nam'.",
      "Did you mean 'name'?",
      "There is no option 'server.portt'.",
      "Did you mean 'port'?",
      'server.host is 7.',
      'Give a text.',
    ],
    code: 'bad-config',
  },
  {
    name: 'a target that cannot be',
    files: {
      'millrace.config.ts': `export default { name: 'x', targets: {
        prod: { log: { kind: 'kafkaa', broker: ['h:9092'] }, lake: { kind: 's3' }, engine: 'spark', stat: {} },
        stage: { log: { kind: 'kafka', brokers: 'h:9092', tls: 'yes', sasl: { mechanism: 'GSSAPI', username: 'u' } } },
      } }`,
      'a.ts': `${STREAM}export const orders = stream('orders', { columns: { id: t.string() } })`,
    },
    says: [
      "targets.prod.log.kind is 'kafkaa'.",
      "Give 'kafka'.",
      "There is no option 'targets.prod.log.broker'.",
      'targets.prod.log has no brokers.',
      'targets.prod.lake has no bucket.',
      'targets.prod.engine is a text.',
      "There is no option 'targets.prod.stat'.",
      'targets.stage.log.brokers is a text.',
      'targets.stage.log.tls is a text.',
      "targets.stage.log.sasl.mechanism is 'GSSAPI'.",
      'targets.stage.log.sasl has no password.',
    ],
    code: 'bad-config',
  },
]

describe('plan names the mistake, its place and the remedy', () => {
  test.each(MISTAKES)('$name', async ({ files, says, code }) => {
    const root = project(files)
    const [people, machines] = await Promise.all([
      millrace(['plan'], { cwd: root }),
      millrace(['plan', '--project', root, '--json']),
    ])
    expect(people.code).toBe(1)
    expect(people.stdout).toBe('')
    for (const said of says) {
      if (typeof said === 'string') expect(people.stderr).toContain(said)
      else expect(people.stderr).toMatch(said)
    }
    expect(people.stderr).not.toMatch(/\n {4}at /)
    expect(machines.code).toBe(1)
    expect(JSON.parse(machines.stdout).problems[0].code).toBe(code)
    expect(readdirSync(root)).not.toContain('.millrace')
  })
})

test('all problems are told at once, in the order of files and lines, each once', async () => {
  const root = project({
    'b.ts': `${STREAM}export const s = stream('s', { columns: { n: t.int() }, checks: [check.predicate('p', sql\`nn > 0\`)] })\nexport const x = table('x', { sql: sql\`select m from \${s}\` })`,
    'a.ts': 'export const = 1',
    'c.ts': "import { x } from './a.ts'\nexport const y = x",
  })
  const { stderr, code } = await millrace(['plan'], { cwd: root })
  expect(code).toBe(1)
  expect([...stderr.matchAll(/where (.*)/g)].map(([, place]) => place)).toEqual(['a.ts:1', 'b.ts:2', 'b.ts:3'])
  expect(stderr).toMatch(/3 problems\n$/)
})

test('what Spark would not take is named where a target computes with it, or when asked', async () => {
  const files = {
    'a.ts': `${STREAM}export const s = stream('s', { columns: { n: t.int(), ts: t.timestamp(), note: t.string().nullable() } })
export const x = table('x', { sql: sql\`select arg_max(n, ts) as n, n // 2 as half from \${s} group by n\` })
export const y = table('y', { sql: sql\`select note from \${s} order by note limit 3\`, checks: [check.sql('c', sql\`select note::varchar as t from this\`)] })
export const z = table('z', { sql: { default: sql\`select epoch_ms(ts) as ms from \${s}\`, spark: sql\`select unix_millis(cast(ts as timestamp_ltz)) as ms from \${s}\` } })`,
  }
  const root = project(files)
  expect(await millrace(['plan'], { cwd: root })).toMatchObject({ code: 0 })
  const asked = await millrace(['plan', '--engines', 'duckdb,spark'], { cwd: root })
  expect(asked.code).toBe(1)
  expect([...asked.stderr.matchAll(/error: (.*)/g)].map(([, text]) => text)).toEqual([
    "table 'x', sql: Spark does not take: arg_max.",
    "table 'x', sql: Spark does not take: //.",
    "table 'y', sql: Spark means something else by: order by without nulls first or last.",
    "table 'y', check c: Spark does not take: varchar and text.",
  ])
  expect(asked.stderr).toMatch(/where a\.ts:3\n {2}hint {2}For both engines: max_by\./)
  const target = "export default { targets: { prod: { engine: { kind: 'spark', url: 'sc://127.0.0.1:1' } } } }"
  const aimed = await millrace(['plan'], { cwd: write(project(files), { 'millrace.config.ts': target }) })
  expect(aimed.stderr).toBe(asked.stderr)
  expect(await millrace(['plan', '--engines', 'duckdb,trino'], { cwd: root })).toMatchObject({ code: 2 })
})
test('a folder that is no project', async () => {
  const { stderr, code } = await millrace(['plan'], { cwd: folder() })
  expect(code).toBe(1)
  expect(stderr).toMatch(
    /^error: \S+ is not a Millrace project: it has no millrace\.config\.ts\.\n {2}hint {2}Name a project with --project DIR, or make one/,
  )
})

test('the graph of a project, for people and for machines', async () => {
  const [people, machines] = await Promise.all([
    millrace(['plan', '--project', SHOP]),
    millrace(['plan', '--project', SHOP, '--json']),
  ])
  expect(people).toMatchObject({ code: 0, stderr: '' })
  expect(people.stdout).toMatch(/^shop: 1 stream, 5 tables, 3 endpoints\. No problems\.\n/)
  expect(people.stdout).toMatch(/orders +stream +10 +append, unique, in files by month +HTTP, data\/\*\.csv +4 row/)
  expect(people.stdout).toMatch(/├─ daily_revenue +table +6 +by day +orders +2 block\n│ {2}└─ monthly_revenue/)
  expect(people.stdout).toContain('/v1/endpoints/top-countries (day: date) reads daily_revenue')
  const plan = JSON.parse(machines.stdout)
  expect(plan).toMatchObject({ project: 'shop', problems: [] })
  expect(plan.datasets.map((d: { name: string; inputs: string[] }) => [d.name, d.inputs])).toContainEqual([
    'monthly_revenue',
    ['daily_revenue'],
  ])
})

test('a project needs no package.json, and its files no build', async () => {
  const root = write(folder(), {
    'millrace.config.ts': 'export default {}',
    'a.ts': `${STREAM}export const orders = stream('orders', { columns: { id: t.string() } })`,
  })
  expect(await millrace(['plan', '--project', root])).toMatchObject({ code: 0, stderr: '' })
})

test('stored data that cannot follow the declarations is a problem, found without a lock', async () => {
  const declare = (column: string) => `${STREAM}export const orders = stream('orders', { columns: { ${column} } })`
  const root = project({ 'a.ts': declare('id: t.string(), n: t.long()') })
  expect((await millrace(['run', '--project', root])).code).toBe(0)
  write(root, { 'a.ts': declare('id: t.string(), n: t.string()') })
  const { code, stderr } = await millrace(['plan'], { cwd: root })
  expect(code).toBe(1)
  expect(stderr).toMatch(
    /error: stream 'orders', stored data: Column 'n' is long in the table and declared string\.\n {2}where a\.ts:2\n {2}hint {2}Widen only/,
  )
})
