import { chownSync, existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { MillraceError } from '../../src/base/errors.ts'
import type { Home } from './home.ts'
import { run } from './packages.ts'
import type { Service } from './service.ts'

const USER = 'millrace'
const PASSWORD = 'millrace-secret'
const DATABASE = 'millrace'
/** Where Debian, and others, have the programs of each major version. */
const DEBIAN = '/usr/lib/postgresql'
const OLDEST = 15
const NO_ROOT = 'apt-get install util-linux, or run this as another user than root.'
const REMEDY = 'apt-get install postgresql (bash scripts/install-debian does)'

/** PostgreSQL as the system's package has it, with data, port and log of its own. It asks for a password, on loopback too. */
export const postgres: Service = {
  name: 'postgres',
  get title() {
    return `PostgreSQL ${newestVersion() ?? ''}`.trim()
  },
  address: 'POSTGRES_URL',
  install: () => Promise.resolve(void programsDirectory()),
  processes: () => 1,
  ports: () => ['postgres'],
  async prepare(home) {
    const data = join(home.folder('postgres'), 'data')
    if (!existsSync(join(data, 'PG_VERSION'))) await initialise(home, data)
  },
  programs(home) {
    const directory = join(home.directory, 'postgres')
    const settings = {
      port: home.port('postgres'),
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
      max_connections: 200,
      shared_buffers: '64MB',
    }
    const args = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`])
    const server = join(programsDirectory(), 'postgres')
    const [command = '', ...rest] = [...unprivileged(), server, '-D', join(directory, 'data'), ...args]
    return [
      {
        name: 'postgres',
        command,
        args: rest,
        cwd: directory,
        log: join(directory, 'postgres.log'),
        // Fast shutdown: ends the sessions. SIGTERM would wait for them.
        stopSignal: 'SIGINT',
      },
    ]
  },
  async probe(home) {
    const client = new Client({ connectionString: url(home, 'postgres'), connectionTimeoutMillis: 1000 })
    await client.connect()
    try {
      const { rowCount } = await client.query('select from pg_database where datname = $1', [DATABASE])
      if (rowCount === 0) await client.query(`create database ${DATABASE}`)
    } finally {
      await client.end()
    }
  },
  environment: (home) => ({ POSTGRES_URL: url(home, DATABASE) }),
}

function url(home: Home, database: string): string {
  return `postgres://${USER}:${PASSWORD}@127.0.0.1:${home.port('postgres')}/${database}`
}

function programsDirectory(): string {
  const newest = newestVersion()
  if (newest !== undefined && newest >= OLDEST) return join(DEBIAN, `${newest}`, 'bin')
  const found = newest === undefined ? 'there is none' : `the newest is ${newest}`
  const message = `PostgreSQL ${OLDEST} or later is needed; in ${DEBIAN} ${found}.`
  throw new MillraceError('unavailable', 'no-postgres', message, { hint: REMEDY })
}

function newestVersion(): number | undefined {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).map(Number) : []
  const whole = versions.filter((version) => existsSync(join(DEBIAN, `${version}`, 'bin', 'postgres')))
  return whole.toSorted((a, b) => b - a)[0]
}

async function initialise(home: Home, data: string): Promise<void> {
  const directory = home.folder('postgres')
  const passwordFile = join(directory, 'password')
  rmSync(data, { recursive: true, force: true })
  writeFileSync(passwordFile, PASSWORD)
  const owner = serverUser()
  if (owner !== undefined) for (const path of [directory, passwordFile]) chownSync(path, owner.uid, owner.gid)
  const who = [`--username=${USER}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256']
  const initdb = [join(programsDirectory(), 'initdb'), ...who, '--no-locale', '--encoding=UTF8', data]
  const [command = '', ...args] = [...unprivileged(), ...initdb]
  await run(command, args, { cwd: directory, need: 'PostgreSQL does not run as root', remedy: NO_ROOT })
}

/**
 * PostgreSQL refuses to run as root. Root runs it as the user `postgres`, with the one right to pass through directories that only root
 * may enter, such as those above a checkout.
 */
function unprivileged(): string[] {
  const user = serverUser()
  if (user === undefined) return []
  const right = ['--inh-caps', '-all,+dac_override', '--ambient-caps', '-all,+dac_override']
  return ['setpriv', '--reuid', `${user.uid}`, '--regid', `${user.gid}`, '--clear-groups', ...right]
}

function serverUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined
  const users = readFileSync('/etc/passwd', 'utf8')
  // The package makes the first; the second is everywhere.
  for (const name of ['postgres', 'nobody']) {
    const [, uid, gid] = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(users) ?? []
    if (uid !== undefined) return { uid: Number(uid), gid: Number(gid) }
  }
  return undefined
}
