import { randomBytes } from 'node:crypto'
import { basename } from 'node:path'
import { systemClock } from '../../../src/base/clock.ts'
import { DiskStore } from '../../../src/lake/disk-store.ts'
import { Lake } from '../../../src/lake/lake.ts'
import { RemoteCatalog } from '../../../src/lake/remote/catalog.ts'
import type { ClientEffects } from '../../../src/lake/remote/client.ts'
import type { CatalogConfig } from '../../../src/lake/remote/config.ts'
import { S3Store } from '../../../src/lake/s3-store.ts'
import type { LakeStore } from '../../../src/lake/store.ts'
import { systemDisk } from '../../../src/storage/disk.ts'
import { type LakeHome, storeOptions } from './home.ts'

export interface CatalogOfRoot {
  (root: string): Promise<CatalogConfig>
}

/** Lakes as `files` keeps them, looked up in another catalog. */
export function catalogHome(files: LakeHome, catalogOf: CatalogOfRoot): LakeHome {
  return {
    ...files,
    newRoot: async () => {
      const root = await files.newRoot()
      // For processes that a test starts: they open the lake of its newest root.
      process.env['TEST_CATALOG'] = JSON.stringify(await catalogOf(root))
      return root
    },
    open: async (root, options = {}) => openRemote(root, await catalogOf(root), options),
  }
}

/** A lake at a place, as a process of its own would open it. */
export async function openRemote(
  root: string,
  config: CatalogConfig,
  options: Partial<ClientEffects> = {},
): Promise<Lake> {
  const effects = { clock: systemClock, random: randomBytes, ...options }
  const store = await storeAt(root)
  return new Lake({ store, catalog: await RemoteCatalog.open(config, store, effects), clock: effects.clock })
}

async function storeAt(root: string): Promise<LakeStore> {
  if (root.startsWith('s3://')) return S3Store.open(await storeOptions(root))
  return new DiskStore(systemDisk, root, () => randomBytes(16).toString('hex'))
}

/** A namespace of its own for each root. */
export function namespaceOf(root: string): string {
  return basename(root).replaceAll(/[^A-Za-z0-9_]/g, '_')
}
