import type { MillraceError } from '../../base/errors.ts'
import { isBelow, normalLocation } from '../location.ts'
import { findSnapshot, logWithout, recordIn, refId, withRef } from '../metadata.ts'
import type { SnapshotJson, TableMetadata } from '../metadata.ts'
import type { SpecJson } from '../partition.ts'
import type { SchemaJson } from '../schema.ts'
import { badRequest, commitFailed, notSupported } from './error.ts'
import type { RequestPart } from './request.ts'
import type { SortOrderJson } from './schema-request.ts'
import { idsOf, lastFieldId, requestedOrder, requestedSchema, requestedSpec } from './schema-request.ts'

/** Metadata under change, and what was added by the same commit: `-1` in a later update means the last of it. */
interface Draft {
  readonly metadata: TableMetadata
  readonly nowMs: number
  readonly isNew: boolean
  readonly schema?: number
  readonly spec?: number
  readonly order?: number
  readonly snapshots: ReadonlySet<bigint>
}

type Apply = (draft: Draft, update: RequestPart) => Draft

const LAST_ADDED = -1

const ACTIONS: Readonly<Record<string, Apply>> = {
  'assign-uuid': assignUuid,
  'upgrade-format-version': upgradeFormat,
  'add-schema': addSchema,
  'set-current-schema': (draft, update) => {
    const id = added(update, 'schema-id', draft.schema)
    if (!draft.metadata.schemas.some((schema) => schema['schema-id'] === id)) throw unknown('schema', id)
    return changed(draft, { 'current-schema-id': id })
  },
  'add-spec': addSpec,
  'set-default-spec': (draft, update) => {
    const id = added(update, 'spec-id', draft.spec)
    if (!draft.metadata['partition-specs'].some((spec) => spec['spec-id'] === id)) throw unknown('partition spec', id)
    return changed(draft, { 'default-spec-id': id })
  },
  'add-sort-order': addSortOrder,
  'set-default-sort-order': (draft, update) => {
    const id = added(update, 'sort-order-id', draft.order)
    if (!orders(draft.metadata).some((order) => order['order-id'] === id)) throw unknown('sort order', id)
    return changed(draft, { 'default-sort-order-id': id })
  },
  'add-snapshot': addSnapshot,
  'set-snapshot-ref': setSnapshotRef,
  'remove-snapshot-ref': (draft, update) => ({
    ...draft,
    metadata: withRef(draft.metadata, update.text('ref-name'), undefined, draft.nowMs),
  }),
  'remove-snapshots': removeSnapshots,
  'set-location': (draft, update) => {
    if (normalLocation(update.text('location')).replace(/\/$/, '') === draft.metadata.location) return draft
    throw badRequest('A table stays at the place that the catalog gave it.')
  },
  'set-properties': (draft, update) =>
    changed(draft, { properties: { ...draft.metadata.properties, ...update.properties('updates') } }),
  'remove-properties': (draft, update) => {
    const removed = new Set(update.texts('removals'))
    const kept = Object.entries(draft.metadata.properties ?? {}).filter(([key]) => !removed.has(key))
    return changed(draft, { properties: Object.fromEntries(kept) })
  },
}

/**
 * Applies the updates of a commit one after the other (Iceberg REST catalog, `TableUpdate`). Pure. `isNew`: the table is
 * being created by this commit. Throws `invalid` / `bad-request`, `invalid` / `not-supported`, and `conflict` /
 * `requirement-failed` where the change rests on a state that is no longer there.
 */
export function applyUpdates(
  metadata: TableMetadata,
  updates: readonly RequestPart[],
  nowMs: number,
  isNew = false,
): TableMetadata {
  let draft: Draft = { metadata, nowMs, isNew, snapshots: new Set() }
  for (const update of updates) {
    const action = update.text('action')
    const apply = ACTIONS[action]
    if (!apply) throw notSupported(`This catalog does not take the update '${action}'.`)
    draft = apply(draft, update)
  }
  return draft.metadata
}

function changed(draft: Draft, change: Partial<TableMetadata>): Draft {
  return { ...draft, metadata: { ...draft.metadata, ...change } }
}

