import { DECLARED } from './dataset.ts'
import { type Columns, type Field, type RowOf, fieldsOf } from './columns.ts'
import { timeColumn } from './event-time.ts'
import { callerPlace } from './place.ts'
import { sql } from './sql.ts'
import type { PartitionBy, Stream } from './stream.ts'
import type { Materialization, Table } from './table.ts'
import {
  type CallOptions,
  type FunctionContext,
  type ResultOf,
  type ResultOptions,
  type Transform,
  codeOf,
  transformOf,
} from './transform.ts'

/** One row a call, or as many as `batch` says: then the function gets a list, and returns as many results in the same order. */
interface ByRow {
  batch?: undefined
}
interface ByBatch {
  /** Most rows one call is given. Results must not depend on how rows fall into batches. */
  batch: number
}

interface MadeColumns<C extends Columns> {
  columns: C
  /**
   * Column that holds the event time, a timestamp or a date, where the rows taken have one: windows can read the table then. Its
   * watermark is that of the stream that the rows come from.
   */
  time?: Extract<keyof C, string>
}

export type MapOptions<Row, C extends Columns> = CallOptions &
  ResultOptions &
  MadeColumns<C> &
  (
    | (ByRow & { map: (row: Row, context: FunctionContext) => ResultOf<C> | Promise<ResultOf<C>> })
    | (ByBatch & {
        map: (
          rows: readonly Row[],
          context: FunctionContext,
        ) => readonly ResultOf<C>[] | Promise<readonly ResultOf<C>[]>
      })
  )

export type FlatMapOptions<Row, C extends Columns> = CallOptions &
  ResultOptions &
  MadeColumns<C> & {
    /** Most rows that one row may give; with more it goes to quarantine. Default 10,000. */
    emit?: number
  } & (
    | (ByRow & {
        flatMap: (row: Row, context: FunctionContext) => Iterable<ResultOf<C>> | Promise<Iterable<ResultOf<C>>>
      })
    | (ByBatch & {
        flatMap: (
          rows: readonly Row[],
          context: FunctionContext,
        ) => readonly Iterable<ResultOf<C>>[] | Promise<readonly Iterable<ResultOf<C>>[]>
      })
  )

export type FilterOptions<Row> = CallOptions &
  ResultOptions &
  (
    | (ByRow & { filter: (row: Row, context: FunctionContext) => boolean | Promise<boolean> })
    | (ByBatch & {
        filter: (rows: readonly Row[], context: FunctionContext) => readonly boolean[] | Promise<readonly boolean[]>
      })
  )

/** Tables made of rows by stateless functions, which run in worker threads. Each row is taken once, as it arrives. */
export interface Transforms<C extends Columns> {
  /** One row for each row. */
  map<const Out extends Columns>(name: string, options: MapOptions<RowOf<C>, Out>): FunctionTable<Out>
  /** Any number of rows for each row. */
  flatMap<const Out extends Columns>(name: string, options: FlatMapOptions<RowOf<C>, Out>): FunctionTable<Out>
  /** The rows for which the function returns true. They keep their event time. */
  filter(name: string, options: FilterOptions<RowOf<C>>): FunctionTable<C>
}

/** A table whose rows a TypeScript function gives. */
export interface FunctionTable<C extends Columns = Columns> extends Table, Transforms<C> {
  readonly fields: readonly Field[]
  readonly transform: Transform
  /** Only carries the row's type: `type Word = typeof words.row`. */
  readonly row: RowOf<C>
}

/** Gives a dataset its `map`, `flatMap` and `filter`. */
export function withTransforms<C extends Columns, D extends Omit<Stream<C>, keyof Transforms<C>> | Table>(
  dataset: D,
): D & Transforms<C> {
  const input = dataset as unknown as Stream<C> | FunctionTable<C>
  return Object.assign(dataset, {
    map: <Out extends Columns>(name: string, options: MapOptions<RowOf<C>, Out>) =>
      functionTable<Out>(input, 'map', name, options, fieldsOf(options.columns)),
    flatMap: <Out extends Columns>(name: string, options: FlatMapOptions<RowOf<C>, Out>) =>
      functionTable<Out>(input, 'flatMap', name, options, fieldsOf(options.columns)),
    filter: (name: string, options: FilterOptions<RowOf<C>>) =>
      functionTable<C>(input, 'filter', name, options, input.fields),
  })
}

function functionTable<Out extends Columns>(
  input: Stream | FunctionTable,
  call: 'map' | 'flatMap' | 'filter',
  name: string,
  options: ResultOptions & { time?: string },
  fields: readonly Field[],
): FunctionTable<Out> {
  const made = ['columns', 'time', 'batch']
  const known = { map: made, flatMap: [...made, 'emit'], filter: ['batch'] }
  const time = call === 'filter' ? timeColumn(input) : options.time
  const transform = transformOf(call, input, [call], options, known[call])
  const before = input.kind === 'table' ? spanOf(input.materialization) : undefined
  const span = call === 'flatMap' ? (before ?? 1) * transform.emit : before
  return withTransforms<Out, Table & Pick<FunctionTable<Out>, 'row' | 'fields' | 'transform'>>({
    [DECLARED]: true,
    kind: 'table',
    name,
    materialization: { kind: 'function', call, code: codeOf(transform), span, time },
    sql: sql`select * from ${input}`,
    fields,
    transform,
    acceptLate: undefined,
    partitionBy: listOf(options.partitionBy),
    checks: options.checks ?? [],
    doc: options.doc,
    place: callerPlace(),
    row: undefined as unknown as RowOf<Out>,
  })
}

function spanOf(materialization: Materialization): number | undefined {
  return materialization.kind === 'function' ? materialization.span : undefined
}

export function listOf(value: PartitionBy | readonly PartitionBy[] | undefined): readonly PartitionBy[] {
  if (value === undefined) return []
  return Array.isArray(value) ? (value as readonly PartitionBy[]) : [value as PartitionBy]
}
