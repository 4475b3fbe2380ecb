import { expect } from 'vitest'
import type { Counts } from '../../src/runtime/record.ts'
import { STREAMS, type StreamName } from './ledger-project.ts'

/** A request: its records, and the key that a repetition carries again. */
export interface Batch {
  readonly stream: StreamName
  readonly key: string
  readonly records: readonly SentRecord[]
}

export interface SentRecord {
  /** The line that is sent. */
  readonly line: string
  /** The row it becomes, as `ROW_TEXT` prints it; undefined for one that no code accepts. */
  readonly row: string | undefined
  /** Strict code refuses it. */
  readonly held: boolean
}

/** What a stream's datasets hold, as text. */
export interface Found {
  readonly rows: readonly string[]
  /** Original bytes of the records in quarantine. */
  readonly refused: readonly string[]
  readonly counts: Counts
}

/** Parts of the records, 0 to 1, and the days they are spread over. */
export interface Shares {
  readonly duplicates: number
  readonly bad: number
  readonly days: number
}

const DAY_MS = 86_400_000
const BASE_MS = Date.UTC(2026, 0, 1)

/**
 * What a client has sent and what was acknowledged: the only truth that a platform's rows are compared with. Records are made
 * here, from a seed: mostly good ones with an identity of their own, about 2 % sent a second time, about 1 % bad in some way.
 */
export class Ledger {
  readonly random: () => number
  readonly #acknowledged: Record<StreamName, SentRecord[]> = { payments: [], readings: [] }
  readonly #pending = new Map<string, Batch>()
  readonly #recent: Record<StreamName, SentRecord[]> = { payments: [], readings: [] }
  readonly #shares: Shares
  #next = 0
  #keys = 0

  constructor(seed: number, shares: Shares = { duplicates: 0.02, bad: 0.01, days: 7 }) {
    this.random = mulberry32(seed)
    this.#shares = shares
  }

  /** A whole number below `n`. */
  below(n: number): number {
    return Math.floor(this.random() * n)
  }

