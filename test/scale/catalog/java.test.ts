// The suites of the lake over Apache Iceberg's own REST catalog server, its tables in a directory.
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { catalogHome, namespaceOf } from '../../lake/support/catalog-home.ts'
import { diskHome } from '../../lake/support/home.ts'
import { useHome } from '../../lake/support/lake.ts'
import { folder } from '../../cli/support.ts'
import { startJavaCatalog } from './java-catalog.ts'

const place = folder()
const server = await startJavaCatalog(place, join(place, 'warehouse'))
afterAll(() => server.stop())

useHome(catalogHome(diskHome, async (root) => ({ uri: server.uri, namespace: namespaceOf(root) })))
await import('../../lake/table.test.ts')
await import('../../lake/evolution.test.ts')
await import('../../lake/processes.test.ts')
