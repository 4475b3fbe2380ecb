import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { systemClock } from '../../../src/base/clock.ts'
import { Lake } from '../../../src/lake/lake.ts'
import type { HeldLease } from '../../../src/state/leases.ts'
import { type State, lookAtState } from '../../../src/state/state.ts'
import { type Ended, type Json, Running, folder, millrace, project, until } from '../../cli/support.ts'
import { LedgerLake } from '../../support/ledger-lake.ts'
import { STREAMS } from '../../support/ledger-project.ts'
import type { Batch, Ledger } from '../../support/ledger.ts'
import { service } from './services.ts'

/** How long a client tries to get a request through: longer than a key is held for one that died. */
const PATIENCE_MS = 180_000

/** Looks at the statuses, at least 50 ms apart: as long as others' leases, and what is tried again and again, may rest, and more. */
const SETTLING_TRIES = 1_200

/** How long a process may take to find out that it is to end, and to do it. */
const ENDING_MS = 60_000

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** What a cluster runs on, where it is not what the tests share. */
export interface ClusterOptions {
  /** URL of a PostgreSQL server. */
  readonly state?: string
  /** A lake as a target declares it, and how a test opens it. Default: a directory. */
  readonly lake?: { readonly declared: object; open(): Promise<Lake> }
  /** Text of further declarations, over `datasets`. */
  readonly more?: string
  /** Partitions of `readings`. */
  readonly partitions?: number
}

const environment = (strict: boolean) => ({ env: { STRICT: strict ? '1' : '0' } })

interface Member {
  readonly roles: string
  readonly directory: string
  running: Running
  url: string
}

/** Processes of one project, each with some roles, over Kafka, PostgreSQL and a lake that they share; and clients with a ledger. */
export class Cluster {
  readonly ledger: Ledger
  /** Holds `lake/`. */
  readonly directory = folder()
  readonly #openLake: () => Promise<Lake>
  readonly #name: string
  readonly #project: string
  readonly #members = new Map<string, Member>()
  #sending: Promise<void>[] = []
  #pausing = false
  #broken = 0
  #repeated = 0

