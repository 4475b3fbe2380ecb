import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { lockDirectory } from '../../src/storage/lock.ts'
import { EVENTS, Running, folder, get, lines, millrace, post, project, serve, until } from './support.ts'

const sample = lines(
  { id: '1', kind: 'a', amount: '1.50' },
  { id: '2', kind: 'b', amount: '2.25' },
  { id: '2', kind: 'b', amount: '2.25' },
  { id: '3', kind: 'z', amount: '1' },
)
const SQL = 'select kind, total from totals order by kind'

async function settled(url: string) {
  return until(
    () => get(url, '/v1/datasets'),
    ({ datasets }) => datasets.every((d: { rows: number; lag: number }) => d.rows === 2 && d.lag === 0),
  )
}

test('start, post, query, status, SIGTERM; and the same answers without the server', async () => {
  const root = project(EVENTS)
  const data = folder()
  const { running, url } = await serve(root, data)
  expect(await get(url, '/readyz')).toMatchObject({ status: 'ready', project: 'test' })
  expect(await post(url, '/v1/streams/events', sample)).toEqual({ status: 202, body: { received: 4 } })
  const { datasets } = await settled(url)
  expect(datasets[0]).toMatchObject({
    name: 'events',
    kind: 'stream',
    state: 'ok',
    received: 4,
    accepted: 2,
    duplicates: 1,
    quarantined: 1,
    lag: 0,
  })

  const beside = await millrace(['query', '--json', '--project', root, '--data', data, SQL])
  const served = await post(url, '/v1/sql', JSON.stringify({ sql: SQL }), 'application/json')
  expect(beside).toMatchObject({ code: 0, stderr: '' })
  expect(JSON.parse(beside.stdout)).toEqual(served.body)
  expect(served.body).toEqual({
    columns: [
      { name: 'kind', type: 'string' },
      { name: 'total', type: 'decimal(38, 2)' },
    ],
    rows: [
      ['a', 1.5],
      ['b', 2.25],
    ],
  })
  const csv = await millrace(['query', '--csv', '--data', data, 'select id from events order by id'], { cwd: root })
  expect(csv.stdout).toBe('id\r\n1\r\n2\r\n'.replaceAll('\r\n', csv.stdout.includes('\r\n') ? '\r\n' : '\n'))
  const status = await millrace(['status', '--json', '--project', root, '--data', data])
  const ageless = (text: string) => JSON.parse(text, (key, value) => (key === 'freshness_ms' ? undefined : value))
  expect(ageless(status.stdout)).toEqual(ageless(JSON.stringify(datasets.length === 2 ? { datasets } : null)))

  const { runs } = await get(url, '/v1/runs?dataset=totals&outcome=succeeded&limit=1')
  expect(runs).toMatchObject([{ kind: 'refresh', dataset: 'totals', counts: { rows: expect.any(Number) } }])
  const told = await millrace(['status', '--runs', '--json', '--project', root, '--data', data])
  expect(JSON.parse(told.stdout).runs).toContainEqual(runs[0])
  expect(await get(url, '/v1/runs?outcome=perhaps')).toMatchObject({ status: 400, code: 'bad-request' })
  expect(await get(url, '/v1/runs?limit=0')).toMatchObject({ status: 400, code: 'bad-limit' })
  expect(await running.kill('SIGTERM')).toMatchObject({ code: 0 })
  expect(running.output).toMatch(/stopped$/)
  expect(readdirSync(data)).not.toContain('server.json')

  const before = fingerprint(data)
  const without = await millrace(['query', '--json', '--project', root, '--data', data, SQL])
  expect(without).toMatchObject({ code: 0, stderr: '', stdout: beside.stdout })
  expect(ageless((await millrace(['status', '--json', '--project', root, '--data', data])).stdout)).toEqual(
    ageless(status.stdout),
  )
  const list = await millrace(['quarantine', 'list', '--json', '--project', root, '--data', data])
  expect(JSON.parse(list.stdout).quarantine).toMatchObject([{ stream: 'events', rule: 'oneOf(kind)', records: 1 }])
  expect(fingerprint(data)).toEqual(before)
})

