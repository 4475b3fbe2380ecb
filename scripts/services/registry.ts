import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Home } from './home.ts'
import { needJava } from './java.ts'
import { copyJars, fileOf, installOnce, locked, readJars, run } from './packages.ts'
import { makePython } from './python.ts'
import type { Service } from './service.ts'

const LOCKS = ['registry.jars', 'serializers.txt'].map(locked) as [string, string]
const VERSION = '2.6.13'
const UNPACK = { need: 'tar unpacks the registry', remedy: 'apt-get install tar' }

/** A schema registry with Confluent's interface, which keeps all in memory, and a Python with Confluent's serializers. */
export const registry: Service = {
  name: 'registry',
  title: `Apicurio Registry ${VERSION}`,
  address: 'REGISTRY_URL',
  optional: true,
  async install(home, say) {
    await needJava()
    await installOnce(libraries(home), LOCKS, async (directory) => {
      const [archive, serializers] = LOCKS
      say('Maven copies 142 MB')
      await copyJars(archive, directory)
      const packed = join(directory, fileOf(readJars(archive)[0]!))
      await run('tar', ['-xzf', packed, '-C', directory], UNPACK)
      rmSync(packed)
      say('pip downloads 20 MB')
      const pip = await makePython(join(directory, 'python'), 'pip brings the serializers that tests write with')
      await pip('install', '--only-binary', ':all:', '--requirement', serializers)
    })
  },
  processes: () => 1,
  ports: () => ['registry'],
  prepare: (home) => {
    home.folder('registry')
    return Promise.resolve()
  },
  programs: (home) => {
    const cwd = join(home.directory, 'registry')
    return [
      {
        name: 'registry',
        command: 'java',
        args: [
          '-Xms64m',
          '-Xmx256m',
          '-jar',
          join(libraries(home), `apicurio-registry-app-${VERSION}.Final-runner.jar`),
        ],
        env: { QUARKUS_HTTP_HOST: '127.0.0.1', QUARKUS_HTTP_PORT: String(home.port('registry')) },
        cwd,
        log: join(cwd, 'registry.log'),
      },
    ]
  },
  async probe(home) {
    const answer = await fetch(`${url(home)}/subjects`)
    if (!answer.ok) throw new Error(`it answers ${answer.status}`)
  },
  environment: (home) => ({
    REGISTRY_URL: url(home),
    REGISTRY_PYTHON: join(libraries(home), 'python', 'bin', 'python'),
  }),
}

function url(home: Home): string {
  return `http://127.0.0.1:${home.port('registry')}/apis/ccompat/v7`
}

function libraries(home: Home): string {
  return join(home.packages, 'registry')
}
