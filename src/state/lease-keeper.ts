import type { Clock } from '../base/clock.ts'
import { type MillraceError, asMillraceError } from '../base/errors.ts'
import { balance } from './balance.ts'
import type { Lease } from './leases.ts'
import type { State } from './state.ts'

export interface LeaseKeeperOptions {
  readonly state: Pick<State, 'leases' | 'members'>
  readonly clock: Clock
  /** What is shared out: `stream/orders`, `scheduler`. Leases are called `<pool>/<item>`. */
  readonly pool: string
  /** The same for all members. */
  readonly items: readonly string[]
  /** This process; no other, nor this one after a restart, has the same name. */
  readonly member: string
  /** How long a lease lasts when its holder says nothing more, ms: so long does work rest after a process has died. */
  readonly ttlMs: number
  /** It wants all of the items for itself: their owners hand them over, and take no share of them meanwhile. Otherwise it takes its share. */
  readonly claims?: boolean
  /** The item is this process's now. */
  onAcquired(item: string, lease: Lease): void
  /** Another member should have the item: it is kept until this resolves, and whatever was begun should be ended by then. */
  onRelease(item: string): Promise<void>
  /** The item is no longer this process's, or cannot be known to be: another may have it already. */
  onLost(item: string, error: MillraceError | undefined): void
  /** The state did not answer; it is asked again. */
  onError?(error: MillraceError): void
}

interface Kept {
  readonly lease: Lease
  /** When it may have run out, by this process's monotonic clock. */
  untilMs: number
  /** `leaving`: work on it is being ended; `left`: it is being given back, and no longer ours. */
  phase: 'held' | 'leaving' | 'left'
}

/** Turns in the time of a lease: two may fail before one is lost. */
const TURNS = 3
/** Turns in the time of a lease while what was claimed is waited for. */
const TURNS_WAITING = 20

