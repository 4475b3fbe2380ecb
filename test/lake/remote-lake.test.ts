// The suites of the lake as a client of another catalog: Millrace's own, behind a gateway.
import { onTestFinished } from 'vitest'
import { Lake } from '../../src/lake/lake.ts'
import { serveCatalog } from './support/catalog.ts'
import { catalogHome } from './support/catalog-home.ts'
import { Gateway } from './support/gateway.ts'
import { diskHome } from './support/home.ts'
import { useHome } from './support/lake.ts'
import type { CatalogConfig } from '../../src/lake/remote/config.ts'

const started = new Map<string, Promise<CatalogConfig>>()

async function startAt(root: string): Promise<CatalogConfig> {
  const server = await serveCatalog(new Lake({ root }))
  const gateway = await Gateway.open(`${server.url}/iceberg`)
  // One and a half tokens for each test.
  gateway.lifeSeconds = 0.5
  onTestFinished(async () => {
    await gateway.close()
    await server.close()
  })
  return { uri: gateway.uri, warehouse: 'w1', credential: 'shop:Pa:55word' }
}

useHome(
  catalogHome({ ...diskHome, wantsFiles: true }, (root) => {
    if (!started.has(root)) started.set(root, startAt(root))
    return started.get(root)!
  }),
)
await import('./table.test.ts')
await import('./evolution.test.ts')
