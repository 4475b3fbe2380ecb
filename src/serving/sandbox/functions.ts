/**
 * Which functions user SQL may call. Tables come from an allow-list of a few; scalars are far too many for one, so those that
 * read settings, session, catalog, parser or engine internals are denied by name or family. A test enumerates
 * `duckdb_functions()` and fails when a DuckDB release brings a function nobody has looked at.
 */

const TABLE_FUNCTIONS: ReadonlySet<string> = new Set([
  'generate_series',
  'json_each',
  'json_tree',
  'range',
  'repeat',
  'repeat_row',
  'unnest',
])

const DENIED: ReadonlySet<string> = new Set([
  // settings, environment, variables
  'current_setting',
  'getenv',
  'getvariable',
  'get_block_size',
  'version',
  // session and catalog
  'can_cast_implicitly',
  'col_description',
  'current_catalog',
  'current_connection_id',
  'current_database',
  'current_query',
  'current_query_id',
  'current_role',
  'current_schema',
  'current_schemas',
  'current_transaction_id',
  'current_user',
  'currval',
  'format_pg_type',
  'format_type',
  'generate_subscripts',
  'in_search_path',
  'map_to_pg_oid',
  'nextval',
  'obj_description',
  'session_user',
  'shobj_description',
  'txid_current',
  'user',
  // SQL within SQL
  'json_deserialize_sql',
  'json_serialize_plan',
  'json_serialize_sql',
  // side effects
  'setseed',
  'sleep_ms',
  'write_log',
  // engine internals: raw aggregate states, storage forms, types as values
  'cast_to_type',
  'combine',
  'create_sort_key',
  'finalize',
  'get_type',
  'make_type',
  'parse_duckdb_log_message',
  'replace_type',
  'stats',
  'timetz_byte_comparable',
  'variant_bytes_to_variant',
  'variant_normalize',
  'variant_to_parquet_variant',
  'vector_type',
])

const DENIED_FAMILIES =
  /^(?:__internal_|duckdb_|has_.*_privilege$|inet_|pg_(?!typeof$|size_pretty$)|pragma_|read_|which_)/

export function isTableFunctionAllowed(name: string): boolean {
  return TABLE_FUNCTIONS.has(name.toLowerCase())
}

export function isScalarFunctionAllowed(name: string): boolean {
  const lower = name.toLowerCase()
  return !DENIED.has(lower) && !DENIED_FAMILIES.test(lower)
}

/** For messages. */
export const allowedTableFunctions: readonly string[] = [...TABLE_FUNCTIONS]
