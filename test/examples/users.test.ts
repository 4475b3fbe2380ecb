import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { zstdDecompressSync } from 'node:zlib'
import { format } from 'prettier'
import { describe, expect, onTestFinished, test } from 'vitest'

const EXAMPLE = fileURLToPath(new URL('../../examples/users', import.meta.url))
const CHILD = fileURLToPath(new URL('./run-project.ts', import.meta.url))

type Row = Record<string, string | number | boolean | null>

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'millrace-users-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** A copy of the example, with some of its files written anew. */
function project(changes: Record<string, (text: string) => string> = {}): string {
  const directory = join(folder(), 'users')
  cpSync(EXAMPLE, directory, { recursive: true })
  for (const [name, change] of Object.entries(changes)) {
    const path = join(directory, name)
    writeFileSync(path, change(readFileSync(path, 'latin1')), 'latin1')
  }
  return directory
}

async function run(
  directory: string,
  data: string,
  queries: readonly string[],
): Promise<{ answers: Row[][]; schema: string }> {
  const flags = ['--conditions=millrace-source', '--no-warnings']
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...flags, CHILD, directory, data, JSON.stringify(queries)],
    { maxBuffer: 64 << 20 },
  )
  return JSON.parse(stdout) as { answers: Row[][]; schema: string }
}

const asText = (rows: readonly Row[]) =>
  rows
    .map(
      (row) =>
        `${Object.values(row)
          .map((v) => v ?? '-')
          .join(' | ')}\n`,
    )
    .join('')

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}