test('query asks endpoints, and gives parameters to them and to SQL, beside a server and without', async () => {
  const root = project({
    'events.ts': `${EVENTS['events.ts'].replace('check, sql', 'check, endpoint, sql')}
export const above = endpoint('above', {
  params: { total: t.decimal(10, 2), kind: t.string().nullable() },
  sql: sql\`select kind, total from \${totals} where total > \${'total'} and kind = coalesce(\${'kind'}, kind) order by kind\`,
})
`,
  })
  const data = folder()
  const { running, url } = await serve(root, data)
  await post(url, '/v1/streams/events', sample)
  await settled(url)
  const query = (...args: string[]) => millrace(['query', '--project', root, '--data', data, ...args])
  const all = async () => [
    await query('--endpoint', 'above', '--param', 'total=1', '--json'),
    await query('--endpoint', 'above', '--param', 'total=1', '--param', 'kind=b', '--csv'),
    await query('select kind from totals where kind > $least', '--param', 'least=a', '--json'),
    await query('--endpoint', 'abov'),
    await query('--endpoint', 'above'),
    await query('--endpoint', 'above', '--param', 'total=lots'),
    await query('--endpoint', 'above', '--param', 'total=1', '--param', 'knd=b'),
    await query('select $a'),
  ]
  const beside = await all()
  expect(JSON.parse(beside[0]!.stdout)).toEqual(await get(url, '/v1/endpoints/above?total=1'))
  expect(beside[1]!.stdout.trim().split(/\r?\n/)).toEqual(['kind,total', 'b,2.25'])
  expect(JSON.parse(beside[2]!.stdout).rows).toEqual([['b']])
  expect(beside.map(({ code }) => code)).toEqual([0, 0, 0, 1, 1, 1, 1, 1])
  expect(beside[3]!.stderr).toContain("There is no endpoint 'abov'.\n  hint  Did you mean 'above'?")
  expect(beside[4]!.stderr).toContain("needs the parameter 'total'.\n  hint  Give total=… (decimal(10, 2)).")
  expect(beside[5]!.stderr).toContain("total: 'lots' is not a valid decimal(10, 2).")
  expect(beside[6]!.stderr).toContain("has no parameter 'knd'.\n  hint  Did you mean 'kind'?")
  expect(beside[7]!.stderr).toContain('--param NAME=VALUE')
  await running.kill('SIGTERM')
  expect(await all()).toEqual(beside)
  expect((await query('--endpoint', 'above', '--param', 'total=1')).stdout).toMatch(
    /^kind +total\n.*\n.*\na +1\.50\nb +2\.25\n$/,
  )
})

/** Every file with its size and time. */
function fingerprint(data: string): string[] {
  return readdirSync(data, { recursive: true })
    .map(String)
    .sort()
    .map((name) => `${name} ${statSync(join(data, name)).mtimeMs} ${statSync(join(data, name)).size}`)
}

test('the note of a running server is for its owner only, and says where it is', async () => {
  const root = project(EVENTS)
  const data = folder()
  const { running, url } = await serve(root, data)
  const path = join(data, 'server.json')
  const note = await until(
    async () => (existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined),
    (found) => found !== undefined,
  )
  expect(note).toEqual({
    pid: expect.any(Number),
    url,
    token: expect.stringMatching(/^.{32}$/),
    startedMs: expect.any(Number),
  })
  expect(statSync(path).mode & 0o777).toBe(0o600)
  const control = await fetch(`${url}/v1/control/run`, {
    method: 'POST',
    headers: { authorization: 'Bearer wrong', 'content-type': 'application/json' },
    body: '{}',
  })
  expect(control.status).toBe(401)
  await running.kill('SIGTERM')
})

