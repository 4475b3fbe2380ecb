import type { DuckDBConnection } from '@duckdb/node-api'

export interface Difference {
  /** Rows of the oracle. */
  readonly rows: number
  /** Rows that only the oracle has, and that only the other relation has, as far as they were counted. */
  readonly missing: number
  readonly extra: number
  /** Some of them, as text. */
  readonly examples: readonly string[]
}

/** Compares rows as multisets: the published relation, by its names, with what the oracle's query gives. */
export async function difference(connection: DuckDBConnection, published: string, oracle: string): Promise<Difference> {
  const columns = (await columnsOf(connection, oracle)).map(({ name, value }) => `${value} AS ${name}`).join(', ')
  await connection.run(`CREATE OR REPLACE TEMP TABLE expected AS ${oracle}`)
  await connection.run(`CREATE OR REPLACE TEMP TABLE found AS SELECT ${columns} FROM ${published}`)
  const only = async (one: string, other: string) => {
    const rows = `(FROM ${one} EXCEPT ALL FROM ${other})`
    const examples = await all(connection, `SELECT to_json(r)::VARCHAR FROM ${rows} AS r LIMIT 3`)
    return { count: await countOf(connection, rows), examples: examples.map(([row]) => String(row)) }
  }
  const missing = await only('expected', 'found')
  const extra = await only('found', 'expected')
  return {
    rows: await countOf(connection, 'expected'),
    missing: missing.count,
    extra: extra.count,
    examples: [...missing.examples.map((row) => `missing ${row}`), ...extra.examples.map((row) => `extra ${row}`)],
  }
}

/**
 * Count and sum of hashes of the rows: equal for equal multisets, and for others with next to no probability. For results
 * too large to be compared row by row.
 */
export async function digest(connection: DuckDBConnection, relation: string, like = relation): Promise<string> {
  const columns = (await columnsOf(connection, `FROM ${like}`)).map(({ value }) => value).join(', ')
  const [row] = await all(connection, `SELECT count(*), coalesce(sum(hash(${columns})), 0) FROM ${relation}`)
  return row!.map(String).join(' ')
}

/** The columns of a query, and each cast to its type. */
async function columnsOf(connection: DuckDBConnection, query: string): Promise<{ name: string; value: string }[]> {
  const columns = await all(connection, `DESCRIBE ${query}`)
  return columns.map(([name, type]) => ({ name: `"${String(name)}"`, value: `"${String(name)}"::${String(type)}` }))
}

async function countOf(connection: DuckDBConnection, relation: string): Promise<number> {
  return Number((await all(connection, `SELECT count(*) FROM ${relation}`))[0]![0])
}

async function all(connection: DuckDBConnection, sql: string): Promise<[unknown, ...unknown[]][]> {
  return (await connection.runAndReadAll(sql)).getRows() as [unknown, ...unknown[]][]
}
