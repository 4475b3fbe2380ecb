import { MillraceError } from '../../base/errors.ts'
import { allowedTableFunctions, isScalarFunctionAllowed, isTableFunctionAllowed } from './functions.ts'
import type { Analysis } from './protocol.ts'
import { lineAndColumn } from './sql-error.ts'

/**
 * Decides whether user SQL may run, on the syntax tree that DuckDB's own parser made of it (`json_serialize_sql`), so that
 * no second reading of SQL can disagree with the one that runs. What the tree may hold is listed; the rest is refused.
 */

type Json = string | number | boolean | null | Json[] | JsonObject
interface JsonObject {
  readonly [key: string]: Json
}

const QUERY_NODES = new Set(['SELECT_NODE', 'SET_OPERATION_NODE', 'RECURSIVE_CTE_NODE', 'CTE_NODE'])
const TABLE_REFS_REFUSED = new Set(['COLUMN_DATA', 'DELIM_GET', 'BOUND_TABLE_REF'])
/** Keywords that the parser leaves as column references. */
const CLOCK_WORDS = new Set(['current_date', 'current_time', 'current_timestamp', 'localtime', 'localtimestamp'])
/** A common table expression named like a file could lend its name to that file elsewhere in the statement. */
const CTE_NAME = /^[a-z_][a-z0-9_ ]*$/i
const DEPTH_MAX = 2_000

/**
 * Walks the tree of one statement. `volatile` tells which function names do not always give the same answer. Errors, all
 * `invalid`: `not-a-query`, `several-statements`, `forbidden-sql`, `bad-sql`.
 */
export function examine(sql: string, serialized: string, volatile: ReadonlySet<string>): Analysis {
  const tree = parseTree(sql, serialized)
  const statements = tree['statements'] as Json[]
  if (statements.length === 0) {
    throw new MillraceError('invalid', 'bad-sql', 'The SQL holds no statement.', { hint: 'Write a SELECT.' })
  }
  if (statements.length > 1) {
    throw new MillraceError('invalid', 'several-statements', `The SQL holds ${statements.length} statements.`, {
      hint: 'Send one SELECT at a time.',
    })
  }
  const walk = new Walk(sql, volatile)
  walk.visit(statements[0]!, new Set(), 0)
  return { tables: [...walk.tables].map(([, table]) => table), stable: walk.stable }
}

/** The outcome of `json_serialize_sql`; what is no SELECT is reported there, not thrown. */
function parseTree(sql: string, serialized: string): JsonObject {
  let tree: JsonObject
  try {
    tree = JSON.parse(serialized) as JsonObject
  } catch (error) {
    throw new MillraceError('invalid', 'bad-sql', 'The SQL is nested too deeply.', {
      hint: 'Use fewer levels of parentheses and subqueries.',
      cause: error,
    })
  }
  if (tree['error'] !== true) return tree
  if (tree['error_type'] === 'not implemented' && textOf(tree, 'error_message').startsWith('Only SELECT')) {
    throw new MillraceError('invalid', 'not-a-query', 'Only SELECT statements can be run.', {
      hint: 'Read with SELECT; data is written through streams and tables. A PIVOT needs its values listed: PIVOT … ON column IN (…).',
    })
  }
  const position = tree['position'] === undefined ? undefined : Number(tree['position'])
  const place = position === undefined ? undefined : lineAndColumn(sql, position)
  const message = textOf(tree, 'error_message')
  throw new MillraceError(
    'invalid',
    'bad-sql',
    place === undefined ? `${message}.` : `Line ${place.line}, column ${place.column}: ${message}.`,
    { hint: 'Correct the SQL; the syntax is that of DuckDB.', context: { ...place, position } },
  )
}

class Walk {
  readonly tables = new Map<string, { name: string; position: number | undefined }>()
  stable = true
  readonly #sql: string
  readonly #volatile: ReadonlySet<string>

  constructor(sql: string, volatile: ReadonlySet<string>) {
    this.#sql = sql
    this.#volatile = volatile
  }

  /** `scope` holds the names, in lower case, of the common table expressions that can be seen here. */
  visit(node: Json, scope: ReadonlySet<string>, depth: number): void {
    if (typeof node !== 'object' || node === null) return
    if (depth > DEPTH_MAX) this.#refuse('SQL nested this deeply', node, 'Use fewer levels of subqueries.')
    if (Array.isArray(node)) {
      for (const child of node) this.visit(child, scope, depth + 1)
      return
    }
    const inner = this.#commonTables(node, scope, depth)
    this.#examineNode(node, inner)
    for (const [key, child] of Object.entries(node)) {
      if (key === 'cte_map') continue
      // The function of a table function has been judged as such; as a scalar it would be judged by other rules.
      if (key === 'function' && node['type'] === 'TABLE_FUNCTION')
        this.visit((child as JsonObject)['children'] ?? null, inner, depth + 1)
      else this.visit(child, inner, depth + 1)
    }
  }

