import { sql, table } from 'millrace'
import { auctions, persons } from './streams.ts'

/** Local item suggestion: who sells in category 10 in three states. */
export const q3 = table('q3', {
  sql: sql`
    select p.name, p.city, p.state, a.id
    from ${auctions} as a join ${persons} as p on a.seller = p.id
    where a.category = 10 and p.state in ('OR', 'ID', 'CA')`,
})
