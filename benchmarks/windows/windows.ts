import { sql, stream, t, table } from 'millrace'

export const events = stream('events', {
  columns: { event_id: t.long(), happened: t.timestamp(), page: t.string(), amount: t.int() },
  time: 'happened',
  unique: { columns: ['event_id'], horizon: '10 minutes' },
})

export const perSecond = table('per_second', {
  window: { size: '1 second' },
  sql: sql`select page, count(*) as n, sum(amount) as amount from ${events} group by page`,
})
