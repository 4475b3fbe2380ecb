import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { freePort } from '../../scripts/services/free-ports.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { LOGGING } from '../../scripts/services/java.ts'
import { MODULES } from '../../scripts/services/spark.ts'
import { cpuSeconds } from '../harness.ts'

const JAVA = 'java'

export interface SparkServerOptions {
  readonly settings?: Readonly<Record<string, string>>
  readonly memory?: string
  /** For shuffles and state. Default: the machine's own for such. */
  readonly temporary?: string
}

/** A Spark Connect server of two threads and of one's own, which may be killed and started again at the same address. */
export class SparkServer {
  readonly #port: number
  readonly #options: SparkServerOptions
  #process: ChildProcess | undefined

  private constructor(port: number, options: SparkServerOptions) {
    this.#port = port
    this.#options = options
  }

  static async start(options: SparkServerOptions = {}): Promise<SparkServer> {
    const server = new SparkServer(await freePort(), options)
    await server.start()
    return server
  }

  get url(): string {
    return `sc://127.0.0.1:${this.#port}`
  }

  /** Starts it, and waits until it answers. */
  async start(): Promise<void> {
    const classpath = process.env['SPARK_CLASSPATH']
    if (classpath === undefined)
      throw new MillraceError('invalid', 'no-spark', 'SPARK_CLASSPATH names no jars of Spark.', {
        hint: 'npm run services -- run -- COMMAND sets it.',
      })
    const { memory = '1g', temporary = tmpdir(), settings } = this.#options
    const all = {
      'spark.master': 'local[2]',
      'spark.app.name': 'millrace',
      'spark.driver.host': '127.0.0.1',
      'spark.driver.bindAddress': '127.0.0.1',
      'spark.ui.enabled': 'false',
      'spark.connect.grpc.binding.address': '127.0.0.1',
      'spark.connect.grpc.binding.port': String(this.#port),
      'spark.sql.shuffle.partitions': '2',
      'spark.local.dir': temporary,
      'spark.sql.extensions': 'org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions',
      ...settings,
    }
    const started = spawn(
      JAVA,
      [
        `-Xmx${memory}`,
        ...MODULES,
        LOGGING,
        ...Object.entries(all).map(([key, value]) => `-D${key}=${value}`),
        '-cp',
        classpath,
        'org.apache.spark.sql.connect.service.SparkConnectServer',
      ],
      { cwd: temporary, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, SPARK_LOCAL_IP: '127.0.0.1' } },
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

  /** Seconds of processor time that it has taken. */
  cpu(): Promise<number> {
    return cpuSeconds(this.#process!.pid!)
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
