import type { Lake } from '../lake.ts'
import type { TableMetadata } from '../metadata.ts'
import { FIRST_PARTITION_ID } from '../partition.ts'
import { DEFAULT_PROPERTIES } from '../table.ts'
import type { TableId } from '../table.ts'
import { normalLocation } from '../location.ts'
import { badRequest, notSupported } from './error.ts'
import type { RequestPart } from './request.ts'
import { freshSchema, freshSpec, requestedOrder } from './schema-request.ts'
import { applyUpdates } from './updates.ts'

/**
 * The first metadata of a table as `CreateTableRequest` asks for it. Field ids are given anew, as Iceberg's own catalogs
 * do: engines send whatever numbers they happen to have.
 */
export function requestedTable(lake: Lake, id: TableId, request: RequestPart): TableMetadata {
  const empty = emptyTable(lake, id)
  if (request.has('location') && normalLocation(request.text('location')).replace(/\/$/, '') !== empty.location)
    throw badRequest(`A table of this name lies at ${empty.location}.`, 'Leave the location out.')
  const { 'format-version': version = '2', ...properties } = request.properties('properties')
  if (Number(version) > 2) throw notSupported(`Format version ${version} is not kept here.`, 'Use version 2.')
  const { schema, lastId, ids } = freshSchema(request.part('schema'))
  const spec = freshSpec(request.has('partition-spec') ? request.part('partition-spec') : undefined, ids)
  const order = request.has('write-order') ? requestedOrder(request.part('write-order'), ids, 1) : UNSORTED
  return {
    ...empty,
    'last-column-id': lastId,
    'current-schema-id': 0,
    schemas: [schema],
    'default-spec-id': 0,
    'partition-specs': [spec],
    'last-partition-id': FIRST_PARTITION_ID - 1 + spec.fields.length,
    'default-sort-order-id': order['order-id'],
    'sort-orders': order['order-id'] === 0 ? [UNSORTED] : [UNSORTED, order],
    properties: { ...empty.properties, ...properties },
  }
}

/** The first metadata of a table that one commit creates, from nothing, by its updates (`assert-create`). */
export function committedTable(lake: Lake, id: TableId, updates: readonly RequestPart[]): TableMetadata {
  const metadata = applyUpdates(emptyTable(lake, id), updates, lake.context.clock.now(), true)
  if (metadata['current-schema-id'] < 0) throw badRequest('The commit creates a table without a current schema.')
  const specs = metadata['default-spec-id'] < 0 ? { 'default-spec-id': 0, 'partition-specs': [UNPARTITIONED] } : {}
  const orders = metadata['sort-orders'].length === 0 ? { 'sort-orders': [UNSORTED] } : {}
  return { ...metadata, ...specs, ...orders }
}

const UNPARTITIONED = { 'spec-id': 0, fields: [] }
const UNSORTED = { 'order-id': 0, fields: [] }

function emptyTable(lake: Lake, id: TableId): TableMetadata {
  return {
    'format-version': 2,
    'table-uuid': lake.newUuid(),
    location: lake.locationOf(id),
    'last-sequence-number': 0n,
    'last-updated-ms': lake.context.clock.now(),
    'last-column-id': 0,
    'current-schema-id': -1,
    schemas: [],
    'default-spec-id': -1,
    'partition-specs': [],
    'last-partition-id': FIRST_PARTITION_ID - 1,
    'default-sort-order-id': 0,
    'sort-orders': [],
    properties: DEFAULT_PROPERTIES,
    'current-snapshot-id': -1n,
    refs: {},
    snapshots: [],
    'snapshot-log': [],
    'metadata-log': [],
  }
}
