import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Follower } from '../serving/follow.ts'
import { folder, get, lines, millrace, post, project, serve, until } from './support.ts'

/** A project whose handler writes each call as a line of a file, and fails while another file says so. */
function handling(): {
  root: string
  data: string
  calls(): { id: string; rows: string[] }[]
  fail(how: string): void
} {
  const notes = folder()
  const root = project({
    'events.ts': `
import { appendFileSync, readFileSync } from 'node:fs'
import { onChange, sql, stream, t, table } from 'millrace'
export const events = stream('events', { columns: { id: t.string(), kind: t.string() }, unique: ['id'] })
export const totals = table('totals', { sql: sql\`select kind, count(*) as n from \${events} group by kind\` })
export const notify = onChange(events, async ({ id, rows }) => {
  const how = readFileSync('${notes}/how', 'utf8')
  if (how === 'throw') throw new Error('the mail server is away')
  appendFileSync('${notes}/calls', JSON.stringify({ id, rows: rows.map((row) => row.id) }) + '\\n')
  if (how === 'die') process.kill(process.pid, 'SIGKILL')
}, { name: 'notify', doc: 'Mails whoever waits.' })
`,
  })
  const fail = (how: string) => writeFileSync(join(notes, 'how'), how)
  fail('')
  writeFileSync(join(notes, 'calls'), '')
  return {
    root,
    data: folder(),
    fail,
    calls: () =>
      readFileSync(join(notes, 'calls'), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as { id: string; rows: string[] }),
  }
}

const event = (id: string) => ({ id, kind: 'a' })

describe('handlers', () => {
  test('plan shows them; a server calls them; killed after a call, it is made again with the same id', async () => {
    const { root, data, calls, fail } = handling()
    const plan = await millrace(['plan', '--project', root])
    expect(plan.stdout).toContain('1 stream, 1 table, 0 endpoints, 1 handler. No problems.')
    expect(plan.stdout).toContain('notify follows events')
    const { handlers } = JSON.parse((await millrace(['plan', '--json', '--project', root])).stdout)
    expect(handlers).toEqual([
      {
        name: 'notify',
        dataset: 'events',
        from: 'present',
        batch: 1000,
        timeout: '30 seconds',
        doc: 'Mails whoever waits.',
      },
    ])

    let { running, url } = await serve(root, data)
    await post(url, '/v1/streams/events', lines(event('1'), event('2')))
    await until(
      async () => calls(),
      (all) => all.length === 1,
    )
    fail('die')
    await post(url, '/v1/streams/events', lines(event('3')))
    await running.ended
    fail('')
    ;({ running, url } = await serve(root, data))
    await post(url, '/v1/streams/events', lines(event('4')))
    await until(
      async () => calls(),
      (all) => all.at(-1)?.rows.includes('4') === true,
    )
    expect(calls().map(({ rows }) => rows)).toEqual([['1', '2'], ['3'], ['3'], ['4']])
    expect(calls()[2]!.id).toBe(calls()[1]!.id)
    expect(new Set(calls().map(({ id }) => id)).size).toBe(3)
    await running.kill('SIGTERM')
  })

  test('one that fails is told by the server and by status, and is called again', async () => {
    const { root, data, calls, fail } = handling()
    const { running, url } = await serve(root, data)
    fail('throw')
    await post(url, '/v1/streams/events', lines(event('1')))
    await running.says(/failed notify: Handler 'notify' failed: the mail server is away/)
    const status = await millrace(['status', '--project', root, '--data', data])
    expect(status.code).toBe(1)
    expect(status.stdout).toMatch(/handler +follows +state +lag +failures\n.*\nnotify +events +failed +1 +\d/)
    expect(status.stdout).toContain("failed Handler 'notify' failed: the mail server is away")
    expect(await get(url, '/v1/datasets/events')).toMatchObject({
      state: 'ok',
      rows: 1,
      handlers: [{ name: 'notify', state: 'failed', lag: 1 }],
    })
    fail('')
    await running.says(/ok notify: again/)
    expect(calls().map(({ rows }) => rows)).toEqual([['1']])
    await running.kill('SIGTERM')
  })

  test('run delivers what is due before it ends, and fails with a handler that does', async () => {
    const { root, data, calls, fail } = handling()
    const { running, url } = await serve(root, data)
    fail('throw')
    await post(url, '/v1/streams/events', lines(event('1'), event('2')))
    await running.says(/failed notify/)
    await running.kill('SIGTERM')

    const failed = await millrace(['run', '--project', root, '--data', data])
    expect(failed.code).toBe(1)
    expect(failed.stdout).toContain("failed Handler 'notify' failed: the mail server is away")
    const idle = await millrace(['status', '--json', '--project', root, '--data', data])
    expect(JSON.parse(idle.stdout).datasets[0].handlers).toEqual([{ name: 'notify', state: 'ok', lag: 1, failures: 0 }])
    fail('')
    const report = await millrace(['run', '--json', '--project', root, '--data', data])
    expect(JSON.parse(report.stdout.trim().split('\n').at(-1)!)).toMatchObject({
      ok: true,
      handlers: [{ name: 'notify', dataset: 'events', rows: 2, state: 'ok' }],
    })
    expect(calls().map(({ rows }) => rows)).toEqual([['1', '2']])
    expect((await millrace(['run', '--project', root, '--data', data])).stdout).toMatch(/notify +events +ok +0/)
  })
})

test('a client that follows resumes where it was after kill -9', async () => {
  const { root, data } = handling()
  let { running, url } = await serve(root, data)
  const first = await new Follower(`${url}/v1/datasets/events/live`).until((f) => f.events.length === 1)
  await post(url, '/v1/streams/events', lines(event('1'), event('2')))
  await first.until((f) => f.rows().length === 2)
  await post(url, '/v1/streams/events', lines(event('3')))
  await running.kill('SIGKILL')
  await first.end()
  ;({ running, url } = await serve(root, data))
  await post(url, '/v1/streams/events', lines(event('4')))
  const again = new Follower(`${url}/v1/datasets/events/live`, { 'last-event-id': first.lastId })
  await again.until((f) => first.rows().length + f.rows().length === 4)
  expect([...first.rows(), ...again.rows()].map(({ id }) => id)).toEqual(['1', '2', '3', '4'])
  again.close()
  await running.kill('SIGTERM')
})