test('a second server on the same data is refused and changes nothing; so is a command when what holds the data is no server', async () => {
  const root = project(EVENTS)
  const data = folder()
  const { running, url } = await serve(root, data)
  const second = await millrace(['start', '--project', root, '--data', data, '--port', '0'])
  expect(second).toMatchObject({ code: 1, stdout: '' })
  expect(second.stderr).toMatch(
    new RegExp(
      `^error: The data directory \\S+ is in use by process ${running.child.pid}\\.\n  hint  A server runs there at ${url}\\.`,
    ),
  )
  expect(await get(url, '/readyz')).toMatchObject({ status: 'ready' })
  await running.kill('SIGTERM')

  const lock = await lockDirectory(data)
  const blocked = await millrace(['run', '--project', root, '--data', data])
  expect(blocked).toMatchObject({ code: 1, stdout: '' })
  expect(blocked.stderr).toMatch(
    /^error: The data directory \S+ is in use by process \d+\.\n {2}hint {2}Stop that process, or use another data directory \(--data\)\.\n$/,
  )
  expect((await millrace(['status', '--project', root, '--data', data])).code).toBe(0)
  await lock.release()
})

test('a server that was killed leaves a note that misleads nobody, and nothing acknowledged is lost', async () => {
  const root = project(EVENTS)
  const data = folder()
  const { running, url } = await serve(root, data)
  await until(async () => existsSync(join(data, 'server.json')), Boolean)
  expect((await post(url, '/v1/streams/events', sample)).status).toBe(202)
  await running.kill('SIGKILL')
  const note = JSON.parse(readFileSync(join(data, 'server.json'), 'utf8'))
  const status = JSON.parse((await millrace(['status', '--json', '--project', root, '--data', data])).stdout)
  expect(status.datasets[0].received + status.datasets[0].lag).toBe(4)
  // As if another process had got its number since.
  writeFileSync(join(data, 'server.json'), JSON.stringify({ ...note, pid: process.pid }))
  expect((await millrace(['query', '--project', root, '--data', data, 'select count(*) from events'])).code).toBe(0)
  const run = await millrace(['run', '--json', '--project', root, '--data', data])
  expect(JSON.parse(run.stdout).streams[0].total).toEqual({ received: 4, accepted: 2, duplicates: 1, quarantined: 1 })
})

test('a note that leads to somebody else is not followed', async () => {
  const root = project(EVENTS)
  const [data, other] = [folder(), folder()]
  const { running, url } = await serve(root, other)
  await post(url, '/v1/streams/events', sample)
  await settled(url)
  expect((await millrace(['run', '--project', root, '--data', data])).code).toBe(0)
  writeFileSync(join(data, 'server.json'), JSON.stringify({ pid: process.pid, url, token: 'of-the-past' }))
  const { stdout } = await millrace([
    'query',
    '--json',
    '--project',
    root,
    '--data',
    data,
    'select count(*) as n from events',
  ])
  expect(JSON.parse(stdout).rows).toEqual([[0]])
  await running.kill('SIGTERM')
})

describe('commands that write are carried out by the server beside them', () => {
  test('run, quarantine replay, replay, verify, maintain', async () => {
    const root = project({
      ...EVENTS,
      'files.ts': `
import { source, stream, t } from 'millrace'
export const lines = stream('lines', { columns: { n: t.int() }, source: source.files({ path: 'data/*.csv', every: '1 day' }) })
`,
    })
    const data = folder()
    const { running, url } = await serve(root, data)
    const beside = (...args: string[]) => millrace([...args, '--json', '--project', root, '--data', data])
    await post(url, '/v1/streams/events', sample)
    const { mkdirSync } = await import('node:fs')
    mkdirSync(join(root, 'data'))
    writeFileSync(join(root, 'data', 'a.csv'), 'n\n1\n2\nx\n')

    const run = JSON.parse((await beside('run')).stdout)
    expect(run.ok).toBe(true)
    expect(run.streams.find((s: { name: string }) => s.name === 'lines')).toMatchObject({
      received: 3,
      accepted: 2,
      quarantined: 1,
      files: { loaded: ['data/a.csv'] },
    })

    const refused = JSON.parse((await beside('quarantine', 'show', 'lines')).stdout)
    expect(refused.records).toMatchObject([{ file: 'data/a.csv', line: 4, rule: expect.stringContaining('n') }])
    const again = JSON.parse((await beside('quarantine', 'replay', 'lines')).stdout)
    expect(again).toMatchObject({
      records: 1,
      result: { quarantined: 1 },
      before: { accepted: 2 },
      after: { accepted: 2, quarantined: 1 },
    })
    const replay = JSON.parse((await beside('replay', 'events', '--from-start')).stdout)
    expect(replay).toMatchObject({ records: 4, after: { received: 4, accepted: 2, duplicates: 1, quarantined: 1 } })
    const verified = JSON.parse((await beside('verify')).stdout)
    expect(verified.datasets.map((d: { dataset: string; equal: boolean }) => [d.dataset, d.equal]).sort()).toEqual([
      ['events', true],
      ['lines', true],
      ['totals', true],
    ])
    expect(JSON.parse((await beside('maintain', '--min-files', '2')).stdout).tables.length).toBeGreaterThanOrEqual(3)
    expect((await beside('verify', 'evnts')).stderr).toContain("Did you mean 'events'?")
    expect((await running.kill('SIGTERM')).code).toBe(0)
  })
})