describe('examples/users', () => {
  test('every record of the eight files is accounted for, every user is as expected', async () => {
    const data = folder()
    const { answers, schema } = await run(EXAMPLE, data, [
      'SELECT * EXCLUDE (_partition, _offset, favourite_colour, favourite_animal, favourite_food) FROM {users} ORDER BY country, email',
      'SELECT count(*)::INTEGER AS n, count(DISTINCT email)::INTEGER AS users, min(logged_in_at)::VARCHAR AS first, max(logged_in_at)::VARCHAR AS last FROM {logins}',
      'SELECT rule, source, file, line::INTEGER AS line FROM {quarantine.users}',
      'SELECT rule, source, reason, count(*)::INTEGER AS n FROM {quarantine.logins} GROUP BY ALL',
      'SELECT sum(logins)::INTEGER AS logins, count(*)::INTEGER AS days FROM {daily_logins}',
      'SELECT count(*)::INTEGER AS n FROM {user_directory} WHERE website_visits <> logins',
      'SELECT country, email, logged_in_at::VARCHAR AS utc, local_time, local_date::VARCHAR AS local_date, local_hour FROM {login_times} QUALIFY row_number() OVER (PARTITION BY time_zone ORDER BY logged_in_at, country) = 1 ORDER BY local_time',
      'SELECT country, login_id FROM {last_logins} ORDER BY ALL LIMIT 2',
      'SELECT country, count(*)::INTEGER AS n FROM {education_levels} GROUP BY country ORDER BY country',
    ])
    const [users, logins, rejectedUsers, rejectedLogins, daily, visits, times, last, levels] = answers
    await expect(asText(users!)).toMatchFileSnapshot('users.expected.txt')
    expect(logins).toEqual([{ n: 1033, users: 39, first: '2025-01-01 11:42:31', last: '2025-02-01 00:08:03' }])
    expect(rejectedUsers).toEqual([{ rule: 'matches(email)', source: 'sc', file: 'data/SC User Data.csv', line: 10 }])
    expect(rejectedLogins).toMatchObject([{ rule: 'matches(email)', source: 'sc', n: 41 }])
    expect(rejectedLogins![0]!.reason).toContain("email 'the familywilkie@gmail.com' does not match")
    expect(daily).toEqual([{ logins: 1033, days: 128 }])
    expect(visits).toEqual([{ n: 0 }])
    await expect(asText(times!)).toMatchFileSnapshot('users.times.expected.txt')
    expect(last).toEqual([
      { country: 'FR', login_id: '17' },
      { country: 'FR', login_id: '42' },
    ])
    expect(levels).toEqual([
      { country: 'FR', n: 8 },
      { country: 'SC', n: 10 },
      { country: 'UK', n: 8 },
      { country: 'US', n: 6 },
    ])
    await expect(await format(schema, { parser: 'markdown', printWidth: 120 })).toMatchFileSnapshot(
      join(EXAMPLE, 'SCHEMA.md'),
    )
    expectNoPasswords(data)
  })

  test('the remedy of what is in quarantine is a corrected delivery', async () => {
    const data = folder()
    const count = [
      'SELECT count(*)::INTEGER AS n FROM {user_directory}',
      'SELECT count(*)::INTEGER AS n FROM {login_times}',
    ]
    expect((await run(EXAMPLE, data, count)).answers).toEqual([[{ n: 39 }], [{ n: 1033 }]])
    const correct = (text: string) => text.replaceAll('the familywilkie', 'thefamilywilkie')
    const corrected = project({ 'data/SC User Data.csv': correct, 'data/SC-User-LoginTS.csv': correct })
    expect((await run(corrected, data, count)).answers).toEqual([[{ n: 40 }], [{ n: 1074 }]])
  })

  test('what is not understood goes to quarantine with the reason, nothing is guessed', async () => {
    const lines = (text: string) => text.split('\r\n')
    const replace = (line: number, from: string, to: string) => (text: string) => {
      const all = lines(text)
      expect(all[line - 1]).toContain(from)
      all[line - 1] = all[line - 1]!.replace(from, to)
      return all.join('\r\n')
    }
    const changes = [
      replace(2, 'Male', 'M.'),
      replace(3, '22/8/99', '22/8/98'),
      replace(4, '01244 380280', '01244 38'),
      replace(5, '32,500.00', 'plenty'),
      replace(6, 'Wendy', ''),
      replace(7, ',73,', ',,'),
      replace(8, ',2," ', ',nine," '),
      replace(9, ',42', ',"4'),
      replace(10, 'Weaver,', ''),
      replace(11, '14/11/75', '31/11/75'),
    ]
    const directory = project({ 'data/UK User Data.csv': (text) => changes.reduce((t, change) => change(t), text) })
    const data = folder()
    const { answers } = await run(directory, data, [
      "SELECT line::INTEGER AS line, rule, reason FROM {quarantine.users} WHERE source = 'uk' ORDER BY line",
      "SELECT count(*)::INTEGER AS n FROM {users} WHERE country = 'UK'",
    ])
    await expect(asText(answers[0]!)).toMatchFileSnapshot('users.quarantine.expected.txt')
    expect(answers[1]).toEqual([{ n: 0 }])
    expectNoPasswords(data)
  })

  test('a fifth country is one new file', async () => {
    const directory = project()
    const before = filesBelow(directory).length
    writeFileSync(join(directory, 'data/DE Benutzer.csv'), DE_USERS)
    writeFileSync(
      join(directory, 'data/DE Anmeldungen.csv'),
      'Nr;Benutzer;Zeit\n1;anna@example.de;01.07.2025 09:30:00\n',
    )
    writeFileSync(join(directory, 'countries/de.ts'), DE)
    expect(filesBelow(directory).length - before).toBe(3)
    const { answers } = await run(directory, folder(), [
      "SELECT country_name, full_name, birth_date::VARCHAR AS born, gender, phone, mobile, education, education_level, salary::VARCHAR AS salary, logins::INTEGER AS logins, last_login_at::VARCHAR AS utc, last_login_local FROM {user_directory} WHERE country = 'DE'",
      'SELECT count(*)::INTEGER AS n FROM {countries}',
    ])
    expect(answers).toEqual([
      [
        {
          country_name: 'Germany',
          full_name: 'Anna Müller',
          born: '1990-05-01',
          gender: 'female',
          phone: '+493012345678',
          mobile: '+4915112345678',
          education: 'Master',
          education_level: 7,
          salary: '54000.00',
          logins: 1,
          utc: '2025-07-01 07:30:00',
          last_login_local: '2025-07-01T09:30:00+02:00',
        },
      ],
      [{ n: 5 }],
    ])
  })
})

