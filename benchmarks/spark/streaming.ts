import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { MillraceError } from '../../src/base/errors.ts'
import type { StreamName } from '../nexmark/generator.ts'

/** What Spark is told beside its defaults; README.md of Nexmark says why. */
const SETTINGS = {
  'spark.sql.session.timeZone': 'UTC',
  'spark.sql.shuffle.partitions': '2',
  'spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled': 'true',
  'spark.sql.objectHashAggregate.sortBased.fallbackThreshold': '1000000',
}

export interface Asked {
  readonly query: string
  readonly topics: Readonly<Partial<Record<StreamName, string>>>
  /** Where lake and checkpoint go. */
  readonly directory: string
}

/** A PySpark program that runs one streaming query after the other (streaming.py). */
export class StreamingQueries {
  readonly #python: ChildProcessByStdio<Writable, Readable, null>
  readonly #answers: AsyncIterator<string>

  constructor(python: string, url: string, brokers: string) {
    const script = fileURLToPath(new URL('./streaming.py', import.meta.url))
    this.#python = spawn(python, [script, url, brokers, JSON.stringify(SETTINGS)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#answers = createInterface({ input: this.#python.stdout })[Symbol.asyncIterator]()
  }

  /**
   * Starts a query; ends when it runs. What it returns ends when all that the topics hold by then is in the result.
   *
   * Errors: `invalid`/`spark-refuses`, with Spark's words.
   */
  async start(asked: Asked): Promise<() => Promise<void>> {
    const refusal = await this.#ask(asked)
    if (refusal !== undefined) throw new MillraceError('invalid', 'spark-refuses', refusal)
    return async () => {
      const failure = await this.#ask({})
      if (failure !== undefined) throw new Error(`${asked.query} failed in Spark: ${failure}`)
    }
  }

  async close(): Promise<void> {
    this.#python.stdin.end()
    if (this.#python.exitCode === null) await once(this.#python, 'exit')
  }

  /** What is wrong, if something is. */
  async #ask(what: object): Promise<string | undefined> {
    this.#python.stdin.write(`${JSON.stringify(what)}\n`)
    const { value, done } = await this.#answers.next()
    if (done === true)
      throw new MillraceError('invalid', 'no-pyspark', 'PySpark ended; what it said is above.', {
        hint: 'PYSPARK_PYTHON, if set, must name a Python with pyspark-client.',
      })
    return (JSON.parse(value) as { error?: string }).error
  }
}
