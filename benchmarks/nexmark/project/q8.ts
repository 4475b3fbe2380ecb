import { sql, table } from 'millrace'
import { auctions, persons } from './streams.ts'

/** New users who opened an auction in the ten seconds in which they came. */
export const q8 = table('q8', {
  window: { size: '10 seconds' },
  acceptLate: '30 seconds',
  sql: sql`select id, name from ${persons} where id in (select seller from ${auctions})`,
})
