import type { Endpoint } from './endpoint.ts'
import type { Handler } from './handler.ts'
import type { Stream } from './stream.ts'
import type { Table } from './table.ts'
import type { Columns } from './columns.ts'

/** Anything with a name, columns, a contract and snapshots. */
export type Dataset = Stream<Columns> | Table

/** Everything a project file may export for Millrace to run. */
export type Declaration = Dataset | Endpoint | Handler

/** Whether a declaration is one of a dataset, and not of something that reads datasets. */
export function isDataset(declaration: Declaration): declaration is Dataset {
  return declaration.kind === 'stream' || declaration.kind === 'table'
}

export function isDeclaration(value: unknown): value is Declaration {
  return typeof value === 'object' && value !== null && DECLARED in value
}

/** Marks declarations; a registered symbol, so that two copies of the SDK still recognise each other's. */
export const DECLARED: unique symbol = Symbol.for('millrace.declaration') as never

const NAME = /^[a-z][a-z0-9_]{0,62}$/

/** Whether a dataset or column name is portable over DuckDB, Spark, Iceberg and file systems. */
export function isPortableName(name: string): boolean {
  return NAME.test(name)
}
