import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceError, messageOf } from '../../src/base/errors.ts'
import type { Home, Started } from './home.ts'
import { type Program, isRunning, startProcess, stopProcess } from './processes.ts'
import type { Service } from './service.ts'

/** A service has this long to answer after its start. Slow where many start at once on few processors. */
const READY_MS_MAX = 180_000
const PROBE_PAUSE_MS = 100

/** The processes of a service that run. */
export function running(home: Home, service: Service): Map<string, Started> {
  const processes = Object.entries(home.state.processes)
  return new Map(processes.filter(([name, id]) => serviceOf(name) === service.name && isRunning(id)))
}

/** The service that a process belongs to: kafka for `kafka-2`. */
export function serviceOf(process: string): string {
  return process.split('-')[0]!
}

/** Whether all of a service's processes run and it has answered. */
export function isWhole(home: Home, service: Service): boolean {
  const processes = [...running(home, service).values()]
  return processes.length === service.processes(home) && processes.every(({ seconds }) => seconds !== undefined)
}

/** Starts those of a service's programs that do not run, or one of them, and waits until the service answers. Returns the seconds that took. */
export async function launch(home: Home, service: Service, only?: string): Promise<number> {
  const began = performance.now()
  const before = running(home, service)
  if (before.size === 0) await service.prepare(home)
  const programs = service
    .programs(home)
    .filter(({ name }) => !before.has(name) && (only === undefined || name === only))
  for (const program of programs) {
    const id = startProcess(program)
    home.update(({ processes }) => (processes[program.name] = id))
  }
  await answers(home, service, programs)
  const seconds = Math.round((performance.now() - began) / 100) / 10
  const names = [...running(home, service).keys()]
  home.update(({ processes }) => names.forEach((name) => (processes[name]!.seconds ??= seconds)))
  return seconds
}

/** Waits until a service answers. Errors: one of the programs has ended, or the time is over. */
async function answers(home: Home, service: Service, programs: readonly Program[]): Promise<void> {
  const until = performance.now() + READY_MS_MAX
  for (;;) {
    const failure = await service.probe(home).then(
      () => undefined,
      (error: unknown) => messageOf(error),
    )
    if (failure === undefined) return
    const names = running(home, service)
    const ended = programs.find(({ name }) => !names.has(name))
    if (ended !== undefined) throw endedEarly(service, ended)
    if (performance.now() > until) throw silent(service, failure, programs)
    await sleep(PROBE_PAUSE_MS)
  }
}

/** Stops a service's processes. What they keep stays. */
export async function stop(home: Home, service: Service): Promise<void> {
  const names = [...running(home, service).keys()]
  const programs = names.length === 0 ? [] : service.programs(home)
  const stopped = names.map(async (name) => {
    const signal = programs.find((program) => program.name === name)?.stopSignal ?? 'SIGTERM'
    await stopProcess(home.state.processes[name]!, signal)
  })
  await Promise.all(stopped)
  home.update(({ processes }) => names.forEach((name) => delete processes[name]))
}

function endedEarly(service: Service, { log }: Program): MillraceError {
  const lines = existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n').slice(-10) : []
  const last = lines.map((line) => `\n  ${line}`).join('')
  return new MillraceError('unavailable', 'service-ended', `${service.title} ended right after its start.${last}`, {
    hint: `All it printed is in ${log}.`,
  })
}

function silent(service: Service, failure: string, programs: readonly Program[]): MillraceError {
  const message = `${service.title} runs but has not answered for ${READY_MS_MAX / 1000} s: ${failure}`
  return new MillraceError('unavailable', 'service-silent', message, {
    hint: `What it printed is in ${programs.map(({ log }) => log).join(', ')}.`,
  })
}