function assignUuid(draft: Draft, update: RequestPart): Draft {
  const uuid = update.text('uuid').toLowerCase()
  if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid)) throw badRequest(`'${uuid}' is no UUID.`)
  if (draft.isNew || uuid === draft.metadata['table-uuid']) return changed(draft, { 'table-uuid': uuid })
  throw badRequest('A table keeps the UUID it was created with.')
}

function upgradeFormat(draft: Draft, update: RequestPart): Draft {
  const version = update.integer('format-version')
  // Creation from elsewhere may begin at version 1: what is stored is version 2, which such a client reads too.
  if (version <= 2) return draft
  throw notSupported(
    `Format version ${version} is not kept here; Millrace reads and writes version 2.`,
    'Use version 2.',
  )
}

function addSchema(draft: Draft, update: RequestPart): Draft {
  const { schemas } = draft.metadata
  const wanted = requestedSchema(update.part('schema'), 0)
  const same = schemas.find((schema) => sameBut('schema-id', schema, wanted))
  if (same) return { ...draft, schema: same['schema-id'] }
  const id = 1 + Math.max(-1, ...schemas.map((schema) => schema['schema-id']))
  const schema: SchemaJson = { ...wanted, 'schema-id': id }
  const last = Math.max(draft.metadata['last-column-id'], lastFieldId(schema))
  return { ...changed(draft, { schemas: [...schemas, schema], 'last-column-id': last }), schema: id }
}

function addSpec(draft: Draft, update: RequestPart): Draft {
  const { metadata } = draft
  const specs = metadata['partition-specs']
  let last = metadata['last-partition-id']
  // A field that was there before keeps its id (spec, "Partition Evolution").
  const known = new Map(
    specs.flatMap(({ fields }) => fields.map((f) => [`${f['source-id']} ${f.transform}`, f['field-id']])),
  )
  const fields = requestedSpec(update.part('spec'), idsOf(schemaOf(draft)), (field, sourceId, transform) =>
    field.has('field-id') ? field.integer('field-id') : (known.get(`${sourceId} ${transform}`) ?? ++last),
  )
  const same = specs.find((spec) => JSON.stringify(spec.fields) === JSON.stringify(fields))
  if (same) return { ...draft, spec: same['spec-id'] }
  const id = 1 + Math.max(-1, ...specs.map((spec) => spec['spec-id']))
  const spec: SpecJson = { 'spec-id': id, fields }
  last = Math.max(last, ...fields.map((field) => field['field-id']))
  return { ...changed(draft, { 'partition-specs': [...specs, spec], 'last-partition-id': last }), spec: id }
}

function addSortOrder(draft: Draft, update: RequestPart): Draft {
  const known = orders(draft.metadata)
  const id = 1 + Math.max(0, ...known.map((order) => order['order-id']))
  const order = requestedOrder(update.part('sort-order'), idsOf(schemaOf(draft)), id)
  const same = known.find((other) => JSON.stringify(other.fields) === JSON.stringify(order.fields))
  if (same) return { ...draft, order: same['order-id'] }
  return { ...changed(draft, { 'sort-orders': [...known, order] }), order: order['order-id'] }
}

/**
 * A snapshot from outside carries on the record of Millrace's last step below it, as a compaction does: the runtime goes
 * on from the newest snapshot's record, and nothing of what it read is undone by somebody else's rows.
 */
function addSnapshot(draft: Draft, update: RequestPart): Draft {
  const { metadata } = draft
  const part = update.part('snapshot')
  const id = part.id('snapshot-id')
  if (findSnapshot(metadata, id)) throw badRequest(`The table has a snapshot ${id} already.`)
  const sequenceNumber = part.id('sequence-number')
  if (sequenceNumber <= metadata['last-sequence-number'])
    throw commitFailed(
      `The snapshot has the sequence number ${sequenceNumber}, and the table is at ${metadata['last-sequence-number']}.`,
    )
  const list = normalLocation(part.text('manifest-list'))
  if (!isBelow(list, metadata.location))
    throw badRequest(`The manifest list ${list} is not below ${metadata.location}.`)
  const parentId = part.has('parent-snapshot-id') ? part.id('parent-snapshot-id') : undefined
  const parent = parentId === undefined ? undefined : findSnapshot(metadata, parentId)
  const { operation, ...summary } = part.properties('summary')
  if (operation === undefined) throw badRequest("The snapshot's summary lacks its operation.")
  const snapshot: SnapshotJson = {
    ...part.json,
    'snapshot-id': id,
    ...(parentId === undefined ? {} : { 'parent-snapshot-id': parentId }),
    'sequence-number': sequenceNumber,
    'timestamp-ms': part.integer('timestamp-ms'),
    summary: { operation, ...recordIn(parent?.summary ?? {}), ...summary },
    'manifest-list': list,
    'schema-id': part.has('schema-id') ? part.integer('schema-id') : metadata['current-schema-id'],
  }
  const snapshots = [...(metadata.snapshots ?? []), snapshot]
  const next = changed(draft, { snapshots, 'last-sequence-number': sequenceNumber })
  return { ...next, snapshots: new Set([...draft.snapshots, id]) }
}

