import type { Clock } from '../base/clock.ts'
import { formatMs } from '../base/duration.ts'
import { MillraceError, asMillraceError } from '../base/errors.ts'
import { SerialQueue } from '../base/queue.ts'
import { itemText } from './item-text.ts'
import type { Duties, Ownership } from '../runtime/parts.ts'
import type { Role } from '../runtime/role.ts'
import { LeaseKeeper, type LeaseKeeperOptions } from '../state/lease-keeper.ts'
import type { State } from '../state/state.ts'

export interface LeasedOwnershipOptions {
  readonly state: State
  readonly clock: Clock
  /** This process. */
  readonly member: string
  /** How long what is claimed may stay with others, ms. */
  readonly claimMs?: number
  /** Something that is claimed is with another process, which is to hand it over. */
  onWaiting?(item: string, holder: string): void
  /** What goes wrong and is tried again. */
  onError(error: MillraceError): void
}

/** How long work rests after a process has died without giving it back, ms. */
const LEASE_MS = 10_000
const RETRY_MS = { first: 250, most: 10_000 }
const CLAIM_MS = 300_000
/** Time between two looks at what is waited for, ms. */
const LOOK_MS = 100
/** After so long it is told who has it: handing over takes a moment. */
const TELL_MS = 2_000

/**
 * Ownership by leases that the processes of a project renew. A lease that a sleeping process believes in is no danger: the lake
 * refuses commits to what another has taken up meanwhile.
 */
export class LeasedOwnership implements Ownership {
  readonly #options: LeasedOwnershipOptions
  readonly #keepers: LeaseKeeper[] = []
  #lost: MillraceError | undefined

  constructor(options: LeasedOwnershipOptions) {
    this.#options = options
  }

  start(role: Role, items: readonly string[], duties: Duties): void {
    this.#keep({ pool: role, items, claims: false }, duties, { taken() {}, lost() {} })
  }

  async claim(role: Role, items: readonly string[], duties: Duties): Promise<void> {
    const { clock, claimMs = CLAIM_MS, onWaiting } = this.#options
    const taken = new Set<string>()
    const keeper = this.#keep({ pool: role, items, claims: true }, duties, {
      taken: (item) => void taken.add(item),
      lost: (item) => {
        if (taken.delete(item)) this.#lost ??= lost(item)
      },
    })
    const began = clock.monotonic()
    let told: string | undefined
    for (;;) {
      const missing = items.find((item) => !taken.has(item))
      if (missing === undefined) return
      const waitedMs = clock.monotonic() - began
      const holder = keeper.holders.get(missing) ?? 'another process'
      if (waitedMs > claimMs) throw heldElsewhere(missing, holder, claimMs)
      if (waitedMs > TELL_MS && told !== holder) onWaiting?.(missing, (told = holder))
      await clock.sleep(LOOK_MS)
    }
  }

  checkClaims(): void {
    if (this.#lost) throw this.#lost
  }

  #keep(
    what: Pick<LeaseKeeperOptions, 'pool' | 'items' | 'claims'>,
    duties: Duties,
    on: { taken(item: string): void; lost(item: string): void },
  ): LeaseKeeper {
    const { state, clock, member, onError } = this.#options
    const turns = new Map(what.items.map((item) => [item, new SerialQueue()]))
    const wanted = new Map<string, AbortController>()
    const take = async (item: string, epoch: number, signal: AbortSignal) => {
      for (let wait = RETRY_MS.first; !signal.aborted; wait = Math.min(RETRY_MS.most, wait * 2)) {
        try {
          await duties.take(item, epoch)
          on.taken(item)
          return
        } catch (error) {
          onError(asMillraceError(error))
          await clock.sleep(wait, signal)
        }
      }
    }
    const keeper = new LeaseKeeper({
      ...what,
      state,
      clock,
      member,
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
        on.lost(item)
        duties.lose(item)
        // What was about to begin has ended by then.
        void turns.get(item)!.run(async () => duties.lose(item))
      },
      onError,
    })
    this.#keepers.push(keeper)
    keeper.start()
    return keeper
  }

  get trouble(): MillraceError | undefined {
    return this.#keepers.map(({ trouble }) => trouble).find((error) => error !== undefined)
  }

  async stop(): Promise<void> {
    await Promise.all(this.#keepers.map((keeper) => keeper.stop()))
  }
}

function heldElsewhere(item: string, holder: string, waitedMs: number): MillraceError {
  return new MillraceError(
    'unavailable',
    'held-elsewhere',
    `${itemText(item)} is still with ${holder} after ${formatMs(waitedMs)}.`,
    {
      hint: 'A process hands over what it has when the step under way has ended. Wait longer with --wait, or stop it; nothing was changed.',
      context: { item, holder },
    },
  )
}

function lost(item: string): MillraceError {
  return new MillraceError('unavailable', 'lease-lost', `${itemText(item)} was lost to other processes meanwhile.`, {
    hint: 'The state was out of reach for longer than a lease lasts. What was committed is whole; give the command again.',
    context: { item },
  })
}
