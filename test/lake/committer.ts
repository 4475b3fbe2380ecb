// A process of its own that commits to a table: `node committer.ts ROOT NAME COUNT`. Prints what it committed.
import { openAt } from './support/home.ts'

const [root, name, count] = process.argv.slice(2) as [string, string, string]
const lake = await openAt(root)
const table = (await lake.load({ namespace: 'a', name: 'b' }))!
for (let i = 0; i < Number(count); i++) {
  const path = `${table.location}/data/${name}-${i}.parquet`
  const file = { path, records: 1, bytes: 1, partition: [], columns: {}, synced: true }
  await table.commit({ operation: 'append', add: [file], remove: [], summary: { 'millrace.by': name } })
  console.log(path)
}
