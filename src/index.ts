export { check } from './project/check.ts'
export type { Check, DatasetCheck, RowCheck, Severity } from './project/check.ts'
export { t } from './project/columns.ts'
export type { Column, Columns, Field, RowOf } from './project/columns.ts'
export { defineConfig } from './project/config.ts'
export type { Config } from './project/config.ts'
export type {
  DirectoryLake,
  KafkaLog,
  PostgresState,
  RestCatalog,
  S3Lake,
  SchemaRegistry,
  SparkEngine,
  Target,
} from './project/target.ts'
export type { Dataset } from './project/dataset.ts'
export { endpoint } from './project/endpoint.ts'
export type { Endpoint, EndpointOptions } from './project/endpoint.ts'
export { onChange } from './project/handler.ts'
export type { ChangeBatch, ChangeHandler, Handler, HandlerOptions } from './project/handler.ts'
export type { FilterOptions, FlatMapOptions, FunctionTable, MapOptions, Transforms } from './project/function.ts'
export { mapReduce } from './project/map-reduce.ts'
export type { MapReduceKey, MapReduceOptions, MapReduceTable } from './project/map-reduce.ts'
export { source } from './project/source.ts'
export type { FilesOptions, FilesSource, Source, TextFormats } from './project/source.ts'
export { sql } from './project/sql.ts'
export type { SqlChoice, SqlPart, SqlTemplate } from './project/sql.ts'
export { stream } from './project/stream.ts'
export type { PartitionBy, Stream, StreamOptions } from './project/stream.ts'
export { within } from './project/window.ts'
export type { Emit, SessionWindow, SlidingWindow, Window } from './project/window.ts'
export { table } from './project/table.ts'
export type { IntervalUnit, Table, TableOptions } from './project/table.ts'
export type { CallOptions, ErrorFilter, FunctionContext, ResultOf, ResultOptions } from './project/transform.ts'
export { MillraceError } from './base/errors.ts'
export type { ErrorKind } from './base/errors.ts'
