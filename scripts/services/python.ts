import { join } from 'node:path'
import { run } from './packages.ts'

/** pip at work in a Python of its own. It brings what its requirements name, each in a version and with a checksum, and nothing else. */
export type Pip = (command: string, ...args: readonly string[]) => Promise<unknown>

/** Makes a Python in a directory. `need` says what for, where there is none to make it with. Errors: those of `run`. */
export async function makePython(directory: string, need: string): Promise<Pip> {
  const options = {
    need,
    remedy: 'apt-get install python3-venv (bash scripts/install-debian python does)',
    network: 'PyPI must be reachable; a mirror or proxy is set in pip.conf or PIP_INDEX_URL.',
  }
  await run('python3', ['-m', 'venv', directory], options)
  const quiet = ['--quiet', '--disable-pip-version-check', '--require-hashes', '--no-deps']
  return (command, ...args) => run(join(directory, 'bin', 'python'), ['-m', 'pip', command, ...quiet, ...args], options)
}
