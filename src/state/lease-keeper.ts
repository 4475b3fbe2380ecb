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

/**
 * Takes this process's share of some items, renews its leases in the background, and gives items back as members join.
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
      await clock.sleep(ttlMs / TURNS, this.#wake.signal)
    }
    this.#ended.abort()
    await this.#orTell(() => state.members.leave(pool, member))
  }

  async #turn(): Promise<void> {
    const { state, pool, items, member, ttlMs } = this.#options
    await this.#renew()
    await state.members.beat(pool, member, ttlMs)
    const prefix = `${pool}/`
    const [members, held] = await Promise.all([state.members.list(pool), state.leases.list(prefix)])
    this.#members = members
    const owners = new Map(held.map(({ name, holder }) => [name.slice(prefix.length), holder]))
    const target = balance(items, members, owners)
    for (const [item, kept] of this.#kept)
      if (kept.phase === 'held' && target.get(item) !== member) void this.#give(item, kept)
    for (const [item, owner] of target) {
      // One's own that is not kept: the answer to a question before was lost.
      const isFree = !owners.has(item) || owners.get(item) === member
      if (owner === member && isFree && !this.#kept.has(item) && !this.#stopping) await this.#take(item)
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
