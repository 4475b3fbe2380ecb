import type { Clock } from '../base/clock.ts'
import { type MillraceError, asMillraceError } from '../base/errors.ts'
import { SerialQueue } from '../base/queue.ts'
import type { Duties, Ownership } from '../runtime/parts.ts'
import type { Role } from '../runtime/role.ts'
import { LeaseKeeper } from '../state/lease-keeper.ts'
import type { State } from '../state/state.ts'

export interface LeasedOwnershipOptions {
  readonly state: State
  readonly clock: Clock
  /** This process. */
  readonly member: string
  /** What goes wrong and is tried again. */
  onError(error: MillraceError): void
}

/** How long work rests after a process has died without giving it back, ms. */
const LEASE_MS = 10_000
const RETRY_MS = { first: 250, most: 10_000 }

/**
 * Ownership by leases that the processes of a project renew. A lease that a sleeping process believes in is no danger: the lake
 * refuses commits to what another has taken up meanwhile.
 */
export class LeasedOwnership implements Ownership {
  readonly #options: LeasedOwnershipOptions
  readonly #keepers: LeaseKeeper[] = []

  constructor(options: LeasedOwnershipOptions) {
    this.#options = options
  }

  start(role: Role, items: readonly string[], duties: Duties): void {
    const { state, clock, member, onError } = this.#options
    const turns = new Map(items.map((item) => [item, new SerialQueue()]))
    const wanted = new Map<string, AbortController>()
    const take = async (item: string, epoch: number, signal: AbortSignal) => {
      for (let wait = RETRY_MS.first; !signal.aborted; wait = Math.min(RETRY_MS.most, wait * 2)) {
        try {
          await duties.take(item, epoch)
          return
        } catch (error) {
          onError(asMillraceError(error))
          await clock.sleep(wait, signal)
        }
      }
    }
    const keeper = new LeaseKeeper({
      state,
      clock,
      member,
      pool: role,
      items,
      ttlMs: LEASE_MS,
      onAcquired(item, { epoch }) {
        const stop = new AbortController()
        wanted.set(item, stop)
        void turns.get(item)!.run(() => take(item, epoch, stop.signal))
      },
      onRelease(item) {
        wanted.get(item)?.abort()
        return turns.get(item)!.run(() => duties.give(item))
      },
      onLost(item, error) {
        if (error) onError(error)
        wanted.get(item)?.abort()
        duties.lose(item)
        // What was about to begin has ended by then.
        void turns.get(item)!.run(async () => duties.lose(item))
      },
      onError,
    })
    this.#keepers.push(keeper)
    keeper.start()
  }

  get trouble(): MillraceError | undefined {
    return this.#keepers.map(({ trouble }) => trouble).find((error) => error !== undefined)
  }

  async stop(): Promise<void> {
    await Promise.all(this.#keepers.map((keeper) => keeper.stop()))
  }
}
