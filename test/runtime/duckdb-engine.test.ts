import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { Database } from '../../src/engine/duckdb/database.ts'
import { duckdbEngine } from '../../src/runtime/duckdb-engine.ts'
import { engineConformance } from './engine-conformance.ts'

let directory: string
let database: Database

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-engine-'))
  database = await Database.open({ threads: 2, memory: 256 * 1024 ** 2, temporary: join(directory, 'tmp') })
})
afterAll(async () => {
  await database.close()
  await rm(directory, { recursive: true, force: true })
})

engineConformance('duckdb', () => Promise.resolve(duckdbEngine(database)))
