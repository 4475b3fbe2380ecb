// From a laptop's directory to a lake that another catalog has.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import {
  type Json,
  EVENTS,
  Running,
  folder,
  get,
  lines,
  millrace,
  post,
  project,
  serve,
  until,
} from '../../cli/support.ts'
import { openRemote } from '../../lake/support/catalog-home.ts'
import { diskHome } from '../../lake/support/home.ts'
import { startJavaCatalog } from './java-catalog.ts'

const OTHER = {
  'other.ts': `import { stream, t } from 'millrace'\nexport const other = stream('other', { columns: { id: t.string() } })\n`,
}

const TOTALS = JSON.stringify({ sql: 'select kind, total from totals order by kind' })
const settled = (url: string, received: number) =>
  until(
    () => get(url, '/v1/datasets'),
    ({ datasets }: Json) =>
      datasets[0].received === received && datasets.every((each: Json) => each.lag === 0 && each.state === 'ok'),
  )

/** A project that has run here, and a target with this lake. */
async function ranHere(lake: object): Promise<{ root: string; data: string }> {
  const root = project({
    ...EVENTS,
    'millrace.config.ts': `export default { name: 'test', targets: { prod: { lake: ${JSON.stringify(lake)} } } }\n`,
  })
  const data = join(root, '.millrace')
  const { running, url } = await serve(root, data)
  for (let i = 0; i < 3; i++) {
    await post(
      url,
      '/v1/streams/events',
      lines({ id: `${i}`, kind: 'a', amount: '1.00' }, { id: `x${i}`, kind: 'z', amount: '1.00' }),
    )
    await settled(url, 2 * (i + 1))
  }
  expect((await running.kill('SIGTERM')).code).toBe(0)
  return { root, data }
}

test('tables come with their history, and the project goes on', async () => {
  const place = folder()
  const path = join(place, 'warehouse')
  const server = await startJavaCatalog(place, path)
  onTestFinished(() => server.stop())
  const catalog = { kind: 'rest', uri: server.uri, namespace: 'shop' }
  const { root, data } = await ranHere({ kind: 'directory', path, catalog })
  const migrate = ['migrate', '--to', 'prod', '--project', root]
  const killed = new Running(migrate)
  await killed.says(/table quarantine/)
  await killed.kill('SIGKILL')
  const done = await millrace([...migrate, '--json'])
  expect(done).toMatchObject({ code: 0, stderr: '' })
  const { tables } = JSON.parse(done.stdout)
  expect(tables).toHaveLength(3)
  expect(tables.every((each: Json) => each.equal)).toBe(true)
  const here = await diskHome.open(join(data, 'lake'))
  const there = await openRemote(path, { uri: server.uri, namespace: 'shop' })
  for (const id of await here.list()) {
    const [own, carried] = [(await here.load(id))!, (await there.load(id))!]
    expect(carried.history()).toEqual(own.history())
    expect(carried.published()).toEqual(own.published())
    expect(carried.view.metadata['table-uuid']).toBe(own.view.metadata['table-uuid'])
  }
  const running = new Running(['start', '--target', 'prod', '--project', root, '--port', '0'])
  const [, url] = (await running.says(/(http:\/\/[\d.]+:\d+)/)) as unknown as [string, string]
  await post(
    url,
    '/v1/streams/events',
    lines({ id: '0', kind: 'a', amount: '1.00' }, { id: '9', kind: 'b', amount: '2.00' }),
  )
  expect((await settled(url, 8)).datasets[0]).toMatchObject({ accepted: 4, duplicates: 1, quarantined: 3 })
  expect((await post(url, '/v1/sql', TOTALS, 'application/json')).body.rows).toEqual([
    ['a', 3],
    ['b', 2],
  ])
  expect((await running.kill('SIGTERM')).code).toBe(0)
})

test('a catalog that registers no tables is refused before anything is carried', async () => {
  const other = folder()
  const { running, url } = await serve(project(OTHER), other)
  onTestFinished(async () => void (await running.kill('SIGKILL')))
  const path = join(other, 'lake')
  const { root } = await ranHere({ kind: 'directory', path, catalog: { kind: 'rest', uri: `${url}/iceberg` } })
  const refused = await millrace(['migrate', '--to', 'prod', '--project', root])
  expect(refused.code).toBe(1)
  expect(refused.stderr).toContain('cannot take tables with their history')
  expect(refused.stderr).toContain('without lake.catalog')
  expect(existsSync(join(path, '.origin.json'))).toBe(false)
})
