import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { stringifyJson } from '../../../src/lake/json.ts'
import type { LakeTable } from '../../../src/lake/table.ts'
import type { Row } from '../../lake/support/duckdb.ts'

const INSTALLED = join(import.meta.dirname, '../../../.interop')

/** A reader that is not ours, in a process of its own: a line of JSON asks, a line answers. */
class Reader {
  readonly #child: ChildProcess
  readonly #waiting: { resolve(answer: unknown): void; reject(error: Error): void }[] = []
  #stderr = ''

  constructor(command: string, args: readonly string[], cwd: string) {
    this.#child = spawn(command, args, { cwd, stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child.stderr!.on('data', (chunk) => (this.#stderr = `${this.#stderr}${String(chunk)}`.slice(-4000)))
    const fail = (error: Error): void => this.#waiting.splice(0).forEach(({ reject }) => reject(error))
    this.#child.on('error', fail)
    this.#child.on('exit', (code) => fail(new Error(`${command} ended with ${code}: ${this.#stderr}`)))
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const { resolve, reject } = this.#waiting.shift()!
      const answer = JSON.parse(line) as { error?: string }
      if (answer.error === undefined) resolve(answer)
      else reject(new Error(answer.error))
    })
  }

  ask(request: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#child.stdin!.write(`${stringifyJson(request)}\n`)
    })
  }

  close(): void {
    this.#child.removeAllListeners('exit')
    this.#child.kill()
  }
}

export class PyIceberg {
  readonly #reader = new Reader(
    join(INSTALLED, 'venv/bin/python'),
    [join(import.meta.dirname, 'pyiceberg_reader.py')],
    import.meta.dirname,
  )

  /** Rows, column types and planned files of a table's current snapshot, with a filter in PyIceberg's words. */
  async read(table: LakeTable, filter?: string) {
    const answer = await this.#reader.ask({ metadata: table.metadataPath, filter: filter ?? null })
    return answer as {
      columns: Record<string, string>
      rows: Row[]
      files: string[]
      partitions: Record<string, string[]>
    }
  }

  close(): void {
    this.#reader.close()
  }
}

/** PyIceberg attached to a REST catalog: the verbs of pyiceberg_client.py. */
export class PyIcebergClient {
  readonly #reader: Reader

  constructor(uri: string, token?: string) {
    this.#reader = new Reader(
      join(INSTALLED, 'venv/bin/python'),
      [join(import.meta.dirname, 'pyiceberg_client.py'), uri, ...(token === undefined ? [] : [token])],
      import.meta.dirname,
    )
  }

  do<T = Record<string, unknown>>(verb: string, request: Record<string, unknown> = {}): Promise<T> {
    return this.#reader.ask({ do: verb, ...request }) as Promise<T>
  }

  read(table: string, filter?: string): Promise<{ rows: Row[]; snapshot: string; summary: Record<string, string> }> {
    return this.do('read', { table, filter: filter ?? null })
  }

  close(): void {
    this.#reader.close()
  }
}

export class ClickHouse {
  readonly #reader = new Reader(
    process.execPath,
    [join(import.meta.dirname, 'clickhouse-reader.ts'), join(INSTALLED, 'node/node_modules/chdb')],
    '/',
  )

  /** Rows of a table's current snapshot, with a condition in SQL. */
  async read(table: LakeTable, where = 'true'): Promise<Row[]> {
    const answer = (await this.#reader.ask({ location: table.location, where })) as { rows: Row[] }
    return answer.rows
  }

  close(): void {
    this.#reader.close()
  }
}