/**
 * Takes this process's share of some items, or all of them where it claims them, renews its leases in the background, and gives
 * items back as members join or others claim them.
 * Nothing is exact about when: two processes never have a lease at once by the database's clock, but one that slept may
 * believe so for a moment. What it does must be refused elsewhere (the lease's epoch, or a compare-and-swap).
 */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions
  readonly #kept = new Map<string, Kept>()
  #running: Promise<unknown> | undefined
  #stopping = false
  #wake = new AbortController()
  readonly #ended = new AbortController()
  /** Why the state last did not answer. */
  #error: MillraceError | undefined
  /** Members as last seen. */
  #members: readonly string[] = []
  /** Claims that are this process's. */
  #claims = new Map<string, Lease>()
  /** Who has which item, or the sole claim to it, as last seen. */
  #holders: ReadonlyMap<string, string> = new Map()

  constructor(options: LeaseKeeperOptions) {
    this.#options = options
  }

  /** The items this process has now, those that are being given back too. */
  get items(): readonly string[] {
    return [...this.#kept.keys()].filter((item) => this.holds(item) !== undefined).toSorted()
  }

  get members(): readonly string[] {
    return this.#members
  }

  /** Who has which item, or has claimed it, as last seen. */
  get holders(): ReadonlyMap<string, string> {
    return this.#holders
  }

  /** The lease of an item while it is certain that this process has it. */
  holds(item: string): Lease | undefined {
    const kept = this.#kept.get(item)
    return kept && kept.phase !== 'left' && this.#options.clock.monotonic() < kept.untilMs ? kept.lease : undefined
  }

  /** Why the state did not answer when it was last asked, if it did not: leases run out until it does. */
  get trouble(): MillraceError | undefined {
    return this.#error
  }

  start(): void {
    this.#running ??= Promise.all([this.#keep(), this.#watch()])
  }

  /** Gives everything back, as `onRelease` lets it, and leaves the pool. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.#wake.abort()
    await this.#running
  }

  async #keep(): Promise<void> {
    const { clock, ttlMs, state, pool, member } = this.#options
    while (!this.#stopping || this.#kept.size > 0) {
      this.#wake = new AbortController()
      await this.#orTell(() => (this.#stopping ? this.#leave() : this.#turn()))
      const isWaiting = this.#options.claims === true && this.#kept.size < this.#options.items.length
      await clock.sleep(ttlMs / (isWaiting ? TURNS_WAITING : TURNS), this.#wake.signal)
    }
    this.#ended.abort()
    for (const claim of this.#claims.values()) await this.#orTell(() => state.leases.release(claim))
    await this.#orTell(() => state.members.leave(pool, member))
  }

  async #turn(): Promise<void> {
    const { state, pool, items, member, ttlMs, claims = false } = this.#options
    await this.#renew()
    if (claims) await this.#claim()
    else await state.members.beat(pool, member, ttlMs)
    const [members, owners, claimed] = await Promise.all([
      state.members.list(pool),
      holdersOf(state, `${pool}/`),
      holdersOf(state, `${CLAIM}${pool}/`),
    ])
    this.#members = members
    this.#holders = new Map([...owners, ...claimed])
    const shared = items.filter((item) => !claimed.has(item))
    const target = new Map([...claimed, ...(claims ? [] : balance(shared, members, owners))])
    for (const [item, kept] of this.#kept)
      if (kept.phase === 'held' && target.get(item) !== member) void this.#give(item, kept)
    for (const item of items) {
      const owner = target.get(item)
      // One's own that is not kept: the answer to a question before was lost.
      const isFree = !owners.has(item) || owners.get(item) === member
      if (owner === member && isFree && !this.#kept.has(item) && !this.#stopping) await this.#take(item)
    }
  }

  /** In the order of their names and no further than the first that another has: two that claim the same cannot wait for each other. */
  async #claim(): Promise<void> {
    const { state, pool, items, member, ttlMs } = this.#options
    const prefix = `${CLAIM}${pool}/`
    const renewed = await state.leases.renew([...this.#claims.values()], ttlMs)
    this.#claims = new Map(renewed.map((lease) => [lease.name.slice(prefix.length), lease]))
    for (const item of items.toSorted()) {
      if (this.#claims.has(item)) continue
      const lease = await state.leases.acquire(prefix + item, member, ttlMs)
      if (!lease) return
      this.#claims.set(item, lease)
    }
  }

  async #leave(): Promise<void> {
    const { state, pool, member } = this.#options
    for (const [item, kept] of this.#kept) if (kept.phase === 'held') void this.#give(item, kept)
    await this.#renew()
    // Now rather than at the end, so that others count on what is given back.
    await state.members.leave(pool, member)
  }

  async #take(item: string): Promise<void> {
    const { state, clock, pool, member, ttlMs, onAcquired } = this.#options
    const askedMs = clock.monotonic()
    const lease = await state.leases.acquire(`${pool}/${item}`, member, ttlMs)
    if (!lease) return
    this.#kept.set(item, { lease, untilMs: askedMs + ttlMs, phase: 'held' })
    onAcquired(item, lease)
  }

  async #renew(): Promise<void> {
    const { state, clock, ttlMs } = this.#options
    const kept = [...this.#kept].filter(([, { phase }]) => phase !== 'left')
    const askedMs = clock.monotonic()
    const renewed = await state.leases.renew(
      kept.map(([, { lease }]) => lease),
      ttlMs,
    )
    const epochs = new Map(renewed.map(({ name, epoch }) => [name, epoch]))
    for (const [item, own] of kept) {
      // Given back or lost while the question was under way.
      if (this.#kept.get(item) !== own || own.phase === 'left') continue
      if (epochs.get(own.lease.name) === own.lease.epoch) own.untilMs = askedMs + ttlMs
      else this.#lose(item, undefined)
    }
  }

  async #give(item: string, kept: Kept): Promise<void> {
    const { state, onRelease } = this.#options
    kept.phase = 'leaving'
    await this.#orTell(() => onRelease(item))
    // It may have been lost meanwhile.
    if (this.#kept.get(item) === kept) {
      kept.phase = 'left'
      await this.#orTell(() => state.leases.release(kept.lease))
      this.#kept.delete(item)
    }
    if (this.#stopping) this.#wake.abort()
  }

  #lose(item: string, error: MillraceError | undefined): void {
    const phase = this.#kept.get(item)?.phase
    this.#kept.delete(item)
    if (phase !== 'left') this.#options.onLost(item, error)
  }

  async #orTell(work: () => Promise<unknown>): Promise<void> {
    try {
      await work()
      this.#error = undefined
    } catch (error) {
      this.#error = asMillraceError(error)
      this.#options.onError?.(this.#error)
    }
  }

  /** Tells of leases whose time is over, however long the state takes to answer. */
  async #watch(): Promise<void> {
    const { clock, ttlMs } = this.#options
    const { signal } = this.#ended
    while (!signal.aborted) {
      const nowMs = clock.monotonic()
      for (const [item, { untilMs }] of this.#kept) if (untilMs <= nowMs) this.#lose(item, this.#error)
      const next = Math.min(nowMs + ttlMs, ...[...this.#kept.values()].map(({ untilMs }) => untilMs))
      await clock.sleep(Math.max(1, next - nowMs), signal)
    }
  }
}

/** A claim is a lease too, by this prefix and the name of what is claimed: one process at a time has it, and it ends with the process. */
const CLAIM = 'claim/'

/** Who holds leases of names that begin so, by the rest of the name. */
async function holdersOf(state: Pick<State, 'leases'>, prefix: string): Promise<Map<string, string>> {
  const held = await state.leases.list(prefix)
  return new Map(held.map(({ name, holder }) => [name.slice(prefix.length), holder]))
}
