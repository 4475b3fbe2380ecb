// The suites of the lake over a bucket instead of a directory.
import { bucket } from './bucket.ts'
import { s3Home } from '../../lake/support/home.ts'
import { useHome } from '../../lake/support/lake.ts'

useHome(await s3Home(await bucket()))
await import('../../lake/table.test.ts')
await import('../../lake/versions.test.ts')
await import('../../lake/maintenance.test.ts')
await import('../../lake/processes.test.ts')
await import('../../lake/evolution.test.ts')
