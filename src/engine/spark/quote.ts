/** A name for Spark SQL, in backticks: right whatever a session makes of double quotes. */
export function quoteName(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}

/** A text for Spark SQL. A backslash is a backslash, as sessions are set (`spark.sql.parser.escapedStringLiterals`). */
export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}
