/** A construct of DuckDB's SQL that Spark does not take, or takes for something else. */
export interface Rule {
  /** As people call it. */
  readonly construct: string
  readonly spark: 'refuses' | 'differs'
  /** How to write it so that both engines give the same. */
  readonly remedy: string
  /** DuckDB runs it; Spark fails, or gives other rows. */
  readonly example: string
  /** Gives the rows of the example, on both. */
  readonly portable?: string
}

/** A node of the syntax tree that DuckDB's `json_serialize_sql` gives. */
export type Node = Readonly<Record<string, unknown>>

export type Args = readonly unknown[]

export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Arrays of nodes; none where there is no array. */
export function nodesOf(value: unknown): Node[] {
  return Array.isArray(value) ? value.filter(isNode) : []
}

export function isConstant(node: unknown): boolean {
  return isNode(node) && node['class'] === 'CONSTANT'
}

/** The text of a constant, in lower case; empty when it is none. */
export function textOf(node: unknown): string {
  if (!isNode(node) || node['class'] !== 'CONSTANT') return ''
  const { value } = node['value'] as { value?: unknown }
  return typeof value === 'string' ? value.toLowerCase() : ''
}
