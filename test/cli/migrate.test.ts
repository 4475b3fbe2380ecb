import { cpSync, existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { migrate } from '../../src/cli/migrate/migrate.ts'
import { Project } from '../../src/project/project.ts'
import { stream, t } from '../../src/index.ts'
import { systemEffects } from '../../src/cli/effects.ts'
import { readOrigin } from '../../src/lake/origin.ts'
import { Lake } from '../../src/lake/lake.ts'
import { systemDisk } from '../../src/storage/disk.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'
import { EVENTS, folder, get, lines, millrace, post, project, serve, until } from './support.ts'

const event = (id: number, kind = 'a') => ({ id: String(id), kind, amount: '1.50' })

/** A project with a target in directories of its own, and an embedded warehouse with rows, refused records and a snapshot history. */
async function warehouse(): Promise<{ root: string; data: string; lake: string }> {
  const lake = join(folder(), 'lake')
  const root = project({
    ...EVENTS,
    'tell.ts': `
import { onChange } from 'millrace'
import { events } from './events.ts'
export const tell = onChange(events, async () => undefined, { name: 'tell' })
`,
    'millrace.config.ts': `export default { name: 'test', targets: { prod: { lake: { kind: 'directory', path: '${lake}' } } } }\n`,
  })
  const data = folder()
  const { running, url } = await serve(root, data)
  for (let i = 0; i < 3; i++) {
    await post(url, '/v1/streams/events', lines(event(i), event(i + 1), event(10 + i, i === 1 ? 'c' : 'b')))
    await until(
      () => get(url, '/v1/datasets'),
      ({ datasets }) => datasets[0].lag === 0 && datasets[1].lag === 0 && datasets[0].received === 3 * (i + 1),
    )
  }
  expect((await running.kill('SIGTERM')).code).toBe(0)
  return { root, data, lake }
}

/** What a migration knows of the project. */
function inProcess(directory: string): Project {
  const events = stream('events', { columns: { id: t.string() } })
  return new Project({ name: 'test', directory, config: {}, declarations: [events] })
}

const TOTALS = JSON.stringify({ sql: 'select kind, total from totals order by kind' })

/** All files below a directory with their sizes. Logs and locks of the work itself aside. */
function filesOf(directory: string): Record<string, number> {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' })
  const files = names.filter((name) => name.startsWith('lake') && statSync(join(directory, name)).isFile())
  return Object.fromEntries(files.map((name) => [name, statSync(join(directory, name)).size]))
}

test('a warehouse goes on at the target as if it had always been there', async () => {
  const { root, data, lake } = await warehouse()
  const before = filesOf(data)
  const done = await millrace(['migrate', '--to', 'prod', '--project', root, '--data', data, '--json'])
  expect(done.stderr).toBe('')
  const report = JSON.parse(done.stdout)
  expect(report).toMatchObject({
    target: 'prod',
    already: false,
    logs: [{ name: 'events/0', records: 9, equal: true }],
  })
  expect(report.tables.map((table: { name: string; records: number }) => [table.name, table.records])).toEqual([
    ['curated.totals', 2],
    ['processed.events', 6],
    ['quarantine.events', 1],
  ])
  expect(filesOf(data)).toEqual(before)

  const [here, there] = [new Lake({ root: join(data, 'lake') }), new Lake({ root: lake })]
  for (const id of await here.list()) {
    const [own, carried] = [(await here.load(id))!, (await there.load(id))!]
    expect(carried.history()).toEqual(own.history())
    expect(carried.refs).toEqual(own.refs)
    // Older snapshots are readable too.
    for (const snapshot of carried.history())
      for (const file of await carried.files(snapshot)) expect(existsSync(file.path)).toBe(true)
  }

  const again = await millrace(['migrate', '--to', 'prod', '--project', root, '--data', data])
  expect(again).toMatchObject({ code: 0, stdout: "Everything is in target 'prod' already.\n" })

  const { running, url } = await serve(root, join(root, '.millrace', 'prod'), { args: ['--target', 'prod'] })
  const totals = join(lake, 'curated', 'totals', 'metadata')
  const versions = () => readdirSync(totals).filter((name) => /^v\d+/.test(name)).length
  expect((await get(url, '/v1/datasets')).datasets[0]).toMatchObject({
    received: 9,
    accepted: 6,
    duplicates: 2,
    lag: 0,
  })
  expect(versions()).toBe(1)
  // One that was there before, and one that is new.
  await post(url, '/v1/streams/events', lines(event(2), event(50)))
  await until(
    () => get(url, '/v1/datasets'),
    ({ datasets }) => datasets[0].received === 11 && datasets[0].lag === 0 && datasets[1].lag === 0,
  )
  expect((await post(url, '/v1/sql', TOTALS, 'application/json')).body.rows).toEqual([
    ['a', 7.5],
    ['b', 3],
  ])
  const replayed = await millrace([
    'replay',
    'events',
    '--from-start',
    '--project',
    root,
    '--data',
    join(root, '.millrace', 'prod'),
    '--json',
  ])
  expect(JSON.parse(replayed.stdout)).toMatchObject({
    after: { received: 11, accepted: 7, duplicates: 3, quarantined: 1 },
  })
  expect((await running.kill('SIGTERM')).code).toBe(0)
})

test('wherever it is interrupted, the target is known as unfinished, and the next call completes it', async () => {
  const { root, data } = await warehouse()
  const loaded = inProcess(root)
  let [at, interrupted] = [1, 0]
  for (let finished = false; !finished; at += 13) {
    const lake = join(folder(), 'lake')
    const to = { project: root, data: folder(), target: 'prod' }
    const target = { lake: { kind: 'directory' as const, path: lake } }
    const options = { project: loaded, from: { project: root, data }, to, target, onStep: () => {}, onError: () => {} }
    const disk = new FaultyDisk(folder(), { at, error: 'EIO', lasting: true })
    finished = await migrate(options, { ...systemEffects(), disk }).then(
      () => true,
      () => false,
    )
    const origin = await readOrigin(new Lake({ root: lake }))
    if (!finished) interrupted++
    if (!finished) expect(origin?.state).not.toBe('done')
    const report = await migrate(options, { ...systemEffects(), disk: systemDisk })
    expect(report.already).toBe(finished)
    if (!finished) expect([...report.tables, ...report.logs].every(({ equal }) => equal)).toBe(true)
    expect((await readOrigin(new Lake({ root: lake })))?.state).toBe('done')
  }
  expect(interrupted).toBeGreaterThan(5)
})

test('an unfinished target is not started on; other data, and a server at work, are left alone', async () => {
  const { root, data, lake } = await warehouse()
  const args = ['migrate', '--to', 'prod', '--project', root, '--data', data]
  const { running } = await serve(root, data)
  const locked = await millrace(args)
  expect(locked).toMatchObject({ code: 1 })
  expect(locked.stderr).toMatch(/is in use by process \d+/)
  await running.kill('SIGTERM')

  const other = await warehouse()
  cpSync(join(other.data, 'lake', 'curated'), join(lake, 'curated'), { recursive: true })
  const inUse = await millrace(args)
  expect(inUse).toMatchObject({ code: 1 })
  expect(inUse.stderr).toContain("Target 'prod' holds other data: its lake has the table curated.totals.")
  expect(existsSync(join(lake, '.origin.json'))).toBe(false)

  const unknown = await millrace(['migrate', '--to', 'prd', '--project', root, '--data', data])
  expect(unknown.stderr).toContain("The project has no target 'prd'.")
  expect((await millrace(['migrate', '--project', root])).code).toBe(2)
  const nothing = await millrace(['migrate', '--to', 'prod', '--project', root, '--data', join(folder(), 'none')])
  expect(nothing.stderr).toContain('There is no warehouse in')

  const to = { project: root, data: folder(), target: 'prod' }
  const begun = join(other.root, 'lake')
  const target = { lake: { kind: 'directory' as const, path: begun } }
  const options = {
    project: inProcess(root),
    from: { project: root, data },
    to,
    target,
    onStep: () => {},
    onError: () => {},
  }
  const disk = new FaultyDisk(folder(), { at: /rename .*parquet/, error: 'EIO', lasting: true })
  await expect(migrate(options, { ...systemEffects(), disk })).rejects.toMatchObject({ code: 'io-error' })
  expect(JSON.parse(readFileSync(join(begun, '.origin.json'), 'utf8'))).toMatchObject({ state: 'carrying' })
  // Another warehouse is not taken for the one that was begun.
  await expect(
    migrate({ ...options, from: { project: root, data: other.data } }, systemEffects()),
  ).rejects.toMatchObject({ code: 'target-in-use' })
})