  /** A request to send; pending until acknowledged. */
  next(stream: StreamName, records: number): Batch {
    const batch = {
      stream,
      key: `key-${this.#keys++}`,
      records: Array.from({ length: records }, () => this.#record(stream)),
    }
    this.#pending.set(batch.key, batch)
    return batch
  }

  #record(stream: StreamName): SentRecord {
    const recent = this.#recent[stream]
    const dice = this.random()
    if (dice < this.#shares.duplicates && recent.length > 0) return recent[this.below(recent.length)]!
    const n = this.#next++
    if (dice > 1 - this.#shares.bad) return { line: badLine(stream, n, this.below(4)), row: undefined, held: false }
    const record = stream === 'payments' ? payment(n, this, this.#shares.days) : reading(n, this)
    if (recent.length < 500) recent.push(record)
    else recent[this.below(500)] = record
    return record
  }

  acknowledged(batch: Batch): void {
    expect(this.#pending.delete(batch.key), 'acknowledged once').toBe(true)
    for (const record of batch.records) this.#acknowledged[batch.stream].push(record)
  }

  /** Requests whose fate the client does not know. */
  get pending(): readonly Batch[] {
    return [...this.#pending.values()]
  }

  get records(): number {
    return STREAMS.reduce((sum, stream) => sum + this.#acknowledged[stream].length, 0)
  }

  /** What must be there once all that is held has been let in, and nothing is pending. */
  expected(stream: StreamName): Found {
    const sent = this.#acknowledged[stream]
    const rows = [...new Set(sent.flatMap(({ row }) => row ?? []))].sort()
    const refused = sent.flatMap(({ line, row }) => (row === undefined ? [line] : [])).sort()
    const counts = {
      received: sent.length,
      accepted: rows.length,
      quarantined: refused.length,
      duplicates: sent.length - rows.length - refused.length,
    }
    return { rows, refused, counts }
  }

  /** Everything acknowledged is there, once; nothing else is. */
  expectSettled(stream: StreamName, found: Found, where: string): void {
    expect(this.pending, `${where}: all acknowledged`).toEqual([])
    const expected = this.expected(stream)
    const what = `${where}: ${stream}`
    expect(difference(expected.rows, found.rows), `${what}, rows`).toEqual(SAME)
    expect(difference(expected.refused, found.refused), `${what}, quarantine`).toEqual(SAME)
    expect(found.counts, `${what}, counts`).toEqual(expected.counts)
  }

  /**
   * What must hold at any moment after the log was drained, pending requests or not, whatever code ran: what is acknowledged is
   * there once, a pending request is there as a whole or not at all, and nothing is there that was not sent.
   */
  expectSound(stream: StreamName, found: Found, where: string): void {
    const what = `${where}: ${stream}`
    expect(repeated(found.rows), `${what}, rows twice`).toEqual([])
    const { received, accepted, duplicates, quarantined } = found.counts
    expect({ accepted, quarantined, received }, `${what}, counts`).toEqual({
      accepted: found.rows.length,
      quarantined: found.refused.length,
      received: accepted + duplicates + quarantined,
    })
    const rows = new Set(found.rows)
    const refused = new Set(found.refused)
    const isThere = ({ row, line }: SentRecord) => (row !== undefined && rows.has(row)) || refused.has(line)
    const own = this.#acknowledged[stream]
    expect(own.filter((record) => !isThere(record)).slice(0, 5), `${what}, lost`).toEqual([])
    const pending = this.pending.filter((batch) => batch.stream === stream)
    const sent = [...own, ...pending.flatMap(({ records }) => records)]
    expect(found.rows.length, `${what}, rows of nobody`).toBe(
      new Set(sent.flatMap(({ row }) => (row !== undefined && rows.has(row) ? [row] : []))).size,
    )
    const lines = new Set(sent.map(({ line }) => line))
    expect(
      found.refused.filter((line) => !lines.has(line)),
      `${what}, quarantine of nobody`,
    ).toEqual([])
    // Requests to a stream with several partitions are several appends.
    if (stream !== 'payments') return
    for (const batch of pending) {
      const others = new Set([...own, ...pending.flatMap((other) => (other === batch ? [] : other.records))])
      const there = new Set(batch.records.filter((record) => !others.has(record)).map(isThere))
      expect(there.size, `${what}, half of ${batch.key}`).toBeLessThanOrEqual(1)
    }
  }
}

const SAME = { lost: [], extra: [] }

/** What one side has more often than the other; a few of each. */
function difference(expected: readonly string[], found: readonly string[]): { lost: string[]; extra: string[] } {
  const balance = new Map<string, number>()
  for (const text of expected) balance.set(text, (balance.get(text) ?? 0) + 1)
  for (const text of found) balance.set(text, (balance.get(text) ?? 0) - 1)
  const some = (sign: number) =>
    [...balance].flatMap(([text, n]) => (n * sign > 0 ? [`${Math.abs(n)} × ${text}`] : [])).slice(0, 5)
  return { lost: some(1), extra: some(-1) }
}

function repeated(found: readonly string[]): string[] {
  const seen = new Set<string>()
  return found.filter((text) => seen.size === seen.add(text).size).slice(0, 5)
}

function payment(n: number, ledger: Ledger, days: number): SentRecord {
  const id = `p-${n}`
  const account = `a${ledger.below(20)}`
  const amount = (ledger.below(1_000_000) / 100).toFixed(2)
  const kind = (['sale', 'sale', 'sale', 'fee', 'gift'] as const)[ledger.below(5)]!
  const atMs = BASE_MS + ledger.below(days * DAY_MS)
  return {
    line: JSON.stringify({ id, account, amount, kind, paid_at: new Date(atMs).toISOString() }),
    row: `${id}|${account}|${amount}|${kind}|${atMs}`,
    held: kind === 'gift',
  }
}

function reading(n: number, ledger: Ledger): SentRecord {
  const [device, value] = [`d${ledger.below(50)}`, ledger.below(1000)]
  return { line: JSON.stringify({ device, n, value }), row: `${device}|${n}|${value}`, held: false }
}

/** A record that no code accepts: out of range, of a wrong type, incomplete, or no JSON at all. */
function badLine(stream: StreamName, n: number, how: number): string {
  const good =
    stream === 'payments'
      ? { id: `bad-${n}`, account: 'a1', amount: '1.00', kind: 'sale', paid_at: '2026-01-02T00:00:00Z' }
      : { device: 'd1', n, value: 1 }
  const wrong = stream === 'payments' ? { amount: '-1.00' } : { value: 1000 }
  switch (how) {
    case 0:
      return JSON.stringify({ ...good, ...wrong })
    case 1:
      return JSON.stringify({ ...good, ...(stream === 'payments' ? { paid_at: `never ${n}` } : { value: `x${n}` }) })
    case 2:
      return JSON.stringify({ bad: n })
    default:
      return JSON.stringify(good).slice(0, -2)
  }
}

/** Tommy Ettinger's mulberry32: small, seeded, good enough to spread cases. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}
