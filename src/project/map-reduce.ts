import { MillraceError } from '../base/errors.ts'
import { type Columns, type RowOf, fieldsOf } from './columns.ts'
import { DECLARED, type Dataset, isDataset, isDeclaration } from './dataset.ts'
import { listOf } from './function.ts'
import { callerPlace } from './place.ts'
import { SqlTemplate, sql } from './sql.ts'
import type { Table } from './table.ts'
import {
  type CallOptions,
  type FunctionContext,
  type ResultOf,
  type ResultOptions,
  type Transform,
  codeOf,
  transformOf,
} from './transform.ts'

/** What rows can be brought together by. Keys are the same when their JSON is. */
export type MapReduceKey = string | number | boolean | null | readonly MapReduceKey[]

/** The rows a function gets of a dataset: of what its columns say, or anything where a query decides. */
export type InputRow<F> = F extends { readonly row: infer Row } ? Row : Record<string, unknown>

/** `1` as any number: what `[word, 1] as const` counts. */
type Wide<T> = T extends number ? number : T extends string ? string : T extends boolean ? boolean : T

type OneOrMore<T> = T | Iterable<T>

export interface MapReduceOptions<F extends Dataset | SqlTemplate, C extends Columns, Key extends MapReduceKey, Value>
  extends CallOptions, ResultOptions {
  /** A dataset, or a query over datasets. */
  from: F
  columns: C
  /** Any number of pairs for a row. Values travel as JSON. */
  map: (
    row: InputRow<F>,
    context: FunctionContext,
  ) => Iterable<readonly [Key, Value]> | Promise<Iterable<readonly [Key, Value]>>
  /** Makes one value of several of a key before they travel; it may be called on its own results. */
  combine?: (key: Key, values: readonly Wide<Value>[]) => Wide<Value>
  /** The row or rows of a key. Values come one by one, in no order to rely on, and need not fit into memory. */
  reduce: (
    key: Key,
    values: Iterable<Wide<Value>>,
  ) => OneOrMore<ResultOf<C>> | undefined | Promise<OneOrMore<ResultOf<C>> | undefined>
  /** Most pairs that one row may give; with more it goes to quarantine. Default 10,000. */
  emit?: number
}

/** A table made by map and reduce functions. */
export interface MapReduceTable<C extends Columns = Columns> extends Table {
  readonly transform: Transform
  readonly row: RowOf<C>
}

/**
 * Declares a table computed by map and reduce: rows become pairs in worker threads, pairs are sorted by key on disk, and each
 * key's values are reduced to rows. It is computed again as a whole when its input changes.
 *
 *     export const counts = mapReduce('word_count', {
 *       from: lines,
 *       columns: { word: t.string(), n: t.int() },
 *       map: (row) => row.text.split(' ').map((word) => [word, 1]),
 *       combine: (_, values) => values.reduce((a, b) => a + b),
 *       reduce: (word, values) => ({ word, n: [...values].reduce((a, b) => a + b) }),
 *     })
 */
export function mapReduce<
  const F extends Dataset | SqlTemplate,
  const C extends Columns,
  Key extends MapReduceKey,
  Value,
>(name: string, options: MapReduceOptions<F, C, Key, Value>): MapReduceTable<C> {
  const { from }: { readonly from: Dataset | SqlTemplate } = options
  const input = from instanceof SqlTemplate ? undefined : from
  const names = ['map', 'reduce', ...(options.combine === undefined ? [] : ['combine'])]
  const transform = transformOf('mapReduce', input, names, options, ['from', 'columns', 'emit', 'combine'])
  return {
    [DECLARED]: true,
    kind: 'table',
    name,
    materialization: { kind: 'mapReduce', code: codeOf(transform) },
    sql: queryOf(name, from),
    fields: fieldsOf(options.columns),
    transform,
    acceptLate: undefined,
    partitionBy: listOf(options.partitionBy),
    checks: options.checks ?? [],
    doc: options.doc,
    place: callerPlace(),
    row: undefined as unknown as RowOf<C>,
  }
}

function queryOf(name: string, from: unknown): SqlTemplate {
  if (from instanceof SqlTemplate) return from
  if (isDeclaration(from) && isDataset(from)) return sql`select * from ${from}`
  throw new MillraceError('invalid', 'bad-input', `mapReduce '${name}': from is ${String(from)}.`, {
    hint: 'Name a dataset that is declared above, or write a query: sql`select … from ${dataset}`.',
    context: { dataset: name },
  })
}
