import { join } from 'node:path'
import { systemClock } from '../../../src/base/clock.ts'
import type { Lake } from '../../../src/lake/lake.ts'
import { RestCatalog } from '../../../src/lake/rest/catalog.ts'
import type { TableId } from '../../../src/lake/table.ts'
import { startServer } from '../../../src/serving/server.ts'
import type { Server } from '../../../src/serving/server.ts'
import { FilePlatform } from '../../serving/fixture.ts'
import { temporaryDirectory } from './lake.ts'

/** Serves a lake as an Iceberg REST catalog; `managed` are the namespaces of the project. */
export async function serveCatalog(
  lake: Lake,
  { managed = [], token }: { managed?: readonly string[]; token?: string } = {},
): Promise<Server> {
  const folder = await temporaryDirectory()
  return startServer({
    platform: new FilePlatform(folder, {}),
    catalog: new RestCatalog({ lake, isManaged: ({ namespace }: TableId) => managed.includes(namespace) }),
    config: { server: { port: 0, ...(token === undefined ? {} : { token }) } },
    clock: systemClock,
    directories: [folder],
    temporary: join(folder, 'tmp'),
    controlToken: 'control',
  })
}
