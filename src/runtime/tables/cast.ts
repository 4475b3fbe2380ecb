import type { Dialect } from '../../engine/dialect.ts'
import type { Field } from '../../project/columns.ts'

/** A query for the rows of a relation with exactly these columns and types. */
export function castColumns(dialect: Dialect, fields: readonly Field[], relation: string): string {
  const columns = fields.map(({ name, type }) => {
    const quoted = dialect.identifier(name)
    return `CAST(${quoted} AS ${dialect.type(type)}) AS ${quoted}`
  })
  return `SELECT ${columns.join(', ')} FROM ${relation}`
}
