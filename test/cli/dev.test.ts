import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { EVENTS, Running, get, lines, post, project, until, write } from './support.ts'

const names = async (url: string) => {
  try {
    return (await get(url, '/v1/datasets')).datasets.map((d: { name: string }) => d.name).sort()
  } catch {
    return []
  }
}

test('edits are taken up, a broken one is told while the last good version serves, and data stays', async () => {
  const root = project(EVENTS)
  const dev = new Running(['dev', '--port', '0'], { cwd: root })
  const [, url] = await dev.says(/POST (http:\/\/\S+)\/v1\/streams\/events/)
  expect((await post(url!, '/v1/streams/events', lines({ id: '1', kind: 'a', amount: 1 }))).status).toBe(202)

  write(root, {
    'more.ts':
      "import { sql, table } from 'millrace'\nimport { events } from './events.ts'\nexport const kinds = table('kinds', { sql: sql`select distinct kind from ${events}` })\n",
  })
  await dev.says(/changed more\.ts[^]*running the new version/)
  expect(
    await until(
      () => names(url!),
      (found) => found.length === 3,
    ),
  ).toEqual(['events', 'kinds', 'totals'])
  const answer = await until(
    () => post(url!, '/v1/sql', JSON.stringify({ sql: 'select kind from kinds' }), 'application/json'),
    ({ body }) => body.rows?.length === 1,
  )
  expect(answer.body.rows).toEqual([['a']])

  let line = dev.lines
  const good = readFileSync(join(root, 'events.ts'), 'utf8')
  writeFileSync(join(root, 'events.ts'), good.replace('sum(amount)', 'sum(amont)'))
  await dev.says(
    /error: table 'totals', sql: Binder error: .*"amont"[^]*where events\.ts:8[^]*Did you mean 'amount'[^]*The last version without problems keeps running\./,
    line,
  )
  expect(await names(url!)).toEqual(['events', 'kinds', 'totals'])

  line = dev.lines
  writeFileSync(
    join(root, 'events.ts'),
    good.replace('sum(amount)', 'max(amount)').replace('kind: t.string()', 'kind: t.int()'),
  )
  await dev.says(/stored data: Column 'kind' is string in the table and declared int[^]*keeps running/, line)

  line = dev.lines
  writeFileSync(join(root, 'events.ts'), good)
  await dev.says(/running the new version/, line)
  expect((await post(url!, '/v1/streams/events', lines({ id: '1', kind: 'a', amount: 1 }))).status).toBe(202)
  const { datasets } = await until(
    () => get(url!, '/v1/datasets'),
    ({ datasets: [events] }) => events.received === 2,
  )
  expect(datasets[0]).toMatchObject({ name: 'events', accepted: 1, duplicates: 1 })
  expect(await dev.kill('SIGINT')).toMatchObject({ code: 0 })
  expect(await names(url!)).toEqual([])
})

test('SQL files and imported JSON files are taken up, JSON that is data is not', async () => {
  const root = project({
    ...EVENTS,
    'kinds.json': '["a"]',
    'sql/known.sql': 'where amount > 0',
    'data/day.json': '[]',
    'known.ts': `import { readFileSync } from 'node:fs'
import { sql, table } from 'millrace'
import kinds from './kinds.json' with { type: 'json' }
import { events } from './events.ts'
const where = readFileSync(new URL('./sql/known.sql', import.meta.url), 'utf8')
export const known = table('known_' + kinds.join('_'), { sql: sql\`select * from \${events} \${sql.raw(where)}\` })
`,
  })
  const dev = new Running(['dev', '--port', '0'], { cwd: root })
  const [, url] = await dev.says(/POST (http:\/\/\S+)\/v1\/streams\/events/)
  write(root, { 'data/day.json': '[{"id":"1"}]', 'kinds.json': '["a","b"]' })
  await dev.says(/changed kinds\.json\n[^]*running the new version/)
  expect(await names(url!)).toContain('known_a_b')
  const line = dev.lines
  write(root, { 'sql/known.sql': 'where amont > 0' })
  await dev.says(/changed sql\/known\.sql\n[^]*table 'known_a_b', sql: Binder error[^]*keeps running/, line)
  expect(await dev.kill('SIGINT')).toMatchObject({ code: 0 })
})

test('a project that is broken from the start is waited for', async () => {
  const root = project({ 'a.ts': 'export const = 1' })
  const dev = new Running(['dev', '--port', '0'], { cwd: root })
  await dev.says(/a\.ts cannot be loaded[^]*Nothing runs yet; waiting for a change\./)
  write(root, { 'a.ts': EVENTS['events.ts'] })
  await dev.says(/test runs after/)
  expect(await dev.kill('SIGTERM')).toMatchObject({ code: 0 })
})

test('when dev is killed, the server it runs ends as well', async () => {
  const root = project(EVENTS)
  const dev = new Running(['dev', '--port', '0'], { cwd: root })
  const [, url] = await dev.says(/POST (http:\/\/\S+)\/v1\/streams\/events/)
  await dev.kill('SIGKILL')
  expect(
    await until(
      () => names(url!),
      (found) => found.length === 0,
    ),
  ).toEqual([])
})
