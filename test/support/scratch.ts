import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Gives all tests of a run a temporary directory of their own, which goes with it whatever they leave there. */
export async function setup(): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-tests-'))
  process.env['TMPDIR'] = directory
  return () => rm(directory, { recursive: true, force: true })
}
