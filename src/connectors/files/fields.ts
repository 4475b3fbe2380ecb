import { MillraceError } from '../../base/errors.ts'
import { didYouMean } from '../../base/suggest.ts'
import type { FilesSource } from '../../project/source.ts'
import type { FileVersion } from '../files.ts'

/** A field name as it appears in records: no byte-order mark, no line breaks, single spaces; `$` is kept for positions. */
export function fieldName(text: string): string {
  const name = text.replaceAll('\ufeff', '').trim().replace(/\s+/gu, ' ')
  return name.startsWith('$') ? `_${name}` : name
}

/**
 * Names the fields of a record or header in order: cleaned, never empty (`column_3`), never twice (`Name_2`), and undefined where the
 * source excludes the field. Exclusion compares the cleaned name without regard to case, so a second `Password ` is out as well.
 */
export class FieldNames {
  readonly #excluded: Set<string>

  constructor(source: FilesSource) {
    this.#excluded = new Set((source.exclude ?? []).map(comparable))
  }

  name(names: readonly string[]): (string | undefined)[] {
    const taken = new Set<string>()
    return names.map((text, i) => {
      if (this.#excluded.has(comparable(text))) return undefined
      const base = fieldName(text) || `column_${i + 1}`
      let name = base
      // SQL does not tell `Id` from `ID`.
      for (let n = 2; taken.has(name.toLowerCase()); n++) name = `${base}_${n}`
      taken.add(name.toLowerCase())
      return name
    })
  }
}

function comparable(name: string): string {
  return fieldName(name).toLowerCase()
}

/**
 * Checks that a file has the fields its source speaks of, as they are called in records: those in `map` (alone, or in
 * double quotes within SQL), those in `exclude` (a misspelt one would let a secret through), and those the caller needs.
 *
 * @param found the field names as they stand in the file
 * @param names the same as they appear in records: what `FieldNames` made of them
 * Throws `invalid`/`missing-field`.
 */
export function expectFields(
  source: FilesSource,
  file: FileVersion,
  found: readonly string[],
  names: readonly (string | undefined)[],
  needed: readonly string[] = [],
): void {
  const comparables = new Set(found.map(comparable))
  const excluded = source.exclude?.find((name) => !comparables.has(comparable(name)))
  const known = new Set<string | undefined>([...names, '$source', '$file', '$line'])
  const lacking = [...needed, ...mappedFields(source)].find((name) => !known.has(name))
  const name = excluded ?? lacking
  if (name === undefined) return
  const shown = found.map((text, i) => names[i] ?? fieldName(text))
  throw new MillraceError(
    'invalid',
    'missing-field',
    `${file.file}, line 1: there is no field '${name}'${excluded === undefined ? '' : ', which the source excludes'}. Fields found: ${shown.join(', ')}.`,
    {
      hint: `${didYouMean(name, shown)} Correct the declaration of source '${source.name}', or give files of another shape a source of their own.`,
      context: { source: source.name, file: file.file, line: 1 },
    },
  )
}

/** The raw fields that a source's `map` refers to. */
function mappedFields(source: FilesSource): string[] {
  return Object.values(source.map ?? {}).flatMap((mapping) => {
    if (mapping === undefined) return []
    if (typeof mapping === 'string') return [mapping]
    const withoutLiterals = mapping.toString().replace(/'(?:[^']|'')*'/g, "''")
    return [...withoutLiterals.matchAll(/"((?:[^"]|"")+)"/g)].map((match) => match[1]!.replaceAll('""', '"'))
  })
}
