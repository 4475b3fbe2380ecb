import type { Clock } from '../../base/clock.ts'
import { isBroken, isForgotten, isUnknown, sessionLost } from './errors.ts'
import type { ExecutePlanResponse, Plan } from './protocol.ts'
import { type Rpc, RpcError } from './rpc.ts'

/** The server ends a stream after two minutes; one that is silent for longer is broken. */
const STREAM_MS = 180_000
const BACKOFF_MS = 100
const BACKOFF_MS_MAX = 3_000

export interface Execution {
  readonly rpc: Rpc
  readonly clock: Clock
  readonly plan: Plan
  readonly operationId: string
  /** `host:port` of the server. */
  readonly server: string
  /** Session, user and the server's session id: what every request has. */
  readonly session: object
  /** How long a server may be out of reach before the work is given up. */
  readonly reconnectMs: number
  readonly signal?: AbortSignal
}

/**
 * The answers to a plan. When a stream ends before the result is complete (after two minutes, or with the connection), the
 * operation goes on and is attached to again, after the last answer that came. It is sent again only where the server says
 * that it never came; where that cannot be known any more, the error is `unavailable` and the caller decides.
 */
export async function* execute(execution: Execution): AsyncGenerator<ExecutePlanResponse> {
  const { rpc, plan, operationId, session, clock } = execution
  const request = { ...session, operationId, plan, requestOptions: [{ reattach: { reattachable: true } }] }
  let lastResponseId: string | undefined
  let attaching = false
  let brokenSince: number | undefined
  let failures = 0
  for (;;) {
    try {
      const again = { ...session, operationId, ...(lastResponseId === undefined ? {} : { lastResponseId }) }
      const answers = attaching
        ? rpc.stream('ReattachExecute', again, STREAM_MS)
        : rpc.stream('ExecutePlan', request, STREAM_MS)
      for await (const answer of answers) {
        brokenSince = undefined
        failures = 0
        lastResponseId = answer.responseId ?? lastResponseId
        yield answer
        if (answer.resultComplete) return
      }
      attaching = true
    } catch (error) {
      if (!(error instanceof RpcError)) throw error
      const never: boolean = attaching && lastResponseId === undefined && isUnknown(error)
      if (attaching && !never && (isUnknown(error) || isForgotten(error))) throw sessionLost(execution, error)
      if (!never && !isBroken(error)) throw error
      attaching = !never
      brokenSince ??= clock.monotonic()
      if (execution.signal?.aborted === true || clock.monotonic() - brokenSince > execution.reconnectMs) throw error
      await clock.sleep(backoffMs(failures++), execution.signal)
    }
  }
}

/** How long to wait after so many failures in a row. */
export function backoffMs(failures: number): number {
  return Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** failures)
}
