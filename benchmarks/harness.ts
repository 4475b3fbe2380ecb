import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DuckDBInstance } from '@duckdb/node-api'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** A folder that goes when the work is done. */
export async function inTemporary<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-bench-'))
  try {
    return await work(directory)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

export interface ServerProcess {
  readonly url: string
  readonly process: ChildProcess
  /** Milliseconds from start to ready. */
  readonly startedMs: number
  /** Resident bytes of the process and its children, now. */
  memory(): Promise<number>
  /** Seconds of processor time that the process has taken. */
  cpu(): Promise<number>
  stop(): Promise<void>
}

/** Starts `millrace start` as a user would, on a port of loopback that the system chooses. */
export async function startServer(
  project: string,
  data: string,
  environment: Record<string, string> = {},
  options: readonly string[] = [],
): Promise<ServerProcess> {
  const begun = performance.now()
  const child = spawn(
    process.execPath,
    [join(ROOT, 'bin/millrace.js'), 'start', '--project', project, '--data', data, '--port', '0', ...options],
    {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NO_COLOR: '1', ...environment },
    },
  )
  const url = await readyUrl(child)
  return {
    url,
    process: child,
    startedMs: performance.now() - begun,
    memory: () => residentBytes(child.pid!),
    cpu: () => cpuSeconds(child.pid!),
    async stop() {
      if (child.exitCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    },
  }
}

/** The address that a server tells once it is ready. */
function readyUrl(child: ChildProcess): Promise<string> {
  let output = ''
  return new Promise((resolve, reject) => {
    const read = (chunk: Buffer) => {
      output += String(chunk)
      const url = /is ready after .* at (http:\S+)/.exec(output)?.[1]
      if (url !== undefined) resolve(url)
    }
    child.stdout!.on('data', read)
    child.stderr!.on('data', read)
    child.once('close', (code) => reject(new Error(`millrace start ended with ${code}:\n${output}`)))
  })
}

/** The kernel counts in hundredths of a second (proc(5), fields utime and stime). */
export async function cpuSeconds(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

async function residentBytes(pid: number): Promise<number> {
  const pages = Number((await readFile(`/proc/${pid}/statm`, 'utf8').catch(() => '0 0')).split(' ')[1])
  let total = pages * 4096
  for (const thread of await readdir(`/proc/${pid}/task`).catch(() => [])) {
    const children = await readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => '')
    for (const child of children.split(' ').filter(Boolean)) total += await residentBytes(Number(child))
  }
  return total
}

export async function query(url: string, sql: string): Promise<unknown[][]> {
  const response = await fetch(`${url}/v1/sql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ sql }),
  })
  const body = (await response.json()) as { rows?: unknown[][] }
  if (!response.ok || !body.rows) throw new Error(`query failed: ${JSON.stringify(body)}`)
  return body.rows
}

export interface Status {
  name: string
  kind: 'stream' | 'table'
  state: string
  reason?: string
  received: number
  accepted: number
  duplicates: number
  quarantined: number
  lag: number
}

export async function statuses(url: string): Promise<Status[]> {
  const body = (await (await fetch(`${url}/v1/datasets`)).json()) as Status[] | { datasets: Status[] }
  return Array.isArray(body) ? body : body.datasets
}

export async function statusOf(url: string, name: string): Promise<Status> {
  return (await statuses(url)).find((dataset) => dataset.name === name)!
}

/** Runs the client process to its end. */
export function runClient(...args: (string | number)[]): Promise<{
  seconds: number
  sent: number
  refused: number
  ack_p50_ms: number
  ack_p99_ms: number
  cpu_seconds: number
}> {
  return runProgram('benchmarks/client.ts', ...args) as never
}

/** Runs a program of the repository to its end; its last line is its report. */
export async function runProgram(file: string, ...args: (string | number)[]): Promise<unknown> {
  const child = spawn(process.execPath, [join(ROOT, file), ...args.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += String(chunk)))
  const [code] = (await once(child, 'close')) as [number]
  const report = JSON.parse(output.trim().split('\n').at(-1) || '{}') as { error?: string }
  if (code !== 0) throw new Error(`${file} ended with ${code}: ${report.error ?? 'see above'}`)
  return report
}

const COLUMNS = `{event_id: 'VARCHAR', user_id: 'VARCHAR', page: 'VARCHAR', action: 'VARCHAR', "at": 'TIMESTAMP', duration_ms: 'INTEGER', price: 'DECIMAL(10,2)', ref: 'VARCHAR'}`

/** The reference: rows a second of a bare DuckDB COPY of the same file to Parquet on two threads; the median of three. */
export async function bareCopy(file: string, rows: number, directory: string): Promise<number> {
  const instance = await DuckDBInstance.create(':memory:', { threads: '2' })
  const connection = await instance.connect()
  await connection.run("SET TimeZone = 'UTC'")
  const rates: number[] = []
  for (let i = 0; i < 3; i++) {
    const begun = performance.now()
    await connection.run(
      `COPY (SELECT * FROM read_ndjson('${file}', columns = ${COLUMNS}, ignore_errors = true)) TO '${directory}/reference.parquet' (FORMAT parquet, COMPRESSION zstd)`,
    )
    rates.push((rows / (performance.now() - begun)) * 1_000)
  }
  connection.closeSync()
  instance.closeSync()
  return rates.sort((a, b) => a - b)[1]!
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

export function round(value: number, digits = 3): number {
  return Number(value.toFixed(digits))
}

export function geometricMean(values: readonly number[]): number {
  return round(Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length))
}
