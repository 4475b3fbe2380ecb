import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync } from 'node:fs'
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from '../../../scripts/services/free-ports.ts'

const run = promisify(execFile)
/** The server refuses to run as root. */
const NOBODY = 65_534

/** A PostgreSQL server of a test's own, which it may stop and start. */
export class PostgresCluster {
  readonly #root: string
  readonly #port: number
  static readonly password = 'Tell-no/one@all'

  private constructor(root: string, port: number) {
    this.#root = root
    this.#port = port
  }

  /** A new server that listens on loopback and asks for a password. */
  static async start(): Promise<PostgresCluster> {
    const root = await mkdtemp(join(tmpdir(), 'millrace-postgres-'))
    if (isRoot()) await chown(root, NOBODY, NOBODY)
    const cluster = new PostgresCluster(root, await freePort())
    const passwordFile = join(root, 'password')
    await writeFile(passwordFile, PostgresCluster.password, { mode: 0o644 })
    await cluster.#call('initdb', [
      '-D',
      cluster.#data,
      '-U',
      'millrace',
      '-A',
      'scram-sha-256',
      `--pwfile=${passwordFile}`,
      '-N',
      '-E',
      'UTF8',
    ])
    await cluster.up()
    return cluster
  }

  url({ user = 'millrace', password = PostgresCluster.password, database = 'postgres' } = {}): string {
    return `postgres://${user}:${encodeURIComponent(password)}@127.0.0.1:${this.#port}/${database}`
  }

  async up(): Promise<void> {
    const options = `-c listen_addresses=127.0.0.1 -c port=${this.#port} -c unix_socket_directories=${this.#root} -c fsync=off`
    await this.#call('pg_ctl', ['start', '-w', '-D', this.#data, '-o', options, '-l', join(this.#root, 'log')])
  }

  /** Ends it as an operator would (`fast`), or as a crash does (`immediate`). */
  async down(mode: 'fast' | 'immediate'): Promise<void> {
    await this.#call('pg_ctl', ['stop', '-w', '-D', this.#data, '-m', mode])
  }

  async remove(): Promise<void> {
    await this.down('immediate').catch(() => undefined)
    await rm(this.#root, { recursive: true, force: true })
  }

  get #data(): string {
    return join(this.#root, 'data')
  }

  async #call(program: string, parameters: readonly string[]): Promise<void> {
    // Without pipes, which the server would keep open.
    const child = spawn(await programPath(program), parameters, {
      cwd: this.#root,
      stdio: ['ignore', 'ignore', 'inherit'],
      ...(isRoot() ? { uid: NOBODY, gid: NOBODY } : {}),
    })
    const [code] = (await once(child, 'exit')) as [number | null]
    if (code !== 0) throw new Error(`${program} ended with code ${code}`)
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0
}

/** Debian keeps the programs of the server outside of PATH. */
async function programPath(program: string): Promise<string> {
  const [newest] = globSync(`/usr/lib/postgresql/*/bin/${program}`).toSorted().toReversed()
  if (newest !== undefined && existsSync(newest)) return newest
  return (await run('which', [program])).stdout.trim()
}
