import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Home } from '../../scripts/services/home.ts'
import { installOnce, locked, run } from '../../scripts/services/packages.ts'

const LOCKS = [locked('setuptools.txt'), fileURLToPath(new URL('./requirements.txt', import.meta.url))]
const PYTHON = {
  need: 'PySpark is a Python package',
  remedy: 'apt-get install python3-venv (bash scripts/install-debian python does)',
  network: 'PyPI must be reachable; a mirror or proxy is set in pip.conf or PIP_INDEX_URL.',
}

/** A Python with PySpark's client: the one that PYSPARK_PYTHON names, or one installed beside the services, once. */
export async function pythonWithSpark(): Promise<string> {
  const named = process.env['PYSPARK_PYTHON']
  if (named !== undefined) return named
  const directory = join(Home.default().packages, 'pyspark')
  await installOnce(directory, LOCKS, async (fresh) => {
    await run('python3', ['-m', 'venv', fresh], PYTHON)
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--require-hashes', '--no-deps']
    for (const lock of LOCKS)
      await run(join(fresh, 'bin', 'python'), [...pip, '--no-build-isolation', '--requirement', lock], PYTHON)
  })
  return join(directory, 'bin', 'python')
}
