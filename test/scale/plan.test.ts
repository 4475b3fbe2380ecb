// What `plan --target` says, and that it changes nothing; commands on a target where nothing else runs.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { lookAtState } from '../../src/state/state.ts'
import { type Json, folder, lines, millrace, project } from '../cli/support.ts'
import { s3Config, s3Home } from '../lake/support/home.ts'
import { bucket } from './s3/bucket.ts'
import { service } from './support/services.ts'

const name = await bucket()
const home = await s3Home(name)

const events = ({ partitions = 2, more = '', total = 'sum(amount)' }) => `
import { check, source, sql, stream, t, table } from 'millrace'
const columns = { id: t.string(), kind: t.string(), amount: t.decimal(10, 2) }
export const events = stream('events', { columns: { ...columns${more} }, key: 'id', partitions: ${partitions} })
export const files = stream('files', {
  columns, unique: ['id'], checks: [check.oneOf('kind', ['a', 'b'])],
  source: source.files({ name: 'in', path: 'in/*.ndjson' }),
})
export const totals = table('totals', { sql: sql\`select kind, ${total} as total from \${files} group by kind\` })
`

/** A project with targets on Kafka, S3 and PostgreSQL, and on Spark; `called` names its topics and schema. */
async function onTarget(files: Record<string, string>, target: Json = {}): Promise<{ root: string; called: string }> {
  const prefix = (await home.newRoot()).slice(`s3://${name}/`.length)
  onTestFinished(() => home.clear())
  const called = `plan_${process.pid}_${Date.now().toString(36)}`
  const prod = {
    log: { kind: 'kafka', brokers: service('KAFKA_BROKERS').split(','), replication: 1 },
    lake: { kind: 's3', ...s3Config(name), prefix },
    state: { kind: 'postgres', url: service('POSTGRES_URL') },
    ...target,
  }
  const computed = { lake: { kind: 'directory', path: folder() }, engine: { kind: 'spark', url: service('SPARK_URL') } }
  const config = JSON.stringify({ name: called, targets: { prod, computed } })
  return { root: project({ ...files, 'millrace.config.ts': `export default ${config}\n` }), called }
}

async function plan(
  root: string,
  target = 'prod',
): Promise<{ code: number | null; steps: string[]; problems: Json[] }> {
  const { code, stdout, stderr } = await millrace(['plan', '--project', root, '--target', target, '--json'])
  expect(stderr).toBe('')
  const { target: found, problems } = JSON.parse(stdout)
  return { code, steps: found.steps.map(({ what, action }: Json) => `${what}: ${action}`), problems }
}

async function command(args: readonly string[]): Promise<Json> {
  const { code, stdout, stderr } = await millrace(args)
  expect({ code, stderr }).toMatchObject({ code: 0 })
  return JSON.parse(stdout)
}

test('plan shows what would be made, then what would be changed; run does it, and query sees it', async () => {
  const record = lines(
    { id: '1', kind: 'a', amount: '1.50' },
    { id: '2', kind: 'b', amount: '2.00' },
    { id: '3', kind: 'z' },
  )
  const { root, called } = await onTarget({ 'events.ts': events({}), 'in/one.ndjson': record })
  const at = ['--project', root, '--target', 'prod']
  const first = [
    `topic ${called}.events: make, 2 partitions, 1 copy`,
    `topic ${called}.files: make, 1 partition, 1 copy`,
    'table events: make',
    'table files: make',
    'table totals: make',
    expect.stringMatching(/^PostgreSQL at .*, schema plan_\S+: migrate: leases, members/),
  ]
  expect(await plan(root)).toEqual({ code: 0, steps: first, problems: [] })
  // It was not done.
  expect(await plan(root)).toMatchObject({ steps: first })
  const target = { kind: 'postgres', url: service('POSTGRES_URL'), schema: called } as const
  const { state, pending } = await lookAtState(target, { clock: systemClock })
  expect(pending).toHaveLength(1)
  await state.close()
  // Nor does who only looks.
  expect(await command(['query', ...at, '--json', 'select count(*) from files'])).toMatchObject({ rows: [[0]] })
  expect(await plan(root)).toMatchObject({ steps: first })

  const ran = await command(['run', ...at, '--json'])
  expect(ran.ok).toBe(true)
  const [loaded] = ran.streams.filter((stream: Json) => stream.name === 'files')
  expect(loaded).toMatchObject({ received: 3, accepted: 2, quarantined: 1 })
  const topics = [`topic ${called}.events: none`, `topic ${called}.files: none`]
  const ready = [...topics, 'table events: none', 'table files: none', 'table totals: none']
  expect((await plan(root)).steps).toEqual([...ready, expect.stringMatching(/: none$/)])
  expect(await command(['query', ...at, '--json', 'select kind, total from totals order by kind'])).toMatchObject({
    rows: [
      ['a', 1.5],
      ['b', 2],
    ],
  })
  expect((await command(['status', ...at, '--json'])).datasets[1]).toMatchObject({ lag: 0, rows: 2, quarantined: 1 })

  writeFileSync(
    join(root, 'events.ts'),
    events({ partitions: 3, more: ', note: t.string().nullable()', total: 'count(*)' }),
  )
  expect((await plan(root)).steps.slice(0, 5)).toEqual([
    `topic ${called}.events: grow to 3 partitions`,
    topics[1],
    'table events: evolve',
    'table files: none',
    'table totals: make anew',
  ])
  writeFileSync(join(root, 'events.ts'), events({ partitions: 1, more: ', note: t.string()' }))
  expect(await plan(root)).toMatchObject({
    code: 1,
    problems: [
      { code: 'partitions-decreased', context: { dataset: 'events' } },
      { code: 'incompatible-schema', context: { dataset: 'events' } },
    ],
  })
})

test('plan names each service that cannot be reached', async () => {
  const { root } = await onTarget(
    { 'events.ts': events({}) },
    {
      log: { kind: 'kafka', brokers: ['127.0.0.1:1'] },
      state: { kind: 'postgres', url: 'postgres://me:secret@127.0.0.1:1/db' },
      engine: { kind: 'spark', url: 'sc://127.0.0.1:1', catalog: 'http://127.0.0.1:1/iceberg' },
    },
  )
  const { code, problems } = await plan(root)
  expect(code).toBe(1)
  expect(new Set(problems.map((problem) => problem.code))).toEqual(
    new Set(['engine-unreachable', 'kafka-unreachable', 'state-unavailable']),
  )
  expect(JSON.stringify(problems)).not.toContain('secret')
})

test('a column that Spark computes as another type is a problem of the plan, and keeps it from starting', async () => {
  const { root } = await onTarget({ 'events.ts': events({ total: 'avg(amount)' }) })
  const differs = { code: 'type-differs', context: { dataset: 'totals', column: 'total' } }
  const { code, steps, problems } = await plan(root, 'computed')
  expect({ code, problems }).toMatchObject({ code: 1, problems: [differs] })
  expect(problems[0].message).toMatch(/Column 'total' is double in DuckDB, but decimal\(\d+, \d+\) in Spark/)
  expect(steps.at(-1)).toMatch(/^Spark 4\.\d/)
  const data = folder()
  const started = await millrace([
    'start',
    '--project',
    root,
    '--target',
    'computed',
    '--data',
    data,
    '--port',
    '0',
    '--json',
  ])
  expect(started.code).toBe(1)
  expect(JSON.parse(started.stderr).error.problems).toMatchObject([differs])
  // Nothing was made.
  expect((await plan(root, 'computed')).steps.slice(0, 3)).toEqual([
    'table events: make',
    'table files: make',
    'table totals: make',
  ])
})
