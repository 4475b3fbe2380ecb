import type { SparkSession } from './session.ts'

const ROW_NODES = new Set(['Project', 'Filter', 'Generate', 'RelationV2', 'LocalRelation', 'OneRowRelation', 'Union'])

/**
 * Whether a query's optimized plan treats each row by itself, or joins rows besides; undefined when it does anything else. A
 * line of a plan that is not understood counts as anything else.
 */
export async function shapeOf(session: SparkSession, sql: string): Promise<'by row' | 'joined' | undefined> {
  return planShape(await session.explain(sql))
}

/** `shapeOf` an extended explanation. */
export function planShape(explanation: string): 'by row' | 'joined' | undefined {
  const plan = /== Optimized Logical Plan ==\n([\s\S]*?)\n\n== /.exec(explanation)?.[1] ?? ''
  const nodes = plan.split('\n').map((line) => line.replace(/^[\s:+-]+/, ''))
  const isJoin = (node: string): boolean => /^Join (?:Inner|Cross)\b/.test(node)
  const others = nodes.filter((node) => !isJoin(node)).map((node) => /^\w*/.exec(node)![0])
  if (others.some((name) => !ROW_NODES.has(name))) return undefined
  if (others.length === nodes.length) return 'by row'
  // Rows of one branch do not multiply with those of the other.
  return others.includes('Union') ? undefined : 'joined'
}
