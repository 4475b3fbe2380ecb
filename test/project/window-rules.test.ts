import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { sql, stream, t, table, within } from '../../src/index.ts'
import { Database } from '../../src/engine/duckdb/database.ts'
import type { Declaration } from '../../src/project/dataset.ts'
import { Project } from '../../src/project/project.ts'
import { bindProject } from '../../src/runtime/bind.ts'

const HERE = fileURLToPath(import.meta.url)

const columns = { id: t.string(), who: t.string(), ts: t.timestamp() }
const events = stream('events', { columns, time: 'ts', lateness: '5 seconds' })
const others = stream('others', { columns, time: 'ts' })
const timeless = stream('timeless', { columns: { id: t.string() } })
const hops = table('hops', {
  window: { size: '1 minute', every: '10 seconds' },
  sql: sql`select count(*) as n from ${events}`,
})

async function problemsOf(declarations: readonly Declaration[]) {
  const project = new Project({ name: 'p', directory: '/p', config: {}, declarations })
  const database = await Database.open({ threads: 1, memory: 2 ** 28, temporary: '/nonexistent' })
  try {
    return (await bindProject(project, database)).problems
  } finally {
    await database.close()
  }
}

const count = sql`select count(*) as n from ${events}`
/** Wrong on purpose: types would not allow some of it. */
const bad = (options: object) => table('bad', { sql: count, ...options })

