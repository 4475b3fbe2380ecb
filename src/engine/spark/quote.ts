/** A name for Spark SQL, in backticks: right whatever a session makes of double quotes. */
export function quoteName(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}

/** A text for Spark SQL. Spark takes a backslash in it for the beginning of an escape, unlike DuckDB. */
export function quoteText(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
}
