import { check, source, sql, stream } from 'millrace'
import { allCountries } from './all-countries.ts'
import { loginColumns, userColumns } from './columns.ts'

/** Enough of RFC 5321 to find addresses that no mail reaches: no white space, one @, a domain with a dot. */
const EMAIL = /^[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9-]+(\.[a-z0-9-]+)+$/

/** Null, or a number of the user's country. */
const fitsCountry = (column: 'phone' | 'mobile') => {
  const cases = allCountries.map(
    ({ code, phone }) =>
      sql`when ${sql.literal(code)} then regexp_matches(${sql.raw(column)}, ${sql.literal(phone.source)})`,
  )
  return sql`${sql.raw(column)} is null or case country ${sql.join(cases, ' ')} end`
}

export const users = stream('users', {
  doc: 'The users of all countries, as of the latest delivery of each. Personal data.',
  columns: userColumns,
  unique: ['country', 'email'],
  source: allCountries.map(({ code, currency, users: delivery }) =>
    source.files({
      ...delivery,
      name: code.toLowerCase(),
      map: { ...delivery.map, country: sql`${sql.literal(code)}`, salary_currency: sql`${sql.literal(currency)}` },
    }),
  ),
  checks: [
    check.matches('email', EMAIL),
    check.range('age_at_delivery', { min: 0, max: 125 }),
    check.oneOf('gender', ['female', 'male', 'non_binary', 'other', 'undisclosed']),
    check.matches('time_zone', /^[A-Z][A-Za-z]+\/[A-Za-z_]+$/),
    check.predicate('phone_of_country', fitsCountry('phone')),
    check.predicate('mobile_of_country', fitsCountry('mobile')),
    check.range('education_level', { min: 1, max: 8 }),
    check.range('salary', { min: 0 }),
    check.range('website_visits', { min: 0 }),
  ],
})

export const logins = stream('logins', {
  doc: 'The login audits of all countries.',
  columns: loginColumns,
  time: 'logged_in_at',
  // The audits come as one file a country, each sorted by user.
  lateness: '40 days',
  unique: ['country', 'login_id'],
  partitionBy: 'day',
  source: allCountries.map(({ code, logins: delivery }) =>
    source.files({
      ...delivery,
      name: code.toLowerCase(),
      map: { ...delivery.map, country: sql`${sql.literal(code)}` },
    }),
  ),
  checks: [check.matches('email', EMAIL), check.range('logged_in_at', { min: '2020-01-01' })],
})
