import { normalLocation } from '../location.ts'
import { lineOf, refId } from '../metadata.ts'
import type { SnapshotJson, TableMetadata } from '../metadata.ts'

/** What a catalog is to do, and what must be so for it (`CommitTableRequest` of the specification). */
export interface CommitRequest {
  readonly requirements: readonly Update[]
  readonly updates: readonly Update[]
}

type Update = Readonly<Record<string, unknown>>

/** In an update: the last that this commit adds. */
const LAST_ADDED = -1

/**
 * What leads from one state of a table to the next. It is required that every ref, and what columns and partitions are, be as in
 * `base`: all that a change was made from. Properties may have changed meanwhile, for each is set by itself.
 */
export function difference(base: TableMetadata, next: TableMetadata): CommitRequest {
  const snapshots = changedIds(base, next)
  return {
    requirements: [
      { type: 'assert-table-uuid', uuid: base['table-uuid'] },
      ...requiredRefs(base, next),
      { type: 'assert-current-schema-id', 'current-schema-id': base['current-schema-id'] },
      { type: 'assert-last-assigned-field-id', 'last-assigned-field-id': base['last-column-id'] },
      { type: 'assert-default-spec-id', 'default-spec-id': base['default-spec-id'] },
      { type: 'assert-last-assigned-partition-id', 'last-assigned-partition-id': base['last-partition-id'] },
      { type: 'assert-default-sort-order-id', 'default-sort-order-id': base['default-sort-order-id'] },
    ],
    updates: [
      ...shapeUpdates(base, next),
      ...propertyUpdates(base.properties ?? {}, next.properties ?? {}),
      ...snapshots.added.map((snapshot) => ({ action: 'add-snapshot', snapshot })),
      ...refUpdates(base, next),
      ...(snapshots.removed.length === 0 ? [] : [{ action: 'remove-snapshots', 'snapshot-ids': snapshots.removed }]),
    ],
  }
}

/** A table from nothing. It may have one schema and one snapshot: more is history, which one commit cannot tell. */
export function creation(metadata: TableMetadata): CommitRequest {
  // The catalog gives the numbers, from 0 on.
  const next: TableMetadata = {
    ...metadata,
    'current-schema-id': 0,
    schemas: metadata.schemas.map((schema) => ({ ...schema, 'schema-id': 0 })),
    snapshots: (metadata.snapshots ?? []).map((snapshot) => ({ ...snapshot, 'schema-id': 0 })),
  }
  const { updates } = difference({ ...next, ...NOTHING }, next)
  return {
    requirements: [{ type: 'assert-create' }],
    updates: [
      { action: 'assign-uuid', uuid: metadata['table-uuid'] },
      { action: 'upgrade-format-version', 'format-version': metadata['format-version'] },
      { action: 'set-location', location: metadata.location },
      ...updates,
    ],
  }
}

const NOTHING = {
  'current-schema-id': -1,
  schemas: [],
  'default-spec-id': -1,
  'partition-specs': [],
  'default-sort-order-id': -1,
  'sort-orders': [],
  properties: {},
  'current-snapshot-id': -1n,
  refs: {},
  snapshots: [],
} satisfies Partial<TableMetadata>

/**
 * Whether what leads from `base` to `next` has been done in what is there now: its snapshots are there, or, where it has none, its
 * refs, columns and properties are. Undefined when that cannot be told: the snapshot with its number, its own or another's, has
 * been expired since.
 */
export function isDone(base: TableMetadata, next: TableMetadata, found: TableMetadata): boolean | undefined {
  if (found['table-uuid'] !== next['table-uuid']) return false
  const { added, removed } = changedIds(base, next)
  const there = new Map(found.snapshots?.map((snapshot) => [snapshot['snapshot-id'], snapshot]))
  if (added.length > 0) {
    if (added.every((snapshot) => sameSnapshot(snapshot, there.get(snapshot['snapshot-id'])))) return true
    const numbers = added.map((snapshot) => snapshot['sequence-number'])
    if (numbers.some((number) => number > found['last-sequence-number'])) return false
    const taken = new Set(found.snapshots?.map((snapshot) => snapshot['sequence-number']))
    return numbers.some((number) => taken.has(number)) ? false : undefined
  }
  if (removed.some((id) => there.has(id))) return false
  for (const ref of changedRefs(base, next)) {
    const id = refId(next, ref)
    const at = refId(found, ref)
    if (id === undefined ? at !== undefined : !isBehind(found, id, at)) return false
  }
  const { set, removed: gone } = changedProperties(base.properties ?? {}, next.properties ?? {})
  const properties = found.properties ?? {}
  if (gone.some((key) => properties[key] !== undefined)) return false
  if (Object.entries(set).some(([key, value]) => properties[key] !== value)) return false
  return shapeUpdates(base, next).length === 0 || shapeOf(found) === shapeOf(next)
}

