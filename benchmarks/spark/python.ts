import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Home } from '../../scripts/services/home.ts'
import { installOnce, locked } from '../../scripts/services/packages.ts'
import { makePython } from '../../scripts/services/python.ts'

const LOCKS = [locked('setuptools.txt'), fileURLToPath(new URL('./requirements.txt', import.meta.url))]

/** A Python with PySpark's client: the one that PYSPARK_PYTHON names, or one installed beside the services, once. */
export async function pythonWithSpark(): Promise<string> {
  const named = process.env['PYSPARK_PYTHON']
  if (named !== undefined) return named
  const directory = join(Home.default().packages, 'pyspark')
  await installOnce(directory, LOCKS, async (fresh) => {
    const pip = await makePython(fresh, 'PySpark is a Python package')
    for (const lock of LOCKS) await pip('install', '--no-build-isolation', '--requirement', lock)
  })
  return join(directory, 'bin', 'python')
}
