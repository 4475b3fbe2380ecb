import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { freePort } from '../../../scripts/services/free-ports.ts'
import { copyJars, installOnce, locked } from '../../../scripts/services/packages.ts'
import { s3Config } from '../../lake/support/home.ts'

/** A catalog server of another make. */
export interface JavaCatalog {
  readonly uri: string
  stop(): Promise<void>
}

/**
 * Starts Apache Iceberg's own REST catalog server (`RESTCatalogServer` of its test fixtures, over its JDBC catalog on SQLite), which keeps
 * its tables below `warehouse`. `properties` are the server's, under the names of its environment. Hadoop's file system and Iceberg's S3 come from Spark's jars.
 */
export async function startJavaCatalog(
  folder: string,
  warehouse: string,
  properties: Readonly<Record<string, string>> = {},
): Promise<JavaCatalog> {
  const classpath = process.env['SPARK_CLASSPATH']
  if (classpath === undefined) throw new Error('SPARK_CLASSPATH is not set: run the tests by npm run test:scale.')
  const spark = dirname(classpath)
  const libraries = join(dirname(spark), 'catalog')
  const lock = locked('catalog.jars')
  await installOnce(libraries, [lock], (directory) => copyJars(lock, directory))
  mkdirSync(folder, { recursive: true })
  const port = await freePort()
  const shared = ['hadoop-client-api-*', 'hadoop-client-runtime-*', 'iceberg-aws-bundle-*']
  const jars = [join(libraries, '*'), ...shared.flatMap((name) => globSync(join(spark, `${name}.jar`)))]
  const child = spawn(
    JAVA,
    ['-Xmx300m', '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn', '-cp', jars.join(':'), MAIN],
    {
      env: {
        ...process.env,
        CATALOG_REST_PORT: String(port),
        CATALOG_URI: `jdbc:sqlite:${folder}/catalog.db`,
        CATALOG_WAREHOUSE: warehouse,
        ...(warehouse.startsWith('s3://') ? s3Properties() : {}),
        ...properties,
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4000)))
  const uri = `http://127.0.0.1:${port}`
  while (!(await answers(uri))) {
    if (child.exitCode !== null) throw new Error(`The catalog server has ended: ${said}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return { uri, stop: () => ended(child) }
}

const JAVA = 'java'
const MAIN = 'org.apache.iceberg.rest.RESTCatalogServer'

/** The server takes properties from the environment: `__` is a dash, `_` a dot. */
function s3Properties(): Record<string, string> {
  const { endpoint, region, credentials } = s3Config('')
  return {
    CATALOG_IO__IMPL: 'org.apache.iceberg.aws.s3.S3FileIO',
    CATALOG_S3_ENDPOINT: endpoint,
    CATALOG_S3_PATH__STYLE__ACCESS: 'true',
    CATALOG_CLIENT_REGION: region,
    CATALOG_S3_ACCESS__KEY__ID: credentials.accessKeyId,
    CATALOG_S3_SECRET__ACCESS__KEY: credentials.secretAccessKey,
  }
}

async function answers(uri: string): Promise<boolean> {
  try {
    return (await fetch(`${uri}/v1/config`)).ok
  } catch {
    return false
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}
