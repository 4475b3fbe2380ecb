import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

// unit: `npm test`, under ten minutes. soak: long kill loops and fault sweeps, `npm run test:soak`, also run by CI.
// scale: against real Kafka, Spark, S3 and Postgres, which it starts, `npm run test:scale`.
// interop: readers that are not ours, installed apart, `npm run test:interop`.
const shared = {
  resolve: { conditions: ['millrace-source'] },
  ssr: { resolve: { conditions: ['millrace-source', 'node'] } },
}

/** Where to leave a report for machines. */
const report = process.env['TEST_REPORT']

export default defineConfig({
  test: {
    // Vitest would keep a processor for itself.
    maxWorkers: availableParallelism(),
    // As bin/millrace.js starts Node, and why: many threads come and go here.
    execArgv: ['--no-wasm-generic-wrapper'],
    env: { NODE_COMPILE_CACHE: join(tmpdir(), 'millrace-compile-cache') },
    reporters: report === undefined ? ['default'] : ['default', ['json', { outputFile: report }]],
    projects: [
      {
        ...shared,
        test: {
          name: 'unit',
          globalSetup: 'test/support/scratch.ts',
          include: ['test/**/*.test.ts'],
          exclude: ['test/soak/**', 'test/interop/**', 'test/scale/**'],
          pool: 'forks',
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        ...shared,
        test: {
          name: 'soak',
          globalSetup: 'test/support/scratch.ts',
          include: ['test/soak/**/*.test.ts'],
          pool: 'forks',
          testTimeout: 3_600_000,
          fileParallelism: false,
        },
      },
      {
        ...shared,
        test: {
          name: 'scale',
          globalSetup: 'test/support/scratch.ts',
          include: ['test/scale/**/*.test.ts'],
          pool: 'forks',
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        ...shared,
        test: {
          name: 'interop',
          globalSetup: 'test/support/scratch.ts',
          include: ['test/interop/**/*.test.ts'],
          pool: 'forks',
          testTimeout: 600_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
