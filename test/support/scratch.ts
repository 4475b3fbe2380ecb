import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Gives all tests of a run a temporary directory of their own, which goes with it whatever they leave there. */
export async function setup(): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-tests-'))
  // Servers that tests start may run as somebody else.
  await chmod(directory, 0o755)
  process.env['TMPDIR'] = directory
  return () => rm(directory, { recursive: true, force: true })
}
