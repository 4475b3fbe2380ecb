import { MillraceError } from '../base/errors.ts'
import { quoteIdentifier } from '../base/identifier.ts'
import type { Dataset } from './dataset.ts'
import { type Reach, Within } from './window.ts'

/** What may stand in `${…}` of a sql template. */
export type SqlPart = Dataset | Within | SqlTemplate | ParameterName | number | boolean | SqlText

/** In an endpoint, `${'day'}` is the parameter of that name: bound, never spliced. */
export type ParameterName = string

/** Text put into SQL as it is. Made by `sql.raw`, `sql.identifier` and `sql.literal` only. */
export class SqlText {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** SQL with its dependencies: `${orders}` is the dependency, so lineage needs no parser. */
export class SqlTemplate {
  readonly strings: readonly string[]
  readonly parts: readonly SqlPart[]

  constructor(strings: readonly string[], parts: readonly SqlPart[]) {
    this.strings = strings
    this.parts = parts
  }

  /** The datasets referred to, each once, in order of appearance. */
  get datasets(): Dataset[] {
    return [...new Set(this.references.map(({ dataset }) => dataset))]
  }

  /** Every place where a dataset is read, in order of appearance, with its reach where it is read `within` one. */
  get references(): { readonly dataset: Dataset; readonly reach: Reach | undefined }[] {
    return this.parts.flatMap((part) => {
      if (part instanceof SqlTemplate) return part.references
      if (part instanceof Within) return [part]
      return isDataset(part) ? [{ dataset: part, reach: undefined }] : []
    })
  }

  /** What is read beyond a window's own rows. */
  get withins(): Within[] {
    return this.references.filter((reference): reference is Within => reference.reach !== undefined)
  }

  /** The parameters referred to, each once. */
  get parameters(): string[] {
    const found = new Set<string>()
    for (const part of this.parts) {
      if (part instanceof SqlTemplate) for (const name of part.parameters) found.add(name)
      else if (typeof part === 'string') found.add(part)
    }
    return [...found]
  }

  /** The SQL text, with datasets and parameters written by the caller. `within` stands for a dataset with its reach. */
  render(write: { dataset: (dataset: Dataset, reach?: Reach) => string; parameter: (name: string) => string }): string {
    let text = this.strings[0] ?? ''
    this.parts.forEach((part, i) => {
      if (part instanceof SqlTemplate) text += part.render(write)
      else if (part instanceof SqlText) text += part.text
      else if (part instanceof Within) text += write.dataset(part.dataset, part.reach)
      else if (isDataset(part)) text += write.dataset(part)
      else if (typeof part === 'string') text += write.parameter(part)
      else text += String(part)
      text += this.strings[i + 1] ?? ''
    })
    return text
  }

  /** The SQL as written, datasets by name and parameters as `$name`: for fingerprints, documentation and messages. */
  toString(): string {
    return this.render({
      dataset: ({ name }, reach) =>
        quoteIdentifier(name) + (reach ? ` /* ${reach.before} before to ${reach.after} after the window */` : ''),
      parameter: (name) => `$${name}`,
    }).trim()
  }
}

/** What runs a project's SQL: DuckDB embedded, Spark in a cluster. */
export type EngineName = 'duckdb' | 'spark'

/** A query, or one with what another engine is to run in its place where the two do not mean the same by it. */
export type SqlChoice = SqlTemplate | { readonly default: SqlTemplate; readonly spark: SqlTemplate }

/** The template for all engines, and those for some alone. Throws as `templateOf`. */
export function choiceOf(
  value: unknown,
  what: string,
): { readonly sql: SqlTemplate; readonly overrides?: { readonly spark: SqlTemplate } } {
  if (typeof value !== 'object' || value === null || !('default' in value)) return { sql: templateOf(value, what) }
  const { default: sql, spark } = value as { default: unknown; spark?: unknown }
  return { sql: templateOf(sql, what), overrides: { spark: templateOf(spark, `${what}, spark`) } }
}

/** The value, if it is a template. Throws `invalid`/`not-sql`: a text would have no dependencies. */
export function templateOf(value: unknown, what: string): SqlTemplate {
  if (typeof value === 'object' && value !== null && 'strings' in value && 'parts' in value) return value as SqlTemplate
  const found = typeof value === 'string' ? 'a text' : value === undefined ? 'missing' : `a ${typeof value}`
  throw new MillraceError('invalid', 'not-sql', `${what}: its SQL is ${found}.`, {
    hint: "Write it as a template: sql`select … from ${dataset}` (import { sql } from 'millrace').",
  })
}

function isDataset(part: SqlPart): part is Dataset {
  return typeof part === 'object' && 'kind' in part && 'name' in part
}

interface SqlTag {
  (strings: TemplateStringsArray, ...parts: SqlPart[]): SqlTemplate
  /** Text spliced as it is; never pass user input. */
  raw(text: string): SqlText
  identifier(name: string): SqlText
  literal(value: string | number | boolean | null): SqlText
  /** Templates joined by a separator, `union all` for example. */
  join(templates: readonly SqlTemplate[], separator: string): SqlTemplate
}

function tag(strings: TemplateStringsArray, ...parts: SqlPart[]): SqlTemplate {
  parts.forEach((part, i) => {
    const known =
      typeof part === 'number' ||
      typeof part === 'boolean' ||
      typeof part === 'string' ||
      (typeof part === 'object' && part !== null)
    if (!known) {
      throw new MillraceError(
        'invalid',
        'bad-sql-part',
        `sql\`…\`: value ${i + 1} is ${part === undefined ? 'undefined' : String(part)}.`,
        {
          hint: 'Put a dataset, another sql`…`, a number, or an endpoint parameter name between ${ and }. An undefined dataset usually means an import cycle between project files.',
        },
      )
    }
  })
  // As written: a backslash belongs to SQL's regular expressions, not to JavaScript.
  const raw = strings.raw.map((text) => text.replaceAll('\\`', '`').replaceAll('\\${', '${'))
  return new SqlTemplate(raw, parts)
}

/** A SQL template: sql`select … from ${orders}`. */
export const sql: SqlTag = Object.assign(tag, {
  raw: (text: string) => new SqlText(text),
  identifier: (name: string) => new SqlText(quoteIdentifier(name)),
  literal: (value: string | number | boolean | null) =>
    new SqlText(typeof value === 'string' ? `'${value.replaceAll("'", "''")}'` : String(value)),
  join(templates: readonly SqlTemplate[], separator: string) {
    const strings = templates.map((_, i) => (i === 0 ? '' : ` ${separator} `))
    return new SqlTemplate([...strings, ''], templates)
  },
})
