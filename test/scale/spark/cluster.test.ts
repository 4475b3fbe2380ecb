// A cluster whose lake is on S3 and whose tables are computed by Spark, through a catalog that asks for a token.
import { expect, onTestFinished, test } from 'vitest'
import { freePort } from '../../../scripts/services/free-ports.ts'
import { type Json, Running, folder, lines, millrace, project, until } from '../../cli/support.ts'
import { s3Config, s3Home } from '../../lake/support/home.ts'
import { bucket } from '../s3/bucket.ts'
import { service } from '../support/services.ts'

const name = await bucket()
const home = await s3Home(name)
const TOKEN = 'a-token-that-nobody-may-read'

test('Spark computes through a protected catalog, and verify compares both engines beside the running process', async () => {
  const prefix = (await home.newRoot()).slice(`s3://${name}/`.length)
  onTestFinished(() => home.clear())
  const port = await freePort()
  const prod = {
    log: { kind: 'kafka', brokers: service('KAFKA_BROKERS').split(',') },
    lake: { kind: 's3', ...s3Config(name), prefix },
    state: { kind: 'postgres', url: service('POSTGRES_URL') },
    engine: {
      kind: 'spark',
      url: service('SPARK_URL'),
      catalog: { uri: `http://127.0.0.1:${port}/iceberg`, token: TOKEN },
    },
  }
  const config = { name: `spark_${process.pid}_${Date.now().toString(36)}`, targets: { prod } }
  const root = project({
    'millrace.config.ts': `export default ${JSON.stringify(config)}\n`,
    'events.ts': `
import { sql, stream, t, table } from 'millrace'
export const events = stream('events', { columns: { id: t.int(), kind: t.string() }, unique: ['id'] })
export const totals = table('totals', {
  sql: sql\`select kind, count(*) as n, sum(id) as ids from \${events} group by kind\`,
})
`,
  })
  const env = { MILLRACE_TOKEN: TOKEN }
  const data = folder()
  const at = ['--project', root, '--target', 'prod']
  const running = new Running(['start', ...at, '--data', data, '--port', String(port)], { env })
  onTestFinished(async () => void (await running.kill('SIGTERM')))
  await running.says(/is ready after/)
  const records = Array.from({ length: 300 }, (_, id) => ({ id, kind: ['a', 'b', 'c'][id % 3]! }))
  const answer = await fetch(`http://127.0.0.1:${port}/v1/streams/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', authorization: `Bearer ${TOKEN}` },
    body: lines(...records),
  })
  expect(answer.status).toBe(202)
  const command = async (args: readonly string[]): Promise<Json> => {
    const { code, stdout, stderr } = await millrace([...args, ...at, '--data', folder(), '--json'])
    expect({ code, stderr }, `${stderr}\n${running.output}`).toMatchObject({ code: 0 })
    return JSON.parse(stdout)
  }
  await until(
    () => command(['query', 'select kind, n from totals order by kind']),
    ({ rows }) => JSON.stringify(rows) === '[["a",100],["b",100],["c",100]]',
  )
  expect((await command(['verify', '--engines', 'duckdb,spark'])).datasets).toMatchObject([
    { dataset: 'totals', equal: true, rows: [{ count: 3 }, { count: 3 }] },
  ])
  expect((await command(['verify'])).datasets).toMatchObject([{ equal: true }, { equal: true }])

  const wrong = project({
    'millrace.config.ts': `export default ${JSON.stringify(config).replaceAll(TOKEN, 'another-token')}\n`,
    'events.ts': `export * from '${root}/events.ts'\n`,
  })
  const refused = await millrace(['verify', '--engines', 'duckdb,spark', '--project', wrong, '--target', 'prod'])
  expect(refused.code).toBe(1)
  expect(refused.stderr).toMatch(/Spark does not reach the lake's catalog|Not authorized|401/)
  expect(refused.stderr + running.output).not.toMatch(/another-token|a-token-that/)
})
