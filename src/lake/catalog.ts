import type { TableView } from './manifests.ts'
import type { TableMetadata } from './metadata.ts'
import type { TableId } from './name.ts'
import type { NewFile } from './store.ts'

/**
 * Says which metadata is the present one of each table, and lets nobody change it who has not seen it: the names of the files
 * themselves (file-catalog.ts), or another catalog of Iceberg tables (remote/catalog.ts).
 */
export interface Catalog {
  readonly namespaces: Namespaces
  /** Throws `invalid` / `catalog-no-register` where tables with a history cannot be created. */
  checkHistory(): void
  /** All tables, by namespace and name; or those of one namespace. */
  tables(namespace?: string): Promise<TableId[]>
  /** Undefined when there is no such table. */
  open(id: TableId): Promise<OpenTable | undefined>
  /**
   * Creates a table of this metadata, and the new files beside it that it refers to. The catalog may put it elsewhere than the
   * metadata asks for. Undefined when there is one of the name.
   */
  create(id: TableId, metadata: TableMetadata, companions: readonly NewFile[]): Promise<OpenTable | undefined>
  /** Removes a table with all its files. Wherever it is interrupted the table is whole or is none. */
  drop(id: TableId, location: string): Promise<void>
}

export interface OpenTable {
  readonly location: string
  readonly pointer: Pointer
  readonly view: TableView
}

/** The present metadata of one table. Versions of views grow with each that differs. */
export interface Pointer {
  /** Where the metadata of a view lies. */
  pathOf(view: TableView): string
  /** The newest metadata: `known` itself while it is that. Undefined when there is no such table any more. */
  latest(known: TableView): Promise<TableView | undefined>
  /**
   * Makes `next` the present metadata if `base` still is. Makes the files that it refers to durable first. Returns what is there
   * now; undefined when somebody else was faster. Throws `corrupt` / `commit-unknown` when it may be so or not, or may not
   * last; anything else thrown means that nothing was committed.
   */
  put(base: TableView, next: TableMetadata, work: Work): Promise<TableView | undefined>
  /** Whether a file below the table that no snapshot refers to is the catalog's, to keep and to delete. */
  owns(path: string, view: TableView): boolean
}

export interface Work {
  /** New files in the table's `metadata/` that the metadata refers to. */
  readonly files?: readonly NewFile[]
  /** Must have ended well before anything refers to what it writes. */
  readonly before?: () => Promise<void>
}

/** The namespaces of a lake: those that hold a table, and those that were created. */
export interface Namespaces {
  list(): Promise<string[]>
  /** Its properties; undefined when there is no such namespace. */
  load(name: string): Promise<Readonly<Record<string, string>> | undefined>
  /** Throws `conflict` / `namespace-exists`, `invalid` / `bad-name`. */
  create(name: string, properties: Readonly<Record<string, string>>): Promise<void>
  /** Throws `conflict` / `namespace-not-empty`. Returns whether there was one. */
  drop(name: string): Promise<boolean>
}