  constructor(
    ledger: Ledger,
    { state = service('POSTGRES_URL'), lake, more = '', partitions = 2 }: ClusterOptions = {},
  ) {
    this.ledger = ledger
    const path = `${this.directory}/lake`
    this.#openLake = lake ? () => lake.open() : () => Promise.resolve(new Lake({ root: path }))
    const name = (this.#name = `test_${process.pid}_${Date.now().toString(36)}`)
    const declarations = fileURLToPath(new URL('../../support/ledger-project.ts', import.meta.url))
    this.#project = project({
      'millrace.config.ts': `
export default { name: '${name}', targets: { cluster: {
  log: { kind: 'kafka', brokers: ${JSON.stringify(service('KAFKA_BROKERS').split(','))} },
  lake: ${JSON.stringify(lake?.declared ?? { kind: 'directory', path })},
  state: { kind: 'postgres', url: '${state}' },
} } }
`,
      'datasets.ts': `
import { ledgerProject } from ${JSON.stringify(declarations)}
export const datasets = ledgerProject({ strict: process.env.STRICT === '1', partitions: ${partitions} })
${more}`,
    })
  }

  get summary(): string {
    return `${this.ledger.records} records acknowledged, ${this.#broken} broken requests, ${this.#repeated} found done already`
  }

  /** Starts a process, and waits until it is ready. */
  async start(name: string, roles: string, { strict = false, directory = folder() } = {}): Promise<void> {
    const running = new Running(this.args(['start', '--role', roles, '--port', '0'], directory), environment(strict))
    const [, url] = await running.says(/is ready after .* at (http:\S+)/)
    this.#members.set(name, { roles, directory, running, url: url! })
  }

  /** What a process answers. */
  async get(name: string, path: string): Promise<{ status: number; body: Json }> {
    const answer = await fetch(`${this.#members.get(name)!.url}${path}`)
    return { status: answer.status, body: await answer.json() }
  }

  /** Sends rows to a stream that the ledger knows nothing of. */
  async append(name: string, stream: string, rows: readonly object[]): Promise<void> {
    const body = rows.map((row) => `${JSON.stringify(row)}\n`).join('')
    const headers = { 'content-type': 'application/x-ndjson' }
    const answer = await fetch(`${this.#members.get(name)!.url}/v1/streams/${stream}`, {
      method: 'POST',
      headers,
      body,
    })
    expect(answer.status, await answer.text()).toBe(202)
  }

  /** Waits until a process has printed something, from the line on where it last was. */
  async says(name: string, pattern: RegExp): Promise<void> {
    await this.#members.get(name)!.running.says(pattern)
  }

  /** Waits until a process has ended by itself, and forgets it. */
  async ended(name: string): Promise<Ended> {
    const { running } = this.#members.get(name)!
    const ended = await Promise.race([running.ended, sleep(ENDING_MS)])
    if (!ended) throw new Error(`${name} goes on:\n${this.outputs}`)
    this.#members.delete(name)
    return ended
  }

  /** Arguments of a command on the target, with a data directory of its own. */
  args(args: readonly string[], directory = folder()): string[] {
    const [command, ...rest] = args
    return [command!, '--project', this.#project, '--target', 'cluster', '--data', directory, ...rest]
  }

  /** What a command ends with. */
  tried(args: readonly string[], { strict = false } = {}): Promise<Ended> {
    return millrace(this.args(args), environment(strict))
  }

  /** The document that a command prints, which ends well. */
  async command(args: readonly string[], options?: { readonly strict: boolean }): Promise<Json> {
    const { code, stdout, stderr } = await this.tried(args, options)
    expect({ code, stderr }, `${stderr}\n${this.outputs}`).toMatchObject({ code: 0 })
    return JSON.parse(stdout)
  }

  /** What the project's processes agree on. */
  async state(): Promise<State> {
    const target = { kind: 'postgres', url: service('POSTGRES_URL'), schema: this.#name } as const
    return (await lookAtState(target, { clock: systemClock })).state
  }

  /** The leases of the project's processes. */
  async leases(): Promise<Omit<HeldLease, 'remainingMs'>[]> {
    const state = await this.state()
    try {
      return (await state.leases.list()).map(({ name, holder, epoch }) => ({ name, holder, epoch }))
    } finally {
      await state.close()
    }
  }

  /** The datasets, as a process says. */
  async datasets(): Promise<Json[]> {
    return ((await (await fetch(`${this.#urlOf('ingest')}/v1/datasets`)).json()) as Json).datasets as Json[]
  }

  suspend(name: string): void {
    this.#members.get(name)!.running.child.kill('SIGSTOP')
  }

  resume(name: string): void {
    this.#members.get(name)!.running.child.kill('SIGCONT')
  }

  /** `kill -9`, and the same again. */
  async replace(name: string): Promise<void> {
    const { running, roles } = this.#members.get(name)!
    const { code, signal, stderr } = await running.kill('SIGKILL')
    expect({ code, signal }, stderr).toEqual({ code: null, signal: 'SIGKILL' })
    await this.start(name, roles)
  }

  /** Stops a process in its tracks for a while, as a long pause of its machine would. */
  async freeze(name: string, ms: number): Promise<void> {
    this.suspend(name)
    await sleep(ms)
    this.resume(name)
  }

  /** SIGTERM: it gives back what it has, and ends well. */
  async stop(name: string): Promise<void> {
    const { running } = this.#members.get(name)!
    this.#members.delete(name)
    if (running.child.exitCode !== null) return
    const ended = once(running.child, 'exit')
    running.child.kill('SIGTERM')
    expect((await ended)[0], running.output).toBe(0)
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#members.keys()].map((name) => this.stop(name)))
  }

  /** Clients send until `pause`. */
  send(connections: number): void {
    this.#pausing = false
    this.#sending = Array.from({ length: connections }, () => this.#client())
    for (const client of this.#sending) client.catch(() => undefined)
  }

  /** Ends when all that was sent is acknowledged. */
  async pause(): Promise<void> {
    this.#pausing = true
    await Promise.all(this.#sending)
  }

  async #client(): Promise<void> {
    const { ledger } = this
    while (!this.#pausing) {
      await this.#deliver(ledger.next(STREAMS[ledger.below(2)]!, 1 + ledger.below(60)))
      await sleep(10 + ledger.below(60))
    }
  }

  #urlOf(role: string): string {
    const able = [...this.#members.values()].filter(({ roles }) => roles.includes(role))
    return able[this.ledger.below(able.length)]!.url
  }

  async #deliver(batch: Batch): Promise<void> {
    let last = 'no answer'
    for (const began = Date.now(); Date.now() - began < PATIENCE_MS; await sleep(50)) {
      try {
        const answer = await fetch(`${this.#urlOf('ingest')}/v1/streams/${batch.stream}`, {
          method: 'POST',
          headers: { 'content-type': 'application/x-ndjson', 'idempotency-key': batch.key },
          body: batch.records.map(({ line }) => `${line}\n`).join(''),
        })
        const body = (await answer.json()) as Json
        if (answer.status === 202) {
          expect(body.received).toBe(batch.records.length)
          if (body.repeated) this.#repeated++
          return this.ledger.acknowledged(batch)
        }
        last = JSON.stringify(body)
        expect([409, 429, 503], last).toContain(answer.status)
      } catch (error) {
        if (!(error instanceof TypeError)) throw error
        this.#broken++
      }
    }
    throw new Error(`${batch.key} was not taken: ${last}\n${this.outputs}`)
  }

  /** What the processes have said. */
  get outputs(): string {
    return [...this.#members].map(([name, { running }]) => `── ${name}\n${running.output}`).join('\n')
  }

  /** Stops sending, waits until all is processed, and compares everything with the ledger. */
  async expectRight(where: string): Promise<void> {
    await this.pause()
    const statuses = await until(
      () => this.datasets(),
      (datasets) => datasets.every(({ lag, state }) => lag === 0 && state === 'ok'),
      SETTLING_TRIES,
    ).catch((error: unknown) => {
      throw new Error(`${where}: not settled: ${String(error)}\n${this.outputs}`)
    })
    expect(statuses.length).toBeGreaterThanOrEqual(5)
    const lake = new LedgerLake(await this.#openLake())
    for (const stream of STREAMS) this.ledger.expectSettled(stream, await lake.found(stream), where)
    await lake.expectTablesRight(where)
  }
}
