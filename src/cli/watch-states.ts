import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { messageOf } from '../base/errors.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { type RequestEvent, requestChannel } from '../serving/server.ts'
import type { Effects } from './effects.ts'
import { stateLine } from './status-table.ts'

const LOOK_MS = 1_000

/** Prints what an operator must know while a server runs: datasets that fail, block or recover, housekeeping and requests that failed. */
export function watchStates(runtime: Runtime, { clock, err, cwd }: Effects, json: boolean): () => void {
  const done = new AbortController()
  const last = new Map<string, string>()
  let toldError = runtime.maintenanceError
  const tell = (event: Record<string, unknown>, text: string) =>
    err.write(json ? `${JSON.stringify(event)}\n` : `${text}\n`)
  const look = () => {
    for (const dataset of runtime.project.order) {
      const state = runtime.scheduler.stateOf(dataset)
      const reason = state.state === 'ok' ? undefined : state.reason
      const key = `${state.state} ${reason ?? ''}`
      if (key === (last.get(dataset.name) ?? 'ok ')) continue
      last.set(dataset.name, key)
      const event = {
        event: 'state',
        dataset: dataset.name,
        state: state.state,
        ...(reason === undefined ? {} : { reason }),
      }
      tell(event, stateLine(event, err, cwd))
    }
    for (const [name, { calls }] of runtime.handlers.runners) {
      const reason = calls.error?.message
      const key = `handler ${name}`
      if (reason === last.get(key)) continue
      if (reason === undefined) last.delete(key)
      else last.set(key, reason)
      const state = reason === undefined ? 'ok' : 'failed'
      const event = { event: 'handler', handler: name, state, ...(reason === undefined ? {} : { reason }) }
      tell(event, stateLine({ ...event, dataset: name }, err, cwd))
    }
    const { maintenanceError } = runtime
    if (maintenanceError !== toldError && maintenanceError !== undefined) {
      const { message } = maintenanceError
      tell(
        { event: 'maintenance', error: message },
        `${err.style('yellow', 'maintenance failed')}, to be tried again: ${message}`,
      )
    }
    toldError = maintenanceError
  }
  void (async () => {
    while (!done.signal.aborted) {
      look()
      await clock.sleep(LOOK_MS, done.signal)
    }
  })()
  const onRequest = (message: unknown) => {
    const { method, route, status, error } = message as RequestEvent
    if (status < 500 || status === 503) return
    tell(
      { event: 'request', method, route, status, error: messageOf(error) },
      `${err.style('red', String(status))} ${method} ${route}: ${messageOf(error)}`,
    )
  }
  subscribe(requestChannel.name, onRequest)
  return () => {
    done.abort()
    unsubscribe(requestChannel.name, onRequest)
  }
}
