import type { FilesOptions, SqlTemplate } from 'millrace'
import type { loginColumns, userColumns } from './columns.ts'

/** Where a column comes from: a field of the file, or SQL over its fields (in double quotes). */
type Mapping<Column extends string> = Record<Column, string | SqlTemplate>

/** A file of a country and how its fields become columns; every column must be given. */
type Delivery<Column extends string> = Omit<FilesOptions, 'name' | 'map'> & { map: Mapping<Column> }

/** Columns that are the same for all users of a country. */
type Fixed = 'country' | 'salary_currency'

/** Everything that is particular to a country. One file in `countries/` each, and nothing about it anywhere else. */
export interface Country {
  /** Two capital letters; the name of its file in lower case. */
  code: string
  name: string
  /** ISO 3166-1, or 3166-2 for a part of a country. */
  iso: string
  /** ISO 4217. */
  currency: string
  /** Country calling code, with its plus. */
  calling: string
  /** What a valid phone number looks like, E.164. */
  phone: RegExp
  /** How many of the salaries in the file make a year's. Say why. */
  salariesPerYear: number
  /** Day of the delivery of the user file: ages are of this day. */
  delivered: string
  education: {
    /** The country's framework of qualifications. */
    framework: string
    /** Codes as they stand in the file, with the level of the European Qualifications Framework. */
    levels: readonly { code: string; name: string; eqf: number }[]
  }
  users: Delivery<Exclude<keyof typeof userColumns, Fixed>>
  logins: Delivery<Exclude<keyof typeof loginColumns, 'country'>>
}

/** Types and completes a country's declaration. */
export function country(declaration: Country): Country {
  return declaration
}
