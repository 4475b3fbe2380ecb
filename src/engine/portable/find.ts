import { CONSTRUCTS } from './constructs.ts'
import { FUNCTIONS, SAME } from './functions.ts'
import { type Node, type Rule, isNode, nodesOf } from './rule.ts'

/** What a query is read with. */
export interface Surroundings {
  /** Names of the columns that the query may mean. */
  readonly columns: ReadonlySet<string>
  /** Of these, those that hold no nulls. */
  readonly filled: ReadonlySet<string>
}

/**
 * What in a query Spark does not take, or takes for something else, each once. `tree` is what DuckDB's own parser made of the
 * text (`json_serialize_sql`), so nothing reads SQL a second way; only spelling that the tree does not keep is looked for in
 * the text.
 */
export function unportable(sql: string, tree: unknown, surroundings: Surroundings): Rule[] {
  const search = new Search(surroundings)
  search.spelling(sql, tree)
  search.visit(tree)
  return [...search.found]
}

const CASTABLE = new Set(
  'BOOLEAN TINYINT SMALLINT INTEGER BIGINT FLOAT DOUBLE DECIMAL DATE TIMESTAMP VARCHAR INTERVAL'.split(' '),
)
const WHOLE = new Set(['TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT'])
/** Their results are fractions. */
const FRACTIONS = new Set(['/', 'avg', 'mean', 'median', 'sqrt', 'pow', 'quantile_cont', 'stddev'])
const INTERVALS =
  /^to_(?:micro|milli)?(?:seconds|minutes|hours|days|weeks|months|quarters|years|decades|centuries|millennia)$/
