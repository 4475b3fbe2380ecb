import { afterEach } from 'vitest'
import type { Server } from '../../../src/serving/server.ts'
import { SparkEngine } from '../../../src/runtime/spark-engine.ts'
import { serveCatalog } from '../../lake/support/catalog.ts'
import { engineConformance } from '../../runtime/engine-conformance.ts'
import { sparkUrl } from './spark.ts'

const engines: SparkEngine[] = []
const servers: Server[] = []
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close()
  for (const server of servers.splice(0)) await server.close()
})

engineConformance('spark, by a directory it shares', (lake) => {
  const engine = new SparkEngine({ lake, url: sparkUrl(), catalog: { directory: lake.root } })
  engines.push(engine)
  return Promise.resolve(engine)
})

engineConformance('spark, by the REST catalog', async (lake) => {
  const server = await serveCatalog(lake)
  servers.push(server)
  const engine = new SparkEngine({ lake, url: sparkUrl(), catalog: { uri: `${server.url}/iceberg` } })
  engines.push(engine)
  return engine
})
