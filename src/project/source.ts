import type { SqlTemplate } from './sql.ts'

export type FileFormat = 'csv' | 'ndjson' | 'json' | 'parquet'

/** How text of a source becomes typed values. Applied at the gate, so a corrected declaration can be replayed. */
export interface TextFormats {
  /** Text that means "missing", compared after trimming: `['', 'na', 'none']`. */
  nulls?: readonly string[]
  /** Decimal and group separators, and text to strip (currency signs): `{ decimal: ',', group: '.', strip: ['€'] }`. */
  number?: { decimal?: '.' | ','; group?: string; strip?: readonly string[] }
  /** strptime patterns for dates, tried in order: `['%d/%m/%Y']`. ISO 8601 when not given. */
  date?: readonly string[]
  /** strptime patterns for timestamps, tried in order; or `epoch` units. ISO 8601 when not given. */
  timestamp?: readonly string[] | 'epoch-seconds' | 'epoch-milliseconds'
  /** IANA zone of timestamps without an offset; UTC when not given. */
  zone?: string
}

export interface FilesOptions<Name extends string = string> extends TextFormats {
  /** Glob, relative to the project folder; `**`, `*`, `?` and `{a,b}`. */
  path: string
  /** Taken from the extension when not given (`.gz` is looked through). */
  format?: FileFormat
  /** Any label of the WHATWG Encoding Standard (`utf-8` by default, `windows-1252`, `utf-16le` …), `cp437` or `cp850`. A byte-order mark wins. */
  encoding?: string
  /** CSV: `,` when not given. */
  delimiter?: string
  /** CSV: quote character, `"` when not given; `null` for none. */
  quote?: string | null
  /** CSV: true (default) when the first record names the fields; or the names. Field names are trimmed. */
  header?: boolean | readonly string[]
  /** CSV: trim white space around values. Default true. */
  trim?: boolean
  /** Fields never read into any layer, raw included: `['Password']`. */
  exclude?: readonly string[]
  /** Column by column: the field it comes from, or SQL over the raw fields (all text). A column not named comes from the field of its own name. */
  map?: Partial<Record<Name, string | SqlTemplate>>
  /** How often to look for new and changed files while running: `'10 seconds'`. */
  every?: string
}

/** A declared source of files. */
export interface FilesSource extends FilesOptions {
  readonly kind: 'files'
  /** Names the source within its stream: states and quarantine rows refer to it. */
  readonly name: string
}

export type Source = FilesSource

/** Every option of a source: what else is given is a typo. */
export const SOURCE_OPTIONS = Object.keys({
  kind: true,
  name: true,
  path: true,
  format: true,
  encoding: true,
  delimiter: true,
  quote: true,
  header: true,
  trim: true,
  exclude: true,
  map: true,
  every: true,
  nulls: true,
  number: true,
  date: true,
  timestamp: true,
  zone: true,
} satisfies Record<keyof FilesSource, true>)

export const source = {
  /** Files of one shape. Each file is loaded exactly once; a changed file replaces what it loaded before. */
  files: (options: FilesOptions & { name?: string }): FilesSource => ({
    kind: 'files',
    ...options,
    name: options.name ?? options.path,
  }),
}
