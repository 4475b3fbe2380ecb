import type { BatchView } from './batch.ts'
import { VarintReader } from './varint.ts'

/** A transaction that was rolled back: its producer, and the offset at which it began in the partition. */
export interface AbortedTransaction {
  readonly producer: bigint
  readonly from: number
}

/**
 * Which batches of one fetch are committed. The broker names the aborted transactions that reach into what it sends, by
 * producer and first offset, in any order; each ends with its producer's abort marker. So a producer's batches are hidden from a
 * transaction's first offset up to the marker, and its next transaction is judged for itself: two aborts in one fetch, a
 * commit between two aborts, and a marker that lies beyond the fetched bytes all come out right. Batches are given in order.
 */
export class AbortedBatches {
  readonly #ahead: readonly AbortedTransaction[]
  #next = 0
  /** Producers within an aborted transaction. */
  readonly #open = new Set<bigint>()

  constructor(aborted: readonly AbortedTransaction[]) {
    this.#ahead = aborted.toSorted((a, b) => a.from - b.from)
  }

  /** Whether the records of a batch are for readers. */
  isVisible(batch: BatchView): boolean {
    while (this.#next < this.#ahead.length && this.#ahead[this.#next]!.from < batch.to) {
      this.#open.add(this.#ahead[this.#next++]!.producer)
    }
    if (batch.isControl) {
      if (isAbortMarker(batch)) this.#open.delete(batch.producer.id)
      return false
    }
    return !(batch.isTransactional && this.#open.has(batch.producer.id))
  }
}

/** A control batch holds one record, never compressed, whose key is a version and a type (16 bits each; 0 aborts, 1 commits). */
function isAbortMarker({ payload }: BatchView): boolean {
  const reader = new VarintReader(payload)
  reader.int()
  reader.at++
  reader.long()
  reader.int()
  reader.int()
  return payload.readInt16BE(reader.at + 2) === 0
}
