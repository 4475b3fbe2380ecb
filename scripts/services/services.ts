import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceError, messageOf } from '../../src/base/errors.ts'
import type { Home } from './home.ts'
import { kafka } from './kafka.ts'
import { postgres } from './postgres.ts'
import { type Program, hasEnded, isRunning, memoryOf, signalProcess, startProcess, stopProcess } from './processes.ts'
import { s3 } from './s3.ts'
import type { Service, ServiceName } from './service.ts'
import { spark } from './spark.ts'

export const SERVICES: Readonly<Record<ServiceName, Service>> = { kafka, spark, s3, postgres }

/** A service has this long to answer after its start. Slow where many start at once on few processors. */
const READY_MS_MAX = 120_000
const PROBE_PAUSE_MS = 100

/** Says what goes on with a service, for people. */
export type Say = (service: ServiceName, text: string) => void

export interface ServiceStatus {
  service: ServiceName
  title: string
  running: boolean
  address: string | undefined
  pids: number[]
  memoryBytes: number
  /** Until it answered after its start. */
  startSeconds: number | undefined
}

/**
 * Installs and starts the services that do not run, and waits until each answers. Returns those that it started.
 *
 * Errors: what a service lacks on this machine, or why it did not start, each with what to do about it. The others are up all the same.
 */
export async function up(
  home: Home,
  names: readonly ServiceName[],
  say: Say,
  options: { brokers?: 1 | 3 } = {},
): Promise<ServiceName[]> {
  const waiting = (text: string): void => names.forEach((name) => say(name, text))
  return await home.alone(async () => {
    const { brokers } = options
    if (brokers !== undefined && brokers !== home.state.brokers) {
      if (names.includes('kafka') && isUp(home, 'kafka')) throw otherBrokers(home.state.brokers, brokers)
      home.update((state) => (state.brokers = brokers))
    }
    const missing = names.filter((name) => !isUp(home, name))
    // Ports are chosen one after the other: nobody listens on them yet.
    for (const name of missing)
      if (programNames(home, name).length === 0) await home.choosePorts(SERVICES[name].ports(home))
    const results = await Promise.allSettled(missing.map((name) => start(home, name, say)))
    const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
    if (failures.length === 1) throw failures[0]
    if (failures.length > 1) throw new AggregateError(failures, failures.map(messageOf).join('\n'))
    return missing
  }, waiting)
}

/** Stops services; those that do not run are left out. Their data stay. */
export async function down(home: Home, names: readonly ServiceName[], say: Say): Promise<void> {
  const waiting = (text: string): void => names.forEach((name) => say(name, text))
  await home.alone(async () => {
    await Promise.all(names.map((name) => stop(home, name, say)))
  }, waiting)
}

/** Whether all of a service's processes run and have answered. */
export function isUp(home: Home, name: ServiceName): boolean {
  const processes = running(home, name)
  const whole = name === 'kafka' ? home.state.brokers : 1
  return processes.length === whole && processes.every(({ seconds }) => seconds !== undefined)
}

export function status(home: Home, name: ServiceName): ServiceStatus {
  const service = SERVICES[name]
  const processes = running(home, name)
  return {
    service: name,
    title: service.title,
    running: isUp(home, name),
    address: processes.length === 0 ? undefined : service.environment(home)[service.address],
    pids: processes.map(({ pid }) => pid),
    memoryBytes: processes.reduce((sum, one) => sum + memoryOf(one), 0),
    startSeconds: processes[0]?.seconds,
  }
}

/** Where to reach the services named, for tests: variables of the environment. */
export function environment(home: Home, names: readonly ServiceName[]): Record<string, string> {
  return Object.assign({}, ...names.map((name) => SERVICES[name].environment(home))) as Record<string, string>
}

/** Ends one process of a service without warning, as a fault: `kafka-2`, `spark`, `s3`, `postgres`. Returns when it has ended. */
export async function killProcess(home: Home, process: string): Promise<void> {
  const started = home.state.processes[process]
  if (started === undefined) throw notStarted(process)
  signalProcess(started, 'SIGKILL')
  await hasEnded(started, 10_000)
}

