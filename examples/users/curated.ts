import { type SqlTemplate, check, endpoint, sql, t, table } from 'millrace'
import { countries, educationLevels } from './reference.ts'
import { logins, users } from './streams.ts'

/** An instant as the clock of a time zone shows it, with the offset: `2025-01-02T14:49:24-09:00`. */
function localTime(instant: string, zone: string): SqlTemplate {
  const utc = sql.raw(instant)
  const local = sql`timezone(${sql.raw(zone)}, timezone('UTC', ${utc}))`
  const minutes = sql`cast(date_diff('minute', ${utc}, ${local}) as integer)`
  return sql`strftime(${local}, '%Y-%m-%dT%H:%M:%S') || case when ${minutes} < 0 then '-' else '+' end || strftime(timestamp '2000-01-01' + interval (abs(${minutes})) minute, '%H:%M')`
}

/** The same in Spark, whose functions of time zones are others. */
function localTimeInSpark(instant: string, zone: string): { text: SqlTemplate; local: SqlTemplate } {
  const utc = sql.raw(instant)
  const local = sql`cast(from_utc_timestamp(${utc}, ${sql.raw(zone)}) as timestamp)`
  const minutes = sql`timestampdiff(minute, ${utc}, ${local})`
  const text = sql`replace(date_format(${local}, 'yyyy-MM-dd HH:mm:ss'), ' ', 'T') || case when ${minutes} < 0 then '-' else '+' end || date_format(timestamp '2000-01-01' + abs(${minutes}) * interval 1 minute, 'HH:mm')`
  return { text, local }
}

const inSpark = localTimeInSpark('l.logged_in_at', 'u.time_zone')

export const loginTimes = table('login_times', {
  doc: 'Every login with the time of day where the user lives.',
  interval: 'day',
  columns: {
    country: t.string(),
    login_id: t.long(),
    email: t.string(),
    logged_in_at: t.timestamp().doc('UTC.'),
    time_zone: t.string(),
    local_time: t.string().doc('ISO 8601 with the offset from UTC.'),
    local_date: t.date(),
    local_hour: t.int(),
  },
  sql: {
    default: sql`
    select l.country, l.login_id, l.email, l.logged_in_at, u.time_zone,
           ${localTime('l.logged_in_at', 'u.time_zone')} as local_time,
           cast(timezone(u.time_zone, timezone('UTC', l.logged_in_at)) as date) as local_date,
           cast(hour(timezone(u.time_zone, timezone('UTC', l.logged_in_at))) as integer) as local_hour
    from ${logins} l
    join ${users} u on u.country = l.country and u.email = l.email`,
    spark: sql`
    select l.country, l.login_id, l.email, l.logged_in_at, u.time_zone,
           ${inSpark.text} as local_time, cast(${inSpark.local} as date) as local_date, hour(${inSpark.local}) as local_hour
    from ${logins} l
    join ${users} u on u.country = l.country and u.email = l.email`,
  },
  checks: [
    check.unique(['country', 'login_id']),
    // A login of nobody we know is not shown here; that is worth knowing.
    check.sql(
      'login_of_unknown_user',
      sql`select l.country, l.email from ${logins} l where not exists (select 1 from ${users} u where u.country = l.country and u.email = l.email)`,
      { severity: 'warn' },
    ),
  ],
})

export const dailyLogins = table('daily_logins', {
  doc: 'Logins and users by country and day (UTC).',
  interval: 'day',
  columns: { country: t.string(), logins: t.long(), users: t.long().doc('Different users that logged in.') },
  sql: sql`
    select country, count(*) as logins, count(distinct email) as users
    from ${logins}
    group by country`,
  checks: [
    check.unique(['day', 'country']),
    // Reconciliation: every login is counted on some day.
    check.sumEquals('logins', logins, '1'),
  ],
})

export const lastLogins = table('last_logins', {
  doc: 'The latest login of each user.',
  key: ['country', 'email'],
  version: 'logged_in_at',
  columns: {
    country: t.string(),
    email: t.string(),
    login_id: t.long(),
    logged_in_at: t.timestamp().doc('UTC.'),
    time_zone: t.string(),
    local_time: t.string().doc('ISO 8601 with the offset from UTC.'),
  },
  sql: sql`select country, email, login_id, logged_in_at, time_zone, local_time from ${loginTimes}`,
})

export const userDirectory = table('user_directory', {
  doc: 'Users with what the other tables know of them: names of country and education, logins. Personal data.',
  columns: {
    country: t.string(),
    country_name: t.string(),
    email: t.string(),
    full_name: t.string(),
    birth_date: t.date(),
    gender: t.string().nullable(),
    city: t.string(),
    region: t.string(),
    postcode: t.string(),
    time_zone: t.string(),
    phone: t.string().nullable().doc('E.164.'),
    mobile: t.string().nullable().doc('E.164.'),
    education: t.string().nullable().doc('Name of the qualification.'),
    education_level: t.int().nullable().doc('European Qualifications Framework, 1 to 8.'),
    salary: t.decimal(12, 2).nullable().doc('Gross pay for a year.'),
    salary_currency: t.string().doc('ISO 4217.'),
    website_visits: t.int().nullable().doc('As delivered with the user.'),
    logins: t.long().doc('As counted in the login audit.'),
    last_login_at: t.timestamp().nullable().doc('UTC.'),
    last_login_local: t.string().nullable().doc('Where the user lives: ISO 8601 with the offset from UTC.'),
  },
  sql: sql`
    select u.country, c.name as country_name, u.email,
           concat_ws(' ', u.first_name, u.middle_names, u.last_name) as full_name,
           u.birth_date, u.gender, u.city, u.region, u.postcode, u.time_zone, u.phone, u.mobile,
           e.name as education, u.education_level, u.salary, u.salary_currency, u.website_visits,
           coalesce(n.logins, 0) as logins, l.logged_in_at as last_login_at, l.local_time as last_login_local
    from ${users} u
    join ${countries} c on c.code = u.country
    left join ${educationLevels} e on e.country = u.country and e.code = u.education
    left join ${lastLogins} l on l.country = u.country and l.email = u.email
    left join (select country, email, count(*) as logins from ${logins} group by country, email) n
      on n.country = u.country and n.email = u.email`,
  checks: [
    check.unique(['country', 'email']),
    check.sql(
      'country_without_users',
      sql`select code from ${countries} where code not in (select country from this)`,
      {
        severity: 'warn',
      },
    ),
    // The two deliveries of a country agree: the visits counted in one are the logins listed in the other.
    check.sql('visits_are_logins', sql`select email, website_visits, logins from this where website_visits <> logins`, {
      severity: 'warn',
    }),
  ],
})

export const user = endpoint('user', {
  doc: 'One user.',
  params: { email: t.string() },
  sql: sql`select * from ${userDirectory} where email = lower(${'email'})`,
})

export const loginsByDay = endpoint('logins-by-day', {
  doc: 'Logins by day from one date up to, and without, another; of one country or of all.',
  params: { from: t.date(), to: t.date(), country: t.string().nullable() },
  sql: sql`
    select day, country, logins, users from ${dailyLogins}
    where day >= ${'from'} and day < ${'to'} and (${'country'} is null or country = ${'country'})
    order by day, country`,
})

export const lastLogin = endpoint('last-logins', {
  doc: 'The latest logins, newest first; of one country or of all.',
  params: { country: t.string().nullable(), count: t.int().nullable() },
  sql: sql`
    select country, email, logged_in_at, local_time from ${lastLogins}
    where ${'country'} is null or country = ${'country'}
    order by logged_in_at desc, email
    limit coalesce(${'count'}, 20)`,
})
