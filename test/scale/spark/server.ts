import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { assert, onTestFinished } from 'vitest'

const JAVA = 'java'

/** What spark-submit adds for Java 17 and later. */
const OPENED = [
  'lang',
  'lang.invoke',
  'lang.reflect',
  'io',
  'net',
  'nio',
  'util',
  'util.concurrent',
  'util.concurrent.atomic',
]

/** A Spark Connect server of a test's own, which it may kill and start again at the same address. */
export class SparkServer {
  readonly #port: number
  readonly #settings: Readonly<Record<string, string>>
  #process: ChildProcess | undefined

  private constructor(port: number, settings: Readonly<Record<string, string>>) {
    this.#port = port
    this.#settings = settings
  }

  static async start(settings: Readonly<Record<string, string>> = {}): Promise<SparkServer> {
    const server = new SparkServer(await freePort(), settings)
    onTestFinished(() => server.kill())
    await server.start()
    return server
  }

  get url(): string {
    return `sc://127.0.0.1:${this.#port}`
  }

  /** Starts it, and waits until it answers. */
  async start(): Promise<void> {
    const classpath = process.env['SPARK_CLASSPATH']
    assert(classpath, 'SPARK_CLASSPATH names the jars of Spark: npm run test:scale sets it')
    const settings = {
      'spark.master': 'local[2]',
      'spark.app.name': 'millrace-test',
      'spark.driver.host': '127.0.0.1',
      'spark.driver.bindAddress': '127.0.0.1',
      'spark.ui.enabled': 'false',
      'spark.connect.grpc.binding.address': '127.0.0.1',
      'spark.connect.grpc.binding.port': String(this.#port),
      'spark.sql.shuffle.partitions': '2',
      'spark.local.dir': tmpdir(),
      'spark.sql.extensions': 'org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions',
      ...this.#settings,
    }
    const started = spawn(
      JAVA,
      [
        '-Xmx1g',
        '--add-modules=jdk.incubator.vector',
        ...OPENED.map((name) => `--add-opens=java.base/java.${name}=ALL-UNNAMED`),
        '--add-opens=java.base/sun.nio.ch=ALL-UNNAMED',
        '--add-opens=java.base/sun.util.calendar=ALL-UNNAMED',
        '-Dio.netty.tryReflectionSetAccessible=true',
        ...Object.entries(settings).map(([key, value]) => `-D${key}=${value}`),
        '-cp',
        classpath,
        'org.apache.spark.sql.connect.service.SparkConnectServer',
      ],
      { cwd: tmpdir(), stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, SPARK_LOCAL_IP: '127.0.0.1' } },
    )
    this.#process = started
    await new Promise<void>((resolve, reject) => {
      let log = ''
      const read = (chunk: Buffer): void => {
        log = (log + chunk.toString()).slice(-20_000)
        if (/Spark Connect server started at/.test(log)) resolve()
      }
      started.stdout.on('data', read)
      started.stderr.on('data', read)
      started.once('exit', (code) => reject(new Error(`Spark ended (${code}):\n${log}`)))
    })
  }

  /** Ends it as a machine that fails would. */
  async kill(): Promise<void> {
    const running = this.#process
    this.#process = undefined
    if (!running || running.exitCode !== null || running.signalCode !== null) return
    running.kill('SIGKILL')
    await once(running, 'exit')
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