  /** Visits WITH in order: each sees those before it, and itself only when recursive. */
  #commonTables(node: JsonObject, scope: ReadonlySet<string>, depth: number): ReadonlySet<string> {
    const entries = (node['cte_map'] as JsonObject | undefined)?.['map'] as JsonObject[] | undefined
    if (entries === undefined || entries.length === 0) return scope
    const visible = new Set(scope)
    for (const entry of entries) {
      const name = textOf(entry, 'key')
      if (!CTE_NAME.test(name)) {
        this.#refuse(`A WITH name like '${name}'`, node, 'Use letters, digits and underscores in it.')
      }
      const query = ((entry['value'] as JsonObject)['query'] as JsonObject | undefined)?.['node'] as
        JsonObject | undefined
      const own = query?.['type'] === 'RECURSIVE_CTE_NODE' ? new Set([...visible, name.toLowerCase()]) : visible
      this.visit(entry['value']!, own, depth + 1)
      visible.add(name.toLowerCase())
    }
    return visible
  }

  #examineNode(node: JsonObject, scope: ReadonlySet<string>): void {
    const type = node['type']
    if (node['class'] === 'FUNCTION' || node['class'] === 'WINDOW') this.#examineFunction(node)
    if (node['class'] === 'COLUMN_REF') {
      const names = node['column_names'] as string[]
      if (names.length === 1 && CLOCK_WORDS.has(names[0]!.toLowerCase())) this.stable = false
    }
    if ('sample' in node && node['sample'] !== null) this.stable = false
    if (typeof type !== 'string') return
    if (type === 'BASE_TABLE') this.#examineTable(node, scope)
    else if (type === 'TABLE_FUNCTION') this.#examineTableFunction(node)
    else if (type === 'SHOW_REF' && (!('query' in node) || 'table_name' in node)) {
      this.#refuse('SHOW', node, 'GET /v1/datasets lists the datasets; DESCRIBE and SUMMARIZE work on each.')
    } else if (TABLE_REFS_REFUSED.has(type) || (type.endsWith('_NODE') && !QUERY_NODES.has(type))) {
      this.#refuse(`This kind of statement (${type})`, node, 'Use a plain SELECT.')
    }
  }

  #examineTable(node: JsonObject, scope: ReadonlySet<string>): void {
    const name = textOf(node, 'table_name')
    const recurring = node['schema_name'] === 'recurring' && scope.has(name.toLowerCase())
    if (!recurring && (has(node, 'schema_name') || has(node, 'catalog_name'))) {
      const qualified = [textOf(node, 'catalog_name'), textOf(node, 'schema_name'), name]
        .filter((part) => part !== '')
        .join('.')
      this.#refuse(`The table '${qualified}'`, node, 'Refer to datasets by their bare name, without a schema.')
    }
    if (has(node, 'at_clause')) this.#refuse('AT', node, 'Only the published rows can be read.')
    if (scope.has(name.toLowerCase())) return
    if (!this.tables.has(name)) this.tables.set(name, { name, position: positionOf(node) })
  }

  #examineTableFunction(node: JsonObject): void {
    const call = node['function'] as JsonObject
    const name = textOf(call, 'function_name')
    if (call['class'] !== 'FUNCTION' || !isTableFunctionAllowed(name)) {
      this.#refuse(
        `The table function ${name}()`,
        node,
        `Select from datasets; of table functions there are ${allowedTableFunctions.join(', ')}.`,
      )
    }
  }

  #examineFunction(node: JsonObject): void {
    const name = textOf(node, 'function_name')
    if (!isScalarFunctionAllowed(name)) {
      this.#refuse(`The function ${name}()`, node, 'It reads settings, the session or the engine; leave it out.')
    }
    if (this.#volatile.has(name.toLowerCase())) this.stable = false
  }

  #refuse(what: string, node: Json, hint: string): never {
    const position = typeof node === 'object' && node !== null && !Array.isArray(node) ? positionOf(node) : undefined
    const place = position === undefined ? undefined : lineAndColumn(this.#sql, position)
    const where = place === undefined ? '' : `Line ${place.line}, column ${place.column}: `
    throw new MillraceError('invalid', 'forbidden-sql', `${where}${what} is not allowed in queries.`, {
      hint,
      context: { ...place, position },
    })
  }
}

function has(node: JsonObject, key: string): boolean {
  const value = node[key]
  return value !== undefined && value !== null && value !== ''
}

function textOf(node: JsonObject, key: string): string {
  const value = node[key]
  return typeof value === 'string' ? value : ''
}

/** DuckDB writes 2^64 − 1 for "unknown". */
function positionOf(node: JsonObject): number | undefined {
  const position = node['query_location']
  return typeof position === 'number' && position < Number.MAX_SAFE_INTEGER ? position : undefined
}