const DE_USERS = `E-Mail;Name;Vorname;Geburtsdatum;Alter;Geschlecht;Ort;Land;PLZ;Telefon;Handy;Abschluss;Gehalt;Kennwort
anna@example.de;Müller;Anna;01.05.90;35;w;Berlin;Berlin;10115;030/12345678;+49 151 12345678;Master;4.500,00 €;geheim
`

const DE = `
import { sql } from 'millrace'
import { country } from '../country.ts'
import { birthDate, choice, educationLevel, phoneNumber, yearly } from '../mapping.ts'

const levels = [{ code: 'Master', name: 'Master', eqf: 7 }]
const delivered = '2025-07-02'
const none = sql\`null\`

export default country({
  code: 'DE', name: 'Germany', iso: 'DE', currency: 'EUR', calling: '+49', phone: /^\\+49[1-9][0-9]{5,11}$/,
  salariesPerYear: 12, delivered, education: { framework: 'DQR', levels },
  users: {
    path: 'data/DE Benutzer.csv', delimiter: ';', nulls: [''], exclude: ['Kennwort'],
    map: {
      email: sql\`lower("E-Mail")\`, first_name: 'Vorname', middle_names: none, last_name: 'Name',
      birth_date: birthDate('Geburtsdatum', '%d.%m.%y', 'Alter', delivered), age_at_delivery: 'Alter',
      gender: choice('Geschlecht', { female: ['w'], male: ['m'], other: ['d'] }),
      favourite_colour: none, favourite_animal: none, favourite_food: none,
      city: 'Ort', region: 'Land', postcode: 'PLZ', time_zone: sql\`'Europe/Berlin'\`,
      phone: phoneNumber('Telefon', '+49', '0'), mobile: phoneNumber('Handy', '+49', '0'),
      education: 'Abschluss', education_level: educationLevel('Abschluss', levels),
      salary: yearly('Gehalt', 12, { sign: '€', group: '.', decimal: ',' }), website_visits: none,
    },
  },
  logins: {
    path: 'data/DE Anmeldungen.csv', delimiter: ';', timestamp: ['%d.%m.%Y %H:%M:%S'], zone: 'Europe/Berlin',
    map: { login_id: 'Nr', email: 'Benutzer', logged_in_at: 'Zeit' },
  },
})
`

/** No password of any user in any file below a directory, compressed log segments included. */
function expectNoPasswords(data: string): void {
  const column = { 'FR User Data.csv': 8, 'SC User Data.csv': 9, 'UK User Data.csv': 9, 'USA User Data.csv': 9 }
  const passwords = Object.entries(column).flatMap(([name, index]) =>
    readFileSync(join(EXAMPLE, 'data', name), 'latin1')
      .split('\r\n')
      .filter((line) => line.includes('@'))
      .map(
        (line) => [...line.matchAll(/("[^"]*"|[^,]*)(?:,|$)/g)].map((match) => match[1]!.replaceAll('"', ''))[index]!,
      ),
  )
  expect(passwords).toHaveLength(40)
  expect(passwords).toContain('YellowTrain7!')
  expect(passwords).toContain('68,cj%L4wALVksu')
  for (const file of filesBelow(data)) {
    const bytes = readFileSync(file)
    const text = (file.endsWith('.zst') ? zstdDecompressSync(bytes) : bytes).toString('latin1')
    for (const password of passwords) expect(text.includes(password), `${password} in ${file}`).toBe(false)
  }
}
