import type { Database } from './database.ts'

/** Whether a query's plan treats each row by itself, or joins rows besides; undefined when it does anything else. */
export async function shapeOf(database: Database, sql: string): Promise<'by row' | 'joined' | undefined> {
  const [row] = await database.rows(`EXPLAIN (FORMAT json) ${sql}`)
  const operators = (JSON.parse(String(row!.explain_value)) as PlanNode[]).flatMap(operatorsOf)
  const isJoin = ({ name, extra_info: info }: PlanNode) =>
    name === 'CROSS_PRODUCT' || (JOINS.has(name) && info?.['Join Type'] === 'INNER')
  const others = operators.filter((operator) => !isJoin(operator)).map(({ name }) => name)
  if (operators.length === 0 || others.some((name) => !ROW_OPERATORS.has(name))) return undefined
  if (others.length === operators.length) return 'by row'
  // Rows of one branch do not multiply with those of the other.
  return others.includes('UNION') ? undefined : 'joined'
}

interface PlanNode {
  readonly name: string
  readonly children: readonly PlanNode[]
  readonly extra_info?: Readonly<Record<string, unknown>>
}

function operatorsOf(node: PlanNode): PlanNode[] {
  return [{ ...node, name: node.name.trim() }, ...node.children.flatMap(operatorsOf)]
}

const ROW_OPERATORS = new Set([
  'PROJECTION',
  'FILTER',
  'READ_PARQUET',
  'UNNEST',
  'INOUT_FUNCTION',
  'EMPTY_RESULT',
  'DUMMY_SCAN',
  'UNION',
])

const JOINS = new Set(['HASH_JOIN', 'NESTED_LOOP_JOIN', 'BLOCKWISE_NL_JOIN', 'PIECEWISE_MERGE_JOIN', 'IE_JOIN'])
