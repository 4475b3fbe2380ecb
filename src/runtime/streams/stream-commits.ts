import { asMillraceError } from '../../base/errors.ts'
import type { DataFile } from '../../lake/data-file.ts'
import type { LakeTable, Snapshot } from '../../lake/table.ts'
import type { Dataset } from '../../project/dataset.ts'
import {
  type Advance,
  type Beginning,
  type Claim,
  type Committed,
  type Move,
  advanced,
  checkClaims,
  checkEpochs,
  committedIn,
  isSameBasis,
  lineOfRef,
  newestRecord,
  overtaken,
  recordOf,
  refusedRecordOf,
} from './committed.ts'
import { type LandedBatch, advanceOf } from './landed.ts'
import { recoverQuarantine } from './quarantine-recovery.ts'
import { recordSummary } from '../record.ts'
import { CANDIDATE } from '../warehouse.ts'

export interface StreamCommitsOptions {
  /** The stream, or a table that functions make of one: workers share its partitions, and may make all its rows anew. */
  readonly dataset: Dataset
  readonly run: string
  readonly code: string
  readonly table: LakeTable
  /** The quarantine table; made when first asked for with `create`. */
  openQuarantine(create: boolean): Promise<LakeTable | undefined>
  /** Dataset checks hold back snapshots: commits go to the candidate branch and are published by the audit. */
  readonly audited: boolean
  readonly beginning: Beginning
}

/** Files that take the place of others. */
export interface Replacement {
  readonly committed: Partial<Committed>
  readonly add: readonly DataFile[]
  readonly remove: readonly string[]
  readonly quarantineAdd: readonly DataFile[]
  readonly quarantineRemove: readonly string[]
}

/** What functions made of the rows of some partitions. */
export interface ShareStep {
  readonly advance: Advance
  readonly add: readonly DataFile[]
  readonly refused: readonly DataFile[]
}

/** Rows that functions made of the whole input, or (`isAll` false) of what came into it behind the offsets. */
export interface Renewal {
  readonly committed: Pick<Committed, 'offsets' | 'counts' | 'newest' | 'basis' | 'inputs'>
  readonly add: readonly DataFile[]
  readonly refused: { readonly add: readonly DataFile[]; readonly remove: 'all' | readonly string[] }
  readonly isAll: boolean
}

type Line = Iterable<Snapshot>
type Summary = Readonly<Record<string, string>>

/**
 * Commits to a stream's table and its quarantine, beside other workers that have other partitions. Each commit adds to what the
 * newest snapshot records, and is refused where that says that somebody else is at work on one's partition.
 *
 * Quarantine is committed before the rows. What a worker left there that died in between, its successor takes back; so a
 * partition that is taken under a lease is first told of in the rows, then in quarantine: after that the former worker
 * can commit to neither.
 */
export class StreamCommits {
  readonly #options: StreamCommitsOptions
  readonly #ref: string
  /** Epochs of the leases under which partitions are this worker's. */
  readonly #epochs = new Map<number, number | undefined>()
  #committed: Committed
  #quarantine: LakeTable | undefined

  private constructor(options: StreamCommitsOptions, quarantine: LakeTable | undefined) {
    this.#options = options
    this.#ref = options.audited ? CANDIDATE : 'main'
    this.#quarantine = quarantine
    this.#committed = this.#read(lineOfRef(options.table, this.#ref))
  }

  /** Changes nothing. */
  static async open(options: StreamCommitsOptions): Promise<StreamCommits> {
    return new StreamCommits(options, await options.openQuarantine(false))
  }

  /** Where the stream stands, as of the last commit of this worker; other partitions may be further. */
  get committed(): Committed {
    return this.#committed
  }