test.each<[string, () => Declaration, string, RegExp, RegExp]>([
  [
    'a window of no length',
    () => bad({ window: { size: '0 seconds' } }),
    'bad-window',
    /size is 0 seconds/,
    /at least one/,
  ],
  [
    'a window of half a second',
    () => bad({ window: { size: '500 ms' } }),
    'bad-window',
    /size is 500 ms/,
    /whole seconds/,
  ],
  [
    'an interval that is none',
    () => bad({ interval: 'decade' }),
    'bad-interval',
    /interval is 'decade'/,
    /'10 seconds'/,
  ],
  [
    'windows with gaps between them',
    () => bad({ window: { size: '1 minute', every: '2 minutes' } }),
    'bad-window',
    /leave gaps/,
    /at most as long as size/,
  ],
  [
    'too many windows for an event',
    () => bad({ window: { size: '1 day', every: '1 second' } }),
    'bad-window',
    /into 86400 windows, over 1000/,
    /every longer/,
  ],
  [
    'a window over what has no time',
    () => bad({ window: { size: '1 minute' }, sql: sql`select count(*) as n from ${timeless}` }),
    'no-time',
    /reads nothing that has a time/,
    /Read a stream with time/,
  ],
  [
    'windows over windows that overlap',
    () => bad({ window: { size: '1 hour' }, sql: sql`select sum(n) as n from ${hops}` }),
    'overlapping-windows',
    /reads 'hops', whose windows overlap/,
    /windows that do not overlap/,
  ],
  [
    'a session without a key',
    () => bad({ window: { gap: '1 minute' } }),
    'no-key',
    /a session has no key/,
    /by: 'user_id'/,
  ],
  [
    'a session with a key that is no column',
    () => bad({ window: { gap: '1 minute', by: 'whoo' } }),
    'unknown-column',
    /'whoo', which stream 'events' does not have/,
    /'who'/,
  ],
  [
    'a session without a gap',
    () => bad({ window: { gap: '0 s', by: 'who' } }),
    'bad-window',
    /gap is 0 s/,
    /at least one millisecond/,
  ],
  [
    'sessions of two streams',
    () =>
      bad({
        window: { gap: '1 minute', by: 'who' },
        sql: sql`select count(*) as n from ${events} join ${others} using (id)`,
      }),
    'bad-window',
    /reads 'events' and 'others'/,
    /sessions of one/,
  ],
  [
    'a session whose query cannot be put together',
    () =>
      bad({
        window: { gap: '1 minute', by: 'who' },
        sql: sql`select count(*) as n from ${events} using sample 10 rows`,
      }),
    'not-by-session',
    /cannot be computed for many sessions at once/,
    /aggregates/,
  ],
  [
    'a join without a bound of time',
    () =>
      bad({
        window: { size: '1 minute' },
        sql: sql`select e.id from ${events} e join ${within(others, {})} o using (id)`,
      }),
    'bad-within',
    /within\(others\) has no bound of time/,
    /before: '1 minute'/,
  ],
  [
    'a reach around no window',
    () => bad({ sql: sql`select e.id from ${events} e join ${within(others, { after: '1 minute' })} o using (id)` }),
    'bad-within',
    /but 'bad' has none/,
    /Declare window/,
  ],
  [
    'a reach into what has no time',
    () =>
      bad({
        window: { size: '1 minute' },
        sql: sql`select e.id from ${events} e join ${within(timeless, { after: '1 minute' })} o using (id)`,
      }),
    'bad-within',
    /'timeless' has no time/,
    /as it is/,
  ],
  [
    'a reach that is no duration',
    () =>
      bad({
        window: { size: '1 minute' },
        sql: sql`select e.id from ${events} e join ${within(others, { after: 'soon' })} o using (id)`,
      }),
    'bad-duration',
    /within\(others\).after: 'soon'/,
    /number and a unit/,
  ],
  [
    'nothing but what it reaches into',
    () => bad({ window: { size: '1 minute' }, sql: sql`select id from ${within(events, { after: '1 minute' })}` }),
    'no-time',
    /reads nothing that has a time/,
    /Read a stream/,
  ],
  [
    'a column of the window’s own',
    () => bad({ window: { size: '1 minute' }, sql: sql`select now()::timestamp as window_start from ${events}` }),
    'reserved-column',
    /'window_start', which the window adds itself/,
    /Leave it out/,
  ],
  [
    'a column of the session’s key',
    () => bad({ window: { gap: '1 minute', by: 'who' }, sql: sql`select any_value(who) as who from ${events}` }),
    'reserved-column',
    /'who', which the session adds itself/,
    /Leave it out/,
  ],
  [
    'an acceptance of late events that is no time',
    () => bad({ window: { size: '1 minute' }, acceptLate: 'ever' }),
    'bad-duration',
    /acceptLate: 'ever'/,
    /number and a unit/,
  ],
  [
    'a bound ahead that is no time',
    () => stream('bad', { columns, time: 'ts', ahead: 'far' }),
    'bad-duration',
    /ahead: 'far'/,
    /number and a unit/,
  ],
  [
    'idleness without a time',
    () => stream('bad', { columns, idle: '1 minute' }),
    'no-time',
    /idle says something of event time/,
    /Declare time/,
  ],
])('%s is found', async (_, declare, code, message, hint) => {
  const about = declare()
  const problems = await problemsOf([events, others, timeless, hops, about])
  expect(problems.map((problem) => problem.code)).toEqual([code])
  const [problem] = problems
  expect(problem!.message).toMatch(message)
  expect(problem!.message.startsWith(`${about.kind} 'bad' (${HERE}:`), problem!.message).toBe(true)
  expect(problem!.hint).toMatch(hint)
})

test('what is right has no problems', async () => {
  const fine = [
    table('one', { interval: '10 seconds', acceptLate: '1 hour', sql: count }),
    table('two', {
      window: { size: '1 hour' },
      emit: 'continuous',
      sql: sql`select e.id from ${events} e left join ${within(others, { before: 'always' })} o using (id)`,
    }),
    table('three', { window: { gap: '90 s', by: ['who', 'id'] }, sql: sql`select count(*) as n from ${events}` }),
    // What follows what in one stream.
    table('both', {
      window: { size: '1 hour' },
      sql: sql`select e.id from ${events} e left join ${within(events, { after: '1 minute' })} n using (id)`,
    }),
    table('four', { interval: 'day', emit: 'closed', sql: sql`select count(*) as n from ${events}` }),
  ]
  expect(await problemsOf([events, others, ...fine])).toEqual([])
})
