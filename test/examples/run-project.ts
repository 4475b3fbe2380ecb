import { systemClock } from '../../src/base/clock.ts'
import { loadProject } from '../../src/cli/load-project.ts'
import { Runtime } from '../../src/runtime/runtime.ts'
import { LAYERS, relationOf } from '../../src/runtime/warehouse.ts'
import { systemDisk } from '../../src/storage/disk.ts'
import { schemaMarkdown } from './schema-markdown.ts'

// Runs a project once, in a process of its own, as `millrace run` does; prints the answers to queries and its documentation as JSON.
// In a query {name} stands for the published rows of a dataset, {quarantine.name} for its quarantine.
const [directory, dataDirectory, queries] = process.argv.slice(2) as [string, string, string]
const project = await loadProject(directory)
const runtime = await Runtime.open({
  project,
  loader: new URL('../../src/cli/load-project.ts', import.meta.url).href,
  dataDirectory,
  clock: systemClock,
  disk: systemDisk,
  run: `test-${process.pid}`,
  eager: true,
  onFatal: (error) => {
    console.error(error)
    process.exit(1)
  },
})
runtime.start()
await runtime.settle()

async function quarantineSql(name: string): Promise<string> {
  const table = await runtime.warehouse.lake.load({ namespace: LAYERS.quarantine, name })
  const main = table?.snapshot('main')
  return table && main
    ? relationOf(table, await table.files(main), table.local.hold())
    : `(SELECT '' AS reason WHERE false)`
}

const answers: unknown[] = []
for (const query of JSON.parse(queries) as string[]) {
  let sql = query
  for (const [whole, quarantine, name] of query.matchAll(/\{(quarantine\.)?(\w+)\}/g)) {
    const relation = quarantine === undefined ? await runtime.publishedSql(name!) : await quarantineSql(name!)
    sql = sql.replace(whole, relation)
  }
  answers.push(
    await runtime.database.use(async (connection) => (await connection.runAndReadAll(sql)).getRowObjectsJson()),
  )
}
console.log(JSON.stringify({ answers, schema: schemaMarkdown(project, runtime.bound.fields) }))
await runtime.stop()