function setSnapshotRef(draft: Draft, update: RequestPart): Draft {
  const name = update.text('ref-name')
  const id = update.id('snapshot-id')
  const type = update.text('type')
  if (type !== 'branch' && type !== 'tag') throw badRequest(`A ref is a branch or a tag, not '${type}'.`)
  if (name === 'main' && type === 'tag') throw badRequest("'main' is a branch.")
  if (!findSnapshot(draft.metadata, id)) throw unknown('snapshot', id)
  const moved = withRef(draft.metadata, name, id, draft.nowMs)
  const limits = ['max-ref-age-ms', 'max-snapshot-age-ms', 'min-snapshots-to-keep'].flatMap((key) =>
    update.has(key) ? [[key, update.integer(key)] as const] : [],
  )
  const ref = { 'snapshot-id': id, type, ...Object.fromEntries(limits) } as const
  const next: TableMetadata = { ...moved, refs: { ...moved.refs, [name]: ref } }
  if (name !== 'main') return { ...draft, metadata: next }
  if (refId(draft.metadata, 'main') === id) return changed(draft, { refs: next.refs! })
  // What main passed within one commit nobody has seen.
  const log = (draft.metadata['snapshot-log'] ?? []).filter((entry) => !draft.snapshots.has(entry['snapshot-id']))
  return changed({ ...draft, metadata: next }, { 'snapshot-log': [...log, next['snapshot-log']!.at(-1)!] })
}

function removeSnapshots(draft: Draft, update: RequestPart): Draft {
  const gone = new Set(update.ids('snapshot-ids'))
  const { metadata } = draft
  for (const name of Object.keys({ main: 0, ...metadata.refs })) {
    const at = refId(metadata, name)
    if (at !== undefined && gone.has(at)) throw badRequest(`'${name}' is at snapshot ${at}, which therefore stays.`)
  }
  const snapshots = (metadata.snapshots ?? []).filter((snapshot) => !gone.has(snapshot['snapshot-id']))
  const kept = new Set(snapshots.map((snapshot) => snapshot['snapshot-id']))
  return changed(draft, { snapshots, 'snapshot-log': logWithout(metadata['snapshot-log'] ?? [], kept) })
}

function orders(metadata: TableMetadata): readonly SortOrderJson[] {
  return metadata['sort-orders'] as readonly SortOrderJson[]
}

/** The schema that specs and orders of this commit speak of. */
function schemaOf({ metadata, schema }: Draft): SchemaJson {
  const id = metadata.schemas.some((each) => each['schema-id'] === metadata['current-schema-id'])
    ? metadata['current-schema-id']
    : schema
  const found = metadata.schemas.find((each) => each['schema-id'] === id)
  if (!found) throw badRequest('The table has no schema yet: add one first.')
  return found
}

function added(update: RequestPart, key: string, last: number | undefined): number {
  const id = update.integer(key)
  if (id !== LAST_ADDED) return id
  if (last === undefined) throw badRequest(`'${key}' is -1, the last that was added, and this commit adds none before.`)
  return last
}

function unknown(what: string, id: number | bigint): MillraceError {
  return badRequest(`The table has no ${what} ${id}.`)
}

function sameBut(key: string, a: object, b: object): boolean {
  return JSON.stringify({ ...a, [key]: 0 }) === JSON.stringify({ ...b, [key]: 0 })
}
