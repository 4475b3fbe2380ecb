import { type SqlTemplate, sql } from 'millrace'

// SQL that several countries need. Text that cannot be understood is passed on as it is: it then fails the column's type or
// a check, and the row goes to quarantine with the text in the reason. Nothing is guessed and nothing becomes null in silence.

/** One word for many: `choice('Gender', { male: ['M', 'Male'] })`. Letter case does not matter. */
export function choice(field: string, words: Record<string, readonly string[]>): SqlTemplate {
  const cases = Object.entries(words).flatMap(([word, spellings]) =>
    spellings.map((spelling) => sql`when ${sql.literal(spelling.toLowerCase())} then ${sql.literal(word)}`),
  )
  return sql`case lower(${sql.identifier(field)}) ${sql.join(cases, ' ')} else ${sql.identifier(field)} end`
}

/**
 * A date whose year has two digits: of all centuries, the one in which the user has the age given, in full years, on the day of delivery. The age also
 * finds out dates whose parts are in another order than declared.
 *
 * @param pattern strptime, `%d/%m/%y`
 */
export function birthDate(field: string, pattern: string, ageField: string, delivered: string): SqlTemplate {
  const text = sql.identifier(field)
  const age = sql.identifier(ageField)
  const born = sql`cast(try_strptime(${text}, ${sql.literal(pattern)}) as date)`
  const centuries = [-200, -100, 0, 100].map((years) => {
    const date = sql`cast(${born} + interval (${years}) year as date)`
    return sql`when date_sub('year', ${date}, date ${sql.literal(delivered)}) = try_cast(${age} as integer) then cast(${date} as varchar)`
  })
  return sql`case ${sql.join(centuries, ' ')} else ${text} || ' at age ' || coalesce(${age}, 'unknown') end`
}

/**
 * A phone number as E.164: separators of every kind go, the national prefix gives way to the country's code.
 *
 * @param calling `+44`
 * @param trunk what is dialled before a number within the country: `0`; `1` in North America
 */
export function phoneNumber(field: string, calling: string, trunk: string): SqlTemplate {
  const digits = sql`regexp_replace(replace(${sql.identifier(field)}, '(0)', ''), '[^0-9+]', '', 'g')`
  const code = sql.literal(calling)
  return sql`case when starts_with(${digits}, '+') then ${digits}
    when starts_with(${digits}, '00') then '+' || substr(${digits}, 3)
    when starts_with(${digits}, ${sql.literal(trunk)}) then ${code} || substr(${digits}, 2)
    else ${code} || ${digits} end`
}

/** A year's pay from an amount of money as people write it. */
export function yearly(
  field: string,
  salariesPerYear: number,
  written: { sign?: string; group: string; decimal: string },
): SqlTemplate {
  const text = sql.identifier(field)
  const { sign = '', group, decimal } = written
  const unsigned = sign === '' ? sql`${text}` : sql`replace(${text}, ${sql.literal(sign)}, '')`
  const number = sql`replace(replace(${unsigned}, ${sql.literal(group)}, ''), ${sql.literal(decimal)}, '.')`
  return sql`coalesce(cast(try_cast(trim(${number}) as decimal(16, 4)) * ${salariesPerYear} as varchar), ${text})`
}

/** The level of the European Qualifications Framework of a country's code; see `education_levels`. */
export function educationLevel(field: string, levels: readonly { code: string; eqf: number }[]): SqlTemplate {
  const cases = levels.map(({ code, eqf }) => sql`when ${sql.literal(code)} then ${sql.literal(String(eqf))}`)
  return sql`case ${sql.identifier(field)} ${sql.join(cases, ' ')} else ${sql.identifier(field)} end`
}
