import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { MillraceError } from '../../src/base/errors.ts'
import { lockDirectory } from '../../src/storage/lock.ts'
import type { ProcessId } from './processes.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Below the ports that the system gives to outgoing connections, so that nobody else has one while its service is down. */
const PORTS = { from: 20_000, to: 32_000 }

/** A process that was started, and what is told about it. */
export interface Started extends ProcessId {
  /** Until the service answered, in seconds. Missing while it starts. */
  seconds?: number
}

interface State {
  ports: Record<string, number>
  processes: Record<string, Started>
  /** Brokers that Kafka was last started with. */
  brokers: number
}

/**
 * A directory of services: their programs, data and logs, and what is remembered of them in `state.json` (ports, processes). Several
 * homes, as of tests that kill what they started, can share the programs of one.
 */
export class Home {
  readonly directory: string
  readonly packages: string

  /** `packages`: where programs are kept. Default: within the directory. */
  constructor(directory: string, packages = join(directory, 'packages')) {
    this.directory = resolve(directory)
    this.packages = resolve(packages)
  }

  /** The one of this checkout, or the one that the variable MILLRACE_SERVICES names. */
  static default(): Home {
    return new Home(process.env['MILLRACE_SERVICES'] ?? join(ROOT, '.services'))
  }

  /** Another home with the programs of this one. */
  beside(directory: string): Home {
    return new Home(directory, this.packages)
  }

  /** The directory of a service, made when it is missing. */
  folder(...names: string[]): string {
    const path = join(this.directory, ...names)
    mkdirSync(path, { recursive: true })
    return path
  }

  get state(): State {
    const path = join(this.directory, 'state.json')
    const stored = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Partial<State>) : {}
    return { ports: {}, processes: {}, brokers: 1, ...stored }
  }

  /** Changes what is remembered; readers see the old or the new. */
  update(change: (state: State) => void): void {
    const { state } = this
    change(state)
    const path = join(this.folder(), 'state.json')
    writeFileSync(`${path}.new`, `${JSON.stringify(state, null, 2)}\n`)
    renameSync(`${path}.new`, path)
  }

  /** The port remembered under a name. */
  port(name: string): number {
    const port = this.state.ports[name]
    if (port === undefined)
      throw new MillraceError('internal', 'no-port', `Nothing was started here under the name ${name}.`)
    return port
  }

  /** Makes sure of a port for each name: the one remembered, as long as it can be listened on. */
  async choosePorts(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const remembered = this.state.ports[name]
      if (remembered !== undefined && (await isFree(remembered))) continue
      const port = await freePort(new Set(Object.values(this.state.ports)))
      this.update((state) => (state.ports[name] = port))
    }
  }

  /** Runs `act` while nobody else starts or stops anything in this home; waits for who does, after a call of `wait`. */
  async alone<T>(act: () => Promise<T>, wait: () => void): Promise<T> {
    let waiting = false
    for (;;) {
      const lock = await lockDirectory(this.folder('lock')).catch((error: unknown) => {
        if (error instanceof MillraceError && error.code === 'data-locked') return
        throw error
      })
      if (lock !== undefined) {
        try {
          return await act()
        } finally {
          await lock.release()
        }
      }
      if (!waiting) wait()
      waiting = true
      await sleep(200)
    }
  }
}

async function freePort(taken: ReadonlySet<number>): Promise<number> {
  for (let tries = 0; tries < 1000; tries++) {
    const port = PORTS.from + Math.floor(Math.random() * (PORTS.to - PORTS.from))
    if (!taken.has(port) && (await isFree(port))) return port
  }
  throw new MillraceError('unavailable', 'no-free-port', `No port between ${PORTS.from} and ${PORTS.to} is free.`)
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', () => done(false))
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)))
  })
}
