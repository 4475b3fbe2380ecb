/**
 * Names, in lower case, that a query has for columns anywhere: one that is not among them is not read. Undefined where columns are
 * read without being named, by `*`, say. `tree` is what DuckDB's parser made of the text (`syntaxTree`), with all that the query
 * reads in it as tables.
 */
export function namedColumns(tree: unknown): ReadonlySet<string> | undefined {
  const found = new Search()
  found.visit(tree)
  // A table's name in place of a column's is the whole row.
  const isWhole = [...found.alone].some((name) => found.tables.has(name))
  return found.isAll || isWhole ? undefined : found.names
}

class Search {
  readonly names = new Set<string>()
  /** Of these, those without a table's name before them. */
  readonly alone = new Set<string>()
  readonly tables = new Set<string>()
  isAll = false

  visit(node: unknown): void {
    if (typeof node !== 'object' || node === null) return
    if (!Array.isArray(node)) this.#look(node as Readonly<Record<string, unknown>>)
    for (const child of Object.values(node)) this.visit(child)
  }

  #look(node: Readonly<Record<string, unknown>>): void {
    const { class: kind, type, error } = node
    if (error === true || UNNAMED.has(String(kind)) || UNNAMED.has(String(node['ref_type']))) this.isAll = true
    if (String(type).startsWith('PIVOT') || (type !== 'TABLE_FUNCTION' && isFilled(node['column_name_alias'])))
      this.isAll = true
    for (const name of strings(node['using_columns'])) this.names.add(name)
    if (kind === 'COLUMN_REF') {
      const names = strings(node['column_names'])
      for (const name of names) this.names.add(name)
      if (names.length === 1) this.alone.add(names[0]!)
    }
    if (type === 'BASE_TABLE') for (const name of strings([node['table_name'], node['alias']])) this.tables.add(name)
  }
}

const UNNAMED: ReadonlySet<string> = new Set(['STAR', 'POSITIONAL_REFERENCE', 'NATURAL'])

function isFilled(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string').map((item) => item.toLowerCase()) : []
}
