import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { folder } from './support.ts'

const MIB = 1024 * 1024

test.for([
  ['big.csv', 200 * MIB],
  ['one-line.json', 100 * MIB],
] as const)('%s: memory does not grow with the file', async ([name, size]) => {
  const child = fileURLToPath(new URL('./memory-child.ts', import.meta.url))
  const flags = ['--max-old-space-size=64', '--conditions=millrace-source', '--no-warnings']
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, child, folder(), name, String(size)])
  const { records, bytes, growth } = JSON.parse(stdout) as { records: number; bytes: number; growth: number }
  expect(bytes).toBeGreaterThan(size)
  expect(records).toBeGreaterThan(700_000)
  expect(growth).toBeLessThan(256 * MIB)
})