const TYPE = String.raw`(?:::|\bas)\s*`
const SPELLINGS: readonly (readonly [RegExp, Rule])[] = [
  [
    new RegExp(String.raw`${TYPE}(?:varchar|text|bpchar|char|nvarchar|character varying)\b(?!\s*\()`),
    CONSTRUCTS.varchar,
  ],
  [
    new RegExp(String.raw`${TYPE}(?:int1|int2|int4|int8|float4|float8|bool|signed|logical|datetime)\b`),
    CONSTRUCTS.alias,
  ],
  [new RegExp(String.raw`${TYPE}(?:decimal|numeric|dec)\b(?!\s*\()`), CONSTRUCTS.digits],
  [/\b(?:quantile_cont)\s*\(/, FUNCTIONS['quantile_cont']!],
  [/\be'/, CONSTRUCTS.escapes],
  [/\$[a-z_]*\$/, CONSTRUCTS.dollars],
  [/\b\d+_\d|\b0x/, CONSTRUCTS.number],
  [/,\s*\bfrom\b/, CONSTRUCTS.comma],
  [/\bas\s+(?:not\s+)?materialized\b/, CONSTRUCTS.materialized],
]

class Search {
  readonly found = new Set<Rule>()
  readonly #surroundings: Surroundings
  #outerJoins = false

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings
  }

  spelling(sql: string, tree: unknown): void {
    const text = withoutTexts(sql)
    if (textsOf(sql).some((found) => found.includes('\\'))) this.found.add(CONSTRUCTS.backslash)
    for (const [pattern, rule] of SPELLINGS) if (pattern.test(text)) this.found.add(rule)
    this.#outerJoins = /"join_type":"(?:LEFT|RIGHT|OUTER|FULL)"/.test(JSON.stringify(tree))
  }

  visit(value: unknown): void {
    if (Array.isArray(value)) for (const item of value) this.visit(item)
    if (!isNode(value)) return
    const goOn = this.#look(value)
    if (goOn) for (const item of Object.values(value)) this.visit(item)
  }

  /** Judges a node; false when what is below it has been judged with it. */
  #look(node: Node): boolean {
    switch (node['class'] ?? node['type']) {
      case 'SELECT_NODE':
      case 'SET_OPERATION_NODE':
        this.#query(node)
        return true
      case 'JOIN':
        if (node['ref_type'] === 'ASOF') this.found.add(CONSTRUCTS.asof)
        if (node['ref_type'] === 'POSITIONAL') this.found.add(CONSTRUCTS.positional)
        return true
      case 'PIVOT':
        this.found.add(CONSTRUCTS.pivot)
        return true
      case 'TABLE_FUNCTION':
        return this.#tableFunction(node)
      case 'STAR':
        if (nodesOf(node['replace_list']).length > 0) this.found.add(CONSTRUCTS.replace)
        if (Array.isArray(node['exclude_list']) && node['exclude_list'].length > 0) this.found.add(CONSTRUCTS.exclude)
        if (node['columns'] === true) this.found.add(CONSTRUCTS.columns)
        return true
      case 'FUNCTION':
        return this.#call(node)
      case 'WINDOW':
        this.#window(node)
        return true
      case 'CAST':
        this.#cast(node)
        return true
      case 'OPERATOR':
        if (node['type'] === 'ARRAY_EXTRACT') this.found.add(CONSTRUCTS.index)
        if (node['type'] === 'ARRAY_SLICE') this.found.add(CONSTRUCTS.slice)
        return true
      case 'LAMBDA':
        this.found.add(CONSTRUCTS.arrow)
        return true
      case 'POSITIONAL_REFERENCE':
        this.found.add(CONSTRUCTS.position)
        return true
      case 'COLLATE':
        this.found.add(CONSTRUCTS.collate)
        return true
      default:
        return true
    }
  }

  #query(node: Node): void {
    const modifiers = nodesOf(node['modifiers'])
    const has = (type: string) => modifiers.some((modifier) => modifier['type'] === type)
    if (has('LIMIT_PERCENT_MODIFIER')) this.found.add(CONSTRUCTS.limitPercent)
    for (const modifier of modifiers) {
      if (nodesOf(modifier['distinct_on_targets']).length > 0) this.found.add(CONSTRUCTS.distinctOn)
      if (modifier['type'] === 'ORDER_MODIFIER' && has('LIMIT_MODIFIER')) this.#order(modifier['orders'])
    }
    if (isNode(node['qualify'])) this.found.add(CONSTRUCTS.qualify)
    if (isNode(node['sample'])) this.found.add(CONSTRUCTS.sample)
    if (String(node['setop_type']).endsWith('BY_NAME')) this.found.add(CONSTRUCTS.unionByName)
    this.#aliases(node)
  }

  /** A name in `where` that only the select list gives. */
  #aliases(node: Node): void {
    const names = new Set(
      nodesOf(node['select_list']).map(({ alias }) => (typeof alias === 'string' ? alias.toLowerCase() : '')),
    )
    const look = (value: unknown): void => {
      if (Array.isArray(value)) for (const item of value) look(item)
      if (!isNode(value) || value['class'] === 'SUBQUERY') return
      const path = value['class'] === 'COLUMN_REF' ? (value['column_names'] as string[]) : []
      const name = path.length === 1 ? path[0]!.toLowerCase() : ''
      if (name !== '' && names.has(name) && !this.#surroundings.columns.has(name))
        this.found.add(CONSTRUCTS.aliasInWhere)
      for (const item of Object.values(value)) look(item)
    }
    look(node['where_clause'])
  }

  #order(orders: unknown): void {
    for (const { type, null_order: nulls, expression } of nodesOf(orders)) {
      if (type === 'DESCENDING' || nulls !== 'ORDER_DEFAULT') continue
      if (!this.#isFilled(expression)) this.found.add(CONSTRUCTS.nulls)
    }
  }

  #isFilled(expression: unknown): boolean {
    if (!isNode(expression)) return false
    if (expression['class'] === 'CONSTANT') return false
    const name = expression['class'] === 'COLUMN_REF' ? (expression['column_names'] as string[]).at(-1) : undefined
    return name !== undefined && !this.#outerJoins && this.#surroundings.filled.has(name.toLowerCase())
  }

  #tableFunction(node: Node): boolean {
    const call = node['function']
    const name = isNode(call) ? String(call['function_name']).toLowerCase() : ''
    if (name === 'range') return true
    const known = FUNCTIONS[name]
    this.found.add(known ?? CONSTRUCTS.tableFunction)
    return false
  }

  #call(node: Node): boolean {
    const name = String(node['function_name']).toLowerCase()
    const args = nodesOf(node['children'])
    if (INTERVALS.test(name)) {
      if (/"COLUMN_REF"|"SUBQUERY"/.test(JSON.stringify(args))) this.found.add(CONSTRUCTS.interval)
      return false
    }
    const { order_bys: order } = node
    if (isNode(order) && nodesOf(order['orders']).length > 0 && name !== 'quantile_cont')
      this.found.add(CONSTRUCTS.orderedAggregate)
    const rule = FUNCTIONS[name]
    if (rule && name !== 'quantile_cont' && (rule.when?.(args) ?? true)) this.found.add(rule)
    else if (!SAME.has(name)) this.found.add(unknownFunction(name))
    return true
  }

  #window(node: Node): void {
    const name = String(node['function_name']).toLowerCase()
    this.#order(node['orders'])
    if (node['ignore_nulls'] === true) this.found.add(CONSTRUCTS.ignoreNulls)
    if (node['exclude_clause'] !== undefined && node['exclude_clause'] !== 'NO_OTHER')
      this.found.add(CONSTRUCTS.exclusion)
    if ([node['start'], node['end']].some((bound) => String(bound).endsWith('_GROUPS')))
      this.found.add(CONSTRUCTS.groups)
    if (node['distinct'] === true) this.found.add(CONSTRUCTS.distinctWindow)
    if (FUNCTIONS[name] && (FUNCTIONS[name].when?.(nodesOf(node['children'])) ?? true)) this.found.add(FUNCTIONS[name])
    else if (!SAME.has(name)) this.found.add(unknownFunction(name))
  }

  #cast({ cast_type: type, child }: Node): void {
    const id = isNode(type) ? String(type['id']) : ''
    if (!CASTABLE.has(id)) this.found.add(CONSTRUCTS.type)
    if (WHOLE.has(id) && isNode(child) && FRACTIONS.has(String(child['function_name']).toLowerCase()))
      this.found.add(CONSTRUCTS.rounding)
  }
}

const unknown = new Map<string, Rule>()

/** Spark has no function of this name, as far as was tried. */
function unknownFunction(name: string): Rule {
  const rule = unknown.get(name) ?? {
    construct: `${name}()`,
    spark: 'refuses',
    remedy: 'a function that both have, or sql: { default, spark }',
    example: '',
  }
  unknown.set(name, rule)
  return rule
}

/** What stands in quotes, and comments. */
const QUOTED = /--[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^']|'')*'|"(?:[^"]|"")*"/g

/** The text of SQL in lower case without what stands in quotes and comments. */
function withoutTexts(sql: string): string {
  return sql.replaceAll(QUOTED, (found) => (found.startsWith("'") ? "''" : ' ')).toLowerCase()
}

function textsOf(sql: string): string[] {
  return [...sql.matchAll(QUOTED)].map(([found]) => found).filter((found) => found.startsWith("'"))
}
