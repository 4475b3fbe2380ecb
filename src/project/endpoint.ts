import { type Columns, type Field, fieldsOf } from './columns.ts'
import { DECLARED } from './dataset.ts'
import { type Place, callerPlace } from './place.ts'
import { type SqlTemplate, templateOf } from './sql.ts'

export interface EndpointOptions {
  /** Typed query parameters, bound into the SQL and never spliced. A nullable one may be left out. */
  params?: Columns
  sql: SqlTemplate
  doc?: string
}

/** A named query served at `GET /v1/endpoints/{name}`. */
export interface Endpoint {
  readonly [DECLARED]: true
  readonly kind: 'endpoint'
  readonly name: string
  readonly params: readonly Field[]
  readonly sql: SqlTemplate
  readonly doc: string | undefined
  readonly place: Place | undefined
}

export function endpoint(name: string, options: EndpointOptions): Endpoint {
  return {
    [DECLARED]: true,
    kind: 'endpoint',
    name,
    params: fieldsOf(options.params ?? {}),
    sql: templateOf(options.sql, `endpoint '${name}'`),
    doc: options.doc,
    place: callerPlace(),
  }
}