describe('stopping', () => {
  test('a stop that comes twice at once is one stop', async () => {
    const { running } = await serve(project(EVENTS), folder())
    running.child.kill('SIGINT')
    expect(await running.kill('SIGINT')).toMatchObject({ code: 0 })
  })

  test('records acknowledged before SIGTERM are processed before it ends', async () => {
    const root = project(EVENTS)
    const data = folder()
    const { running, url } = await serve(root, data)
    const many = lines(...Array.from({ length: 20_000 }, (_, i) => ({ id: String(i), kind: 'a', amount: 1 })))
    expect((await post(url, '/v1/streams/events', many)).status).toBe(202)
    expect(await running.kill('SIGTERM')).toMatchObject({ code: 0 })
    const { datasets } = JSON.parse((await millrace(['status', '--json', '--project', root, '--data', data])).stdout)
    expect(datasets[0]).toMatchObject({ received: 20_000, lag: 0 })
  })
})

test('a server prints what an operator must know, as text or as lines of JSON', async () => {
  const root = project({
    'a.ts': `
import { check, sql, stream, t, table } from 'millrace'
export const events = stream('events', { columns: { n: t.int() } })
export const many = table('many', { sql: sql\`select n from \${events}\`, checks: [check.rowCount({ min: 2 })] })
`,
  })
  const { running, url } = await serve(root, folder(), { args: ['--json'] })
  const ready = JSON.parse(running.output.split('\n').find((line) => line.includes('"ready"'))!)
  expect(ready).toMatchObject({ event: 'ready', url, project: 'test', pid: running.child.pid })
  await running.says(/\{"event":"state","dataset":"many","state":"blocked","reason":"row_count: /)
  await post(url, '/v1/streams/events', lines({ n: 1 }, { n: 2 }))
  await running.says(/\{"event":"state","dataset":"many","state":"ok"\}/)
  await running.kill('SIGTERM')
})

test('a project with problems does not start, and all of them are told', async () => {
  const root = project({
    'a.ts': `
import { sql, stream, t, table } from 'millrace'
export const events = stream('events', { columns: { n: t.int() } })
export const x = table('x', { sql: sql\`select m from \${events}\` })
export const y = table('y', { sql: sql\`select o from \${events}\` })
`,
  })
  const { code, stderr } = await new Running(['start', '--project', root, '--port', '0']).ended
  expect(code).toBe(1)
  expect(stderr).toMatch(/table 'x'[^]*table 'y'[^]*2 problems/)
})

test('an address beyond this machine needs a token', async () => {
  const root = project(EVENTS)
  const refused = await millrace(['start', '--project', root, '--host', '0.0.0.0', '--port', '0'])
  expect(refused.code).toBe(1)
  expect(refused.stderr).toContain('Set MILLRACE_TOKEN')
  const data = folder()
  const running = new Running(['start', '--project', root, '--data', data, '--host', '0.0.0.0', '--port', '0'], {
    env: { MILLRACE_TOKEN: 'secret' },
  })
  await running.says(/http:\/\/0\.0\.0\.0:\d+/)
  await until(async () => existsSync(join(data, 'server.json')), Boolean)
  expect((await millrace(['query', '--project', root, '--data', data, 'select 1'])).stderr).toContain('1 row')
  await running.kill('SIGTERM')
})
