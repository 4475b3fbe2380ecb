import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Home } from './home.ts'
import { LOGGING, needJava } from './java.ts'
import { copyJars, installOnce, locked, run } from './packages.ts'
import { makePython } from './python.ts'
import type { Service } from './service.ts'

const VERSION = '4.1.3'
const LOCKS = ['spark.jars', 'pyspark.txt', 'setuptools.txt'].map(locked) as [string, string, string]

/**
 * A Spark Connect server of two threads and about 2 GB, with what Iceberg on S3 and Kafka need. Spark comes from the Python package,
 * which holds all its jars; nothing of it runs in Python.
 */
export const spark: Service = {
  name: 'spark',
  title: `Spark Connect ${VERSION}`,
  address: 'SPARK_URL',
  async install(home, say) {
    await needJava()
    const [jars, pyspark, setuptools] = LOCKS
    await installOnce(libraries(home), LOCKS, async (directory) => {
      say('pip downloads 455 MB')
      await unpackSpark(directory, pyspark, setuptools)
      say('Maven copies 120 MB of extensions')
      await copyJars(jars, directory)
    })
  },
  processes: () => 1,
  ports: () => ['spark'],
  prepare: (home) => {
    // What a server that was killed has left.
    rmSync(join(home.folder('spark'), 'local'), { recursive: true, force: true })
    return Promise.resolve()
  },
  programs: (home) => {
    const cwd = join(home.directory, 'spark')
    return [
      {
        name: 'spark',
        command: 'java',
        args: [...MEMORY, ...MODULES, LOGGING, ...settings(home), '-cp', join(libraries(home), '*'), MAIN],
        // Spark would ask the machine for its own name, and listen where that leads.
        env: { SPARK_LOCAL_IP: '127.0.0.1', SPARK_LOCAL_HOSTNAME: 'localhost' },
        cwd,
        log: join(cwd, 'spark.log'),
      },
    ]
  },
  // It listens when all else is up: its session, and the jars named by its extensions.
  probe: (home) =>
    new Promise((done, fail) => {
      const socket = connect(home.port('spark'), '127.0.0.1', () => done())
      socket.once('error', fail)
      socket.once('close', () => fail(new Error('closed')))
      socket.once('connect', () => socket.destroy())
    }),
  // The jars are for tests that start, and kill, servers of their own.
  environment: (home) => ({
    SPARK_URL: `sc://127.0.0.1:${home.port('spark')}`,
    SPARK_CLASSPATH: join(libraries(home), '*'),
  }),
}

const MAIN = 'org.apache.spark.sql.connect.service.SparkConnectServer'
const MEMORY = ['-Xms256m', '-Xmx1400m', '-XX:MaxDirectMemorySize=384m']

/** What spark-submit adds for Java 17 and later (org.apache.spark.launcher.JavaModuleOptions). */
export const MODULES = [
  '--add-modules=jdk.incubator.vector',
  ...[
    'java.base/java.lang',
    'java.base/java.lang.invoke',
    'java.base/java.lang.reflect',
    'java.base/java.io',
    'java.base/java.net',
    'java.base/java.nio',
    'java.base/java.util',
    'java.base/java.util.concurrent',
    'java.base/java.util.concurrent.atomic',
    'java.base/jdk.internal.ref',
    'java.base/sun.nio.ch',
    'java.base/sun.nio.cs',
    'java.base/sun.security.action',
    'java.base/sun.util.calendar',
    'java.security.jgss/sun.security.krb5',
  ].map((name) => `--add-opens=${name}=ALL-UNNAMED`),
  '-Djdk.reflect.useDirectMethodHandle=false',
  '-Dio.netty.tryReflectionSetAccessible=true',
]

/** Catalogs are settings of a session: who connects names its own. */
function settings(home: Home): string[] {
  return Object.entries({
    'spark.master': 'local[2]',
    'spark.app.name': 'millrace-services',
    'spark.connect.grpc.binding.address': '127.0.0.1',
    'spark.connect.grpc.binding.port': home.port('spark'),
    'spark.driver.host': '127.0.0.1',
    'spark.driver.bindAddress': '127.0.0.1',
    'spark.ui.enabled': false,
    'spark.local.dir': join(home.directory, 'spark', 'local'),
    'spark.sql.warehouse.dir': join(home.directory, 'spark', 'warehouse'),
    'spark.sql.extensions': 'org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions',
    'spark.sql.session.timeZone': 'UTC',
    // 200 by default, for clusters.
    'spark.sql.shuffle.partitions': 4,
  }).map(([key, value]) => `-D${key}=${value}`)
}

function libraries(home: Home): string {
  return join(home.packages, 'spark')
}

/** pip compares the checksums. It builds nothing, but reads the description of a source package by running it, with setuptools. */
async function unpackSpark(directory: string, pyspark: string, setuptools: string): Promise<void> {
  const work = join(directory, 'download')
  mkdirSync(work)
  const pip = await makePython(join(work, 'venv'), 'pip brings Spark')
  await pip('install', '--requirement', setuptools)
  const asItIs = ['--no-binary', ':all:', '--no-build-isolation']
  await pip('download', ...asItIs, '--dest', work, '--requirement', pyspark)
  const archive = readdirSync(work).find((name) => name.endsWith('.tar.gz'))!
  const which = [`pyspark-${VERSION}/deps/jars`, '--strip-components=3']
  await run('tar', ['-xzf', join(work, archive), '-C', directory, ...which], {
    need: 'Spark comes in an archive',
    remedy: 'apt-get install tar',
  })
  rmSync(work, { recursive: true })
}
