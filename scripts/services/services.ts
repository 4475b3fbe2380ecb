import { MillraceError, messageOf } from '../../src/base/errors.ts'
import type { Home, Started } from './home.ts'
import { kafka } from './kafka.ts'
import { isWhole, launch, running, serviceOf, stop } from './launch.ts'
import { postgres } from './postgres.ts'
import { killFamily, memoryOf } from './processes.ts'
import { registry } from './registry.ts'
import { s3 } from './s3.ts'
import type { Service, ServiceName } from './service.ts'
import { spark } from './spark.ts'

export const SERVICES: Readonly<Record<ServiceName, Service>> = { kafka, spark, s3, postgres, registry }

/** Says what goes on with a service, for people. */
export type Say = (service: ServiceName, text: string) => void

export interface ServiceStatus {
  service: ServiceName
  title: string
  /** All of it runs and has answered. */
  up: boolean
  address: string | undefined
  pids: number[]
  memoryBytes: number
  /** Until it answered after its start. */
  startSeconds: number | undefined
}

/**
 * Installs and starts the services that do not run, and waits until each answers.
 *
 * Errors: what a service lacks on this machine, or why it did not start, each with what to do about it; several as an AggregateError.
 * The other services are up all the same.
 */
export async function up(
  home: Home,
  names: readonly ServiceName[],
  say: Say,
  options: { brokers?: number } = {},
): Promise<void> {
  await alone(home, names, say, async () => {
    if (names.includes('kafka')) setBrokers(home, options.brokers)
    const missing = names.filter((name) => !isUp(home, name))
    // One after the other: nobody listens on the ports yet.
    for (const name of missing)
      if (running(home, SERVICES[name]).size === 0) await home.choosePorts(SERVICES[name].ports(home))
    const results = await Promise.allSettled(missing.map((name) => start(home, name, say)))
    const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
    if (failures.length > 0) throw new AggregateError(failures, failures.map(messageOf).join('\n'))
  })
}

/** Stops services; those that do not run are left out. Their data stay. */
export async function down(home: Home, names: readonly ServiceName[], say: Say): Promise<void> {
  await alone(home, names, say, async () => {
    const stopped = names.map(async (name) => {
      if (running(home, SERVICES[name]).size === 0) return
      await stop(home, SERVICES[name])
      say(name, 'has stopped')
    })
    await Promise.all(stopped)
  })
}

export function isUp(home: Home, name: ServiceName): boolean {
  return isWhole(home, SERVICES[name])
}

export function status(home: Home, name: ServiceName): ServiceStatus {
  const service = SERVICES[name]
  const processes = [...running(home, service).values()]
  return {
    service: name,
    title: service.title,
    up: isUp(home, name),
    address: processes.length === 0 ? undefined : addressOf(home, service),
    pids: processes.map(({ pid }) => pid),
    memoryBytes: processes.reduce((sum, one) => sum + memoryOf(one), 0),
    startSeconds: processes[0]?.seconds,
  }
}

/** Where to reach services, and as whom: variables of the environment. */
export function environment(home: Home, names: readonly ServiceName[]): Record<string, string> {
  return Object.fromEntries(names.flatMap((name) => Object.entries(SERVICES[name].environment(home))))
}

/** Ends a process, and those it started, without warning: `kafka-2`, `spark`, `s3`, `postgres`. Returns when it has ended. */
export async function killProcess(home: Home, process: string): Promise<void> {
  await killFamily(started(home, process))
}

/** Starts a process that has ended again, with its data and port, and waits until its service answers as a whole. */
export async function restartProcess(home: Home, process: string): Promise<void> {
  started(home, process)
  await launch(home, SERVICES[serviceOf(process) as ServiceName], process)
}

function started(home: Home, process: string): Started {
  const known = home.state.processes[process]
  if (known !== undefined) return known
  throw new MillraceError('invalid', 'not-started', `No process ${process} was started in ${home.directory}.`)
}

async function start(home: Home, name: ServiceName, say: Say): Promise<void> {
  const service = SERVICES[name]
  await service.install(home, (text) => say(name, text))
  say(name, `starts ${service.title}`)
  const seconds = await launch(home, service)
  say(name, `answers after ${seconds.toFixed(1)} s at ${addressOf(home, service)}`)
}

async function alone(home: Home, names: readonly ServiceName[], say: Say, act: () => Promise<void>): Promise<void> {
  await home.alone(act, () => names.forEach((name) => say(name, 'waits for another run that starts or stops services')))
}

/** A cluster keeps its size while any of it runs. */
function setBrokers(home: Home, brokers = home.state.brokers): void {
  const now = home.state.brokers
  if (brokers === now) return
  if (running(home, kafka).size > 0)
    throw new MillraceError('conflict', 'other-brokers', `Kafka runs with ${now} broker(s), not ${brokers}.`, {
      hint: 'Stop it first: npm run services -- down kafka',
    })
  home.update((state) => (state.brokers = brokers))
}

/** Without the credentials. */
function addressOf(home: Home, service: Service): string {
  return service.environment(home)[service.address]!.replace(/\/\/[^@/]*@/, '//')
}
