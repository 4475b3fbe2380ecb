import { check, sql, t, table } from 'millrace'
import { allCountries } from './all-countries.ts'

const text = (value: string) => sql`${sql.literal(value)}`

export const countries = table('countries', {
  doc: 'The countries that deliver users and logins, from their declarations.',
  columns: {
    code: t.string(),
    name: t.string(),
    iso: t.string().doc('ISO 3166-1, or 3166-2 for a part of a country.'),
    currency: t.string().doc('ISO 4217.'),
    calling: t.string().doc('Country calling code.'),
    education_framework: t.string(),
    salaries_per_year: t.int().doc('How many of the salaries delivered make a year’s: 12 when they are monthly.'),
    delivered: t.date().doc('Day of the delivery of the users.'),
  },
  sql: sql`select * from (values ${sql.join(
    allCountries.map(
      (c) =>
        sql`(${text(c.code)}, ${text(c.name)}, ${text(c.iso)}, ${text(c.currency)}, ${text(c.calling)}, ${text(c.education.framework)}, ${c.salariesPerYear}, date ${text(c.delivered)})`,
    ),
    ', ',
  )}) as c(code, name, iso, currency, calling, education_framework, salaries_per_year, delivered)`,
  checks: [check.unique('code')],
})

export const educationLevels = table('education_levels', {
  doc: 'What the education codes of each country mean, on one scale.',
  columns: {
    country: t.string(),
    framework: t.string(),
    code: t.string().doc('As delivered.'),
    name: t.string(),
    level: t.int().doc('Level 1 to 8 of the European Qualifications Framework.'),
  },
  sql: sql`select * from (values ${sql.join(
    allCountries.flatMap(({ code: country, education: { framework, levels } }) =>
      levels.map(
        ({ code, name, eqf }) => sql`(${text(country)}, ${text(framework)}, ${text(code)}, ${text(name)}, ${eqf})`,
      ),
    ),
    ', ',
  )}) as e(country, framework, code, name, level)`,
  checks: [check.unique(['country', 'code'])],
})
