// A process of its own that commits to a table: `node committer.ts ROOT NAME COUNT`. Prints what it committed.
import { Lake } from '../../src/lake/lake.ts'

const [root, name, count] = process.argv.slice(2) as [string, string, string]
const table = (await new Lake({ root }).load({ namespace: 'a', name: 'b' }))!
for (let i = 0; i < Number(count); i++) {
  const path = `${table.location}/data/${name}-${i}.parquet`
  const file = { path, records: 1, bytes: 1, partition: [], columns: {}, synced: true }
  await table.commit({ operation: 'append', add: [file], remove: [], summary: { 'millrace.by': name } })
  console.log(path)
}
