import { MillraceError } from '../../base/errors.ts'
import { lineOf, refId } from '../metadata.ts'
import type { TableMetadata } from '../metadata.ts'
import { nameOf } from '../table.ts'
import type { TableId } from '../table.ts'
import type { RequestPart } from './request.ts'

/** Updates that change rows or notes, not what the project declares. */
const TAKEN = new Set([
  'add-snapshot',
  'set-snapshot-ref',
  'remove-snapshot-ref',
  'remove-snapshots',
  'set-properties',
  'remove-properties',
])

/** Branch on which the runtime holds snapshots back until their audits have passed. */
const CANDIDATE = 'candidate'

/**
 * Refuses what other engines may not do to a table of the project: change its columns, partitions or place, which follow
 * the declaration; add delete files, which Millrace does not apply; move the branch of audited snapshots, or `main`
 * beside it, for the next publication would undo that. Throws `denied` / `managed-table`.
 */
export function refuseForeignChange(id: TableId, metadata: TableMetadata, updates: readonly RequestPart[]): void {
  for (const update of updates) {
    const action = update.text('action')
    if (!TAKEN.has(action) && !changesNothing(action, update, metadata)) {
      refuse(id, `its columns, partitions and place follow the declaration ('${action}')`, 'Change the declaration.')
    }
    if (action === 'add-snapshot') refuseDeleteFiles(id, update.part('snapshot').properties('summary'))
    if (action.endsWith('snapshot-ref')) refuseAudited(id, metadata, update)
    if (action.endsWith('-properties')) {
      const keys = action.startsWith('set') ? Object.keys(update.properties('updates')) : update.texts('removals')
      const own = keys.find((key) => key.startsWith('millrace.'))
      if (own !== undefined) refuse(id, `'${own}' is Millrace's own note`, 'Leave it as it is.')
    }
  }
}

/**
 * Refuses to set `main` back, or aside: a lane that runs goes on from the offsets it knows, so what was taken back would be
 * lost for good. Throws `denied` / `managed-table`.
 */
export function refuseRewind(id: TableId, before: TableMetadata, after: TableMetadata): void {
  const main = refId(before, 'main')
  if (main === undefined) return
  for (const snapshot of lineOf(after, refId(after, 'main'))) if (snapshot.id === main) return
  refuse(id, "'main' goes forward only", 'Append, overwrite or delete rows on top of what is published.')
}

/** Clients may repeat what is so already. */
function changesNothing(action: string, update: RequestPart, metadata: TableMetadata): boolean {
  switch (action) {
    case 'assign-uuid':
      return update.text('uuid').toLowerCase() === metadata['table-uuid']
    case 'upgrade-format-version':
      return update.integer('format-version') <= 2
    default:
      return false
  }
}

function refuseDeleteFiles(id: TableId, summary: Readonly<Record<string, string>>): void {
  const counts = [summary['added-delete-files'], summary['total-delete-files']]
  if (counts.every((count) => Number(count ?? 0) === 0)) return
  const modes = 'write.delete.mode, write.update.mode and write.merge.mode'
  refuse(id, 'the snapshot has delete files, which Millrace does not apply', `Set ${modes} to copy-on-write.`)
}

function refuseAudited(id: TableId, metadata: TableMetadata, update: RequestPart): void {
  const ref = update.text('ref-name')
  if (ref === CANDIDATE || (ref === 'main' && refId(metadata, CANDIDATE) !== undefined)) {
    refuse(id, 'its snapshots are audited before they are published', 'Write to a table of your own.')
  }
}

function refuse(id: TableId, reason: string, hint: string): never {
  throw new MillraceError('denied', 'managed-table', `${nameOf(id)} belongs to the project: ${reason}.`, { hint })
}