function sameSnapshot(ours: SnapshotJson, found: SnapshotJson | undefined): boolean {
  return found !== undefined && normalLocation(found['manifest-list']) === normalLocation(ours['manifest-list'])
}

function isBehind(metadata: TableMetadata, id: bigint, at: bigint | undefined): boolean {
  for (const snapshot of lineOf(metadata, at)) if (snapshot.id === id) return true
  return false
}

function changedIds(base: TableMetadata, next: TableMetadata): { added: SnapshotJson[]; removed: bigint[] } {
  const before = new Set(base.snapshots?.map((snapshot) => snapshot['snapshot-id']))
  const after = new Set(next.snapshots?.map((snapshot) => snapshot['snapshot-id']))
  return {
    added: (next.snapshots ?? []).filter((snapshot) => !before.has(snapshot['snapshot-id'])),
    removed: [...before].filter((id) => !after.has(id)),
  }
}

function refsOf(metadata: TableMetadata): string[] {
  return [...new Set([...Object.keys(metadata.refs ?? {}), 'main'])].filter((ref) => refId(metadata, ref) !== undefined)
}

function changedRefs(base: TableMetadata, next: TableMetadata): string[] {
  return [...new Set([...refsOf(base), ...refsOf(next)])].filter((ref) => refId(base, ref) !== refId(next, ref))
}

function requiredRefs(base: TableMetadata, next: TableMetadata): Update[] {
  const refs = new Set([...refsOf(base), ...refsOf(next), 'main'])
  return [...refs].map((ref) => ({ type: 'assert-ref-snapshot-id', ref, 'snapshot-id': refId(base, ref) ?? null }))
}

function refUpdates(base: TableMetadata, next: TableMetadata): Update[] {
  return changedRefs(base, next).map((ref) => {
    const id = refId(next, ref)
    if (id === undefined) return { action: 'remove-snapshot-ref', 'ref-name': ref }
    const settings = next.refs?.[ref] ?? { type: 'branch' }
    return { action: 'set-snapshot-ref', 'ref-name': ref, ...settings, 'snapshot-id': id }
  })
}

function changedProperties(
  base: Readonly<Record<string, string>>,
  next: Readonly<Record<string, string>>,
): { set: Record<string, string>; removed: string[] } {
  return {
    set: Object.fromEntries(Object.entries(next).filter(([key, value]) => base[key] !== value)),
    removed: Object.keys(base).filter((key) => next[key] === undefined),
  }
}

function propertyUpdates(base: Readonly<Record<string, string>>, next: Readonly<Record<string, string>>): Update[] {
  const { set, removed } = changedProperties(base, next)
  return [
    ...(Object.keys(set).length === 0 ? [] : [{ action: 'set-properties', updates: set }]),
    ...(removed.length === 0 ? [] : [{ action: 'remove-properties', removals: removed }]),
  ]
}

/** What a table has numbered versions of, with the one that counts. */
const SHAPES = [
  ['schemas', 'schema-id', 'current-schema-id', 'add-schema', 'schema', 'set-current-schema', 'schema-id'],
  ['partition-specs', 'spec-id', 'default-spec-id', 'add-spec', 'spec', 'set-default-spec', 'spec-id'],
  [
    'sort-orders',
    'order-id',
    'default-sort-order-id',
    'add-sort-order',
    'sort-order',
    'set-default-sort-order',
    'sort-order-id',
  ],
] as const

/** Columns, partitions and sort orders. The numbers of new ones are the catalog's to give. */
function shapeUpdates(base: TableMetadata, next: TableMetadata): Update[] {
  return SHAPES.flatMap(([list, id, current, add, part, set, setId]) => {
    const idsOf = (metadata: TableMetadata) =>
      (metadata[list] as readonly Update[]).map((item) => [item[id], item] as const)
    const before = new Map(idsOf(base))
    const added = idsOf(next).filter(([number]) => !before.has(number))
    const last = part === 'schema' ? { 'last-column-id': next['last-column-id'] } : {}
    const updates: Update[] = added.map(([, item]) => ({ action: add, [part]: item, ...last }))
    if (next[current] === base[current]) return updates
    const isLast = added.at(-1)?.[0] === next[current]
    return [...updates, { action: set, [setId]: isLast ? LAST_ADDED : next[current] }]
  })
}

function shapeOf(metadata: TableMetadata): string {
  const schema = metadata.schemas.find((each) => each['schema-id'] === metadata['current-schema-id'])
  const spec = metadata['partition-specs'].find((each) => each['spec-id'] === metadata['default-spec-id'])
  return JSON.stringify([schema?.fields, spec?.fields])
}