/** Stops one process, to be gone on with SIGCONT, or sends it any other signal. */
export function signal(home: Home, process: string, which: NodeJS.Signals): void {
  const started = home.state.processes[process]
  if (started === undefined) throw notStarted(process)
  signalProcess(started, which)
}

/** Starts a process that was killed again, where it was before, and waits until the service answers as a whole. */
export async function restartProcess(home: Home, process: string): Promise<void> {
  const name = process.split('-')[0] as ServiceName
  const program = (await SERVICES[name].programs(home)).find((one) => one.name === process)
  if (program === undefined) throw notStarted(process)
  await launch(home, [program])
  await ready(home, name)
}

async function start(home: Home, name: ServiceName, say: Say): Promise<void> {
  const service = SERVICES[name]
  await service.install(home, (text) => say(name, text))
  const began = performance.now()
  const programs = await service.programs(home)
  say(name, `starts ${service.title}`)
  await launch(home, programs)
  await ready(home, name)
  const seconds = Math.round((performance.now() - began) / 100) / 10
  home.update((state) => {
    for (const program of programs) state.processes[program.name]!.seconds = seconds
  })
  say(name, `answers after ${seconds.toFixed(1)} s at ${service.environment(home)[service.address]}`)
}

/** Starts those of the programs that do not run, and remembers them. */
async function launch(home: Home, programs: readonly Program[]): Promise<void> {
  for (const program of programs) {
    const known = home.state.processes[program.name]
    if (known !== undefined && isRunning(known)) continue
    const id = startProcess(program)
    home.update((state) => (state.processes[program.name] = id))
  }
}

/** Waits until a service answers, or one of its processes has ended. */
async function ready(home: Home, name: ServiceName): Promise<void> {
  const service = SERVICES[name]
  const programs = await service.programs(home)
  const until = performance.now() + READY_MS_MAX
  for (;;) {
    const failure = await service.probe(home).then(
      () => undefined,
      (error: unknown) => error,
    )
    if (failure === undefined) return
    const ended = programs.find((program) => !isRunning(home.state.processes[program.name]!))
    if (ended !== undefined)
      throw new MillraceError('unavailable', 'service-ended', `${service.title} ended right after its start.${tail(ended)}`, {
        hint: `All it printed is in ${ended.log}.`,
      })
    if (performance.now() > until)
      throw new MillraceError(
        'unavailable',
        'service-silent',
        `${service.title} runs but has not answered for ${READY_MS_MAX / 1000} s: ${messageOf(failure)}`,
        { hint: `What it printed is in ${programs[0]!.log}.`, cause: failure },
      )
    await sleep(PROBE_PAUSE_MS)
  }
}

async function stop(home: Home, name: ServiceName, say: Say): Promise<void> {
  const service = SERVICES[name]
  const names = programNames(home, name)
  if (names.length === 0) return
  say(name, 'stops')
  const programs = await service.programs(home)
  const stopped = names.map(async (one) => {
    const how = programs.find((program) => program.name === one)?.stopSignal ?? 'SIGTERM'
    await stopProcess(home.state.processes[one]!, how)
  })
  await Promise.all(stopped)
  home.update((state) => names.forEach((one) => delete state.processes[one]))
}

function running(home: Home, name: ServiceName) {
  const { processes } = home.state
  return programNames(home, name).map((one) => processes[one]!)
}

/** Names of a service's processes that run. */
function programNames(home: Home, service: ServiceName): string[] {
  return Object.entries(home.state.processes).flatMap(([name, id]) =>
    name.split('-')[0] === service && isRunning(id) ? [name] : [],
  )
}

function tail(program: Program): string {
  const lines = existsSync(program.log) ? readFileSync(program.log, 'utf8').trimEnd().split('\n').slice(-10) : []
  return lines.map((line) => `\n  ${line}`).join('')
}

function otherBrokers(now: number, wanted: number): MillraceError {
  return new MillraceError('conflict', 'other-brokers', `Kafka runs with ${now} broker(s), not ${wanted}.`, {
    hint: 'Stop it first: npm run services -- down kafka',
  })
}

function notStarted(process: string): MillraceError {
  return new MillraceError('invalid', 'not-started', `No process ${process} was started here.`)
}