  /** Takes up what others have committed. */
  async refresh(): Promise<Committed> {
    const { table } = this.#options
    await table.refresh()
    return (this.#committed = this.#read(lineOfRef(table, this.#ref)))
  }

  /** Whether rows were to be made anew, and whoever did it got no further than quarantine: known to who has taken the first partition. */
  get isUnfinished(): boolean {
    const refused = this.#quarantine && newestRecord(lineOfRef(this.#quarantine, 'main'))
    return isTable(this.#options) && (refused?.replays ?? 0) > this.#committed.replays
  }

  /** The quarantine table, when there is one. */
  get quarantine(): LakeTable | undefined {
    return this.#quarantine
  }

  /** The quarantine table, made when there is none yet. */
  async quarantineTable(): Promise<LakeTable> {
    return (this.#quarantine ??= (await this.#options.openQuarantine(true))!)
  }

  /**
   * Makes partitions this worker's, each with the epoch of its lease; undefined where only one process can be at work. Whoever had
   * them before can commit nothing to them from now on. Errors: `conflict`/`fenced` when one was taken with a greater epoch.
   */
  async take(partitions: ReadonlyMap<number, number | undefined>): Promise<void> {
    // Whose they are says whether a replay has ended: that of others goes on.
    if (partitions.size === 0) return
    const { table, audited } = this.#options
    await table.refresh()
    if (!audited) await publishHeldBack(table)
    await this.refresh()
    if (!isTold(this.#committed, partitions)) {
      const snapshot = await table.commit({
        operation: 'append',
        add: [],
        remove: [],
        ref: this.#ref,
        summary: (line) => {
          const before = this.#read(line)
          checkEpochs(this.#options.dataset, before, partitions)
          return recordSummary(recordOf(withEpochs(before, partitions), this.#options))
        },
      })
      this.#committed = this.#read([snapshot])
    }
    const isLeased = [...partitions.values()].some((epoch) => epoch !== undefined)
    const quarantine = isLeased ? await this.quarantineTable() : this.#quarantine
    if (quarantine) await this.#takeQuarantine(quarantine, partitions)
    for (const [partition, epoch] of partitions) this.#epochs.set(partition, epoch)
  }

  async #takeQuarantine(quarantine: LakeTable, partitions: ReadonlyMap<number, number | undefined>): Promise<void> {
    const { offsets } = this.#committed
    await recoverQuarantine({
      quarantine,
      committed: this.#committed,
      partitions: [...partitions.keys()],
      undoesReplays: !isTable(this.#options),
      isTold: (line) => isTold(this.#read(line), partitions),
      summary: (line) => {
        const before = this.#read(line)
        checkEpochs(this.#options.dataset, before, partitions)
        const back = { ...before, offsets: before.offsets.map((to, i) => (partitions.has(i) ? offsets[i]! : to)) }
        return recordSummary(refusedRecordOf(withEpochs(back, partitions), this.#options))
      },
    })
  }

  /** Lets go of a partition: what it has not committed, another will. */
  drop(partition: number): void {
    this.#epochs.delete(partition)
  }

  /**
   * Commits batches: what they refused, then their rows with the offsets. Errors: `conflict`/`fenced` when one is of a partition that
   * is another worker's; those of `LakeTable.commit`. Nothing is committed then but what was refused, which is so noted.
   */
  async commit(batches: readonly LandedBatch[]): Promise<Snapshot> {
    const advance = advanceOf(batches)
    const fresh = batches.filter(({ isRefusedIn }) => !isRefusedIn)
    const refused = (await Promise.all(fresh.map((batch) => batch.refused))).flat()
    const rows = (await Promise.all(batches.map((batch) => batch.rows))).flat()
    await this.#appendRefused(advance, refused)
    for (const batch of fresh) batch.isRefusedIn = true
    return this.#appendRows(advance, rows)
  }

  /**
   * Commits what functions made of the rows of some partitions. Errors: as `commit`, and `conflict`/`overtaken` when the rows were
   * made anew meanwhile, or are about to be.
   */
  async commitStep({ advance, add, refused }: ShareStep): Promise<Snapshot> {
    await this.#appendRefused(advance, refused)
    return this.#appendRows(advance, add)
  }

  async #appendRefused(advance: Advance, add: readonly DataFile[]): Promise<void> {
    if (add.length === 0) return
    const claims = this.#claims(advance.moves)
    await this.#commitRefused({ operation: 'append', add, remove: [] }, claims, (before) => {
      // Of rows made anew that are not committed yet: what is there is all of it.
      if (advance.made && before.replays > this.#committed.replays) throw overtaken(this.#options.dataset.name)
      return advanced(before, advance)
    })
  }

  #appendRows(advance: Advance, add: readonly DataFile[]): Promise<Snapshot> {
    const claims = this.#claims(advance.moves)
    return this.#commitRows({ operation: 'append', add, remove: [] }, claims, (before) => {
      this.#checkBasis(before, advance)
      return advanced(before, advance)
    })
  }

  #checkBasis({ basis, replays }: Committed, { made }: Advance): void {
    if (!made) return
    if (replays !== this.#committed.replays || (basis && !isSameBasis(basis, made.basis)))
      throw overtaken(this.#options.dataset.name)
  }

  /** Replaces rows of the stream and of its quarantine as one step, for a worker that has all partitions. Errors: as `commit`. */
  async replace({ committed, add, remove, quarantineAdd, quarantineRemove }: Replacement): Promise<Snapshot> {
    const next: Committed = { ...this.#committed, ...committed, replays: this.#committed.replays + 1 }
    const claims = this.#claims(new Map(this.#committed.offsets.map((from, i) => [i, { from }])))
    if (quarantineAdd.length + quarantineRemove.length > 0) {
      const change = { operation: 'overwrite', add: quarantineAdd, remove: quarantineRemove } as const
      await this.#commitRefused(change, claims, (before) => ({ ...next, epochs: before.epochs }))
    }
    return this.#commitRows({ operation: 'overwrite', add, remove }, claims, () => next)
  }

  /**
   * Commits rows, and what was refused, in place of all that are there or beside them, for the worker that has the first partition;
   * the others go on from there. While quarantine is ahead of the rows nobody else commits. Errors: as `commitStep`.
   */
  async renew({ committed, add, refused, isAll }: Renewal): Promise<Snapshot> {
    const claims = new Map([[0, { epoch: this.#epochs.get(0) }]])
    const { offsets, replays } = this.#committed
    const renewed = (before: Committed): Committed => ({ ...before, ...committed, replays: replays + 1 })
    const quarantine = refused.add.length > 0 ? await this.quarantineTable() : this.#quarantine
    if (quarantine) {
      const refuse = ({ remove, parent }: Swap) =>
        quarantine.commit({
          operation: 'overwrite',
          add: refused.add,
          remove,
          ...parent,
          summary: (line) =>
            this.#checked(line, claims, (before) => recordSummary(refusedRecordOf(renewed(before), this.#options))),
        })
      await (refused.remove === 'all' ? swapAll(quarantine, refuse) : refuse({ remove: refused.remove, parent: {} }))
    }
    const accept = ({ remove, parent }: Swap) =>
      this.#commitRows({ operation: isAll ? 'overwrite' : 'append', add, remove, ...parent }, claims, (before) => {
        const isAsRead = before.replays === replays && (isAll || String(before.offsets) === String(offsets))
        if (!isAsRead) throw overtaken(this.#options.dataset.name)
        return renewed(before)
      })
    return isAll ? swapAll(this.#options.table, accept) : accept({ remove: [], parent: {} })
  }

  async #commitRefused(change: Change, claims: ReadonlyMap<number, Claim>, next: Next): Promise<void> {
    // Where the rows are says nothing of where quarantine is: most batches leave nothing there.
    const epochs = new Map([...claims].map(([partition, { epoch }]) => [partition, { epoch }]))
    const quarantine = await this.quarantineTable()
    await quarantine.commit({
      ...change,
      summary: (line) =>
        this.#checked(line, epochs, (before) => recordSummary(refusedRecordOf(next(before), this.#options))),
    })
  }

  async #commitRows(change: Change, claims: ReadonlyMap<number, Claim>, next: Next): Promise<Snapshot> {
    const snapshot = await this.#options.table.commit({
      ...change,
      ref: this.#ref,
      summary: (line) => this.#checked(line, claims, (before) => recordSummary(recordOf(next(before), this.#options))),
    })
    this.#committed = this.#read([snapshot])
    return snapshot
  }

  #checked(line: Line, claims: ReadonlyMap<number, Claim>, summary: (before: Committed) => Summary): Summary {
    const before = this.#read(line)
    checkClaims(this.#options.dataset, before, claims)
    return summary(before)
  }

  #claims(moves: ReadonlyMap<number, Pick<Move, 'from'>>): Map<number, Claim> {
    return new Map([...moves].map(([i, { from }]) => [i, { epoch: this.#epochs.get(i), offset: from }]))
  }

  #read(line: Line): Committed {
    return committedIn(line, this.#options.beginning)
  }
}

interface Change {
  readonly operation: 'append' | 'overwrite'
  readonly add: readonly DataFile[]
  readonly remove: readonly string[]
  readonly parent?: bigint | null
}

/** What takes the place of all files, and the snapshot that they are those of. */
interface Swap {
  readonly remove: readonly string[]
  readonly parent: { readonly parent?: bigint | null }
}

/** Tries to commit between the commits of others. */
const SWAPS_MAX = 50

/** Commits in place of all files that are there, whoever commits others meanwhile. */
async function swapAll<T>(table: LakeTable, commit: (swap: Swap) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    await table.refresh()
    const main = table.snapshot()
    const remove = main ? (await table.files(main)).map(({ path }) => path) : []
    try {
      return await commit({ remove, parent: { parent: main?.id ?? null } })
    } catch (error) {
      if (asMillraceError(error).code !== 'moved' || attempt === SWAPS_MAX) throw error
    }
  }
}

type Next = (before: Committed) => Committed

function isTable({ dataset }: StreamCommitsOptions): boolean {
  return dataset.kind === 'table'
}

function isTold(committed: Committed, partitions: ReadonlyMap<number, number | undefined>): boolean {
  return [...partitions].every(([partition, epoch]) => committed.epochs[partition] === (epoch ?? null))
}

function withEpochs(committed: Committed, partitions: ReadonlyMap<number, number | undefined>): Committed {
  const epochOf = (i: number, epoch: number | null) => (partitions.has(i) ? (partitions.get(i) ?? null) : epoch)
  return { ...committed, epochs: committed.epochs.map((epoch, i) => epochOf(i, epoch)) }
}

/** What a check held back that is no longer declared is for all to see: the commits to come go on from there. */
async function publishHeldBack(table: LakeTable): Promise<void> {
  const [main, candidate] = [table.snapshot('main'), table.snapshot(CANDIDATE)]
  if (!candidate || (main && main.sequenceNumber >= candidate.sequenceNumber)) return
  await table.setRef('main', candidate.id, main?.id)
}
