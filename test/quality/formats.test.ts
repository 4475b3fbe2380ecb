import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Database } from '../../src/engine/duckdb/database.ts'
import { source, sql, stream, t } from '../../src/index.ts'
import { type ColumnType, typeName } from '../../src/project/columns.ts'
import type { TextFormats } from '../../src/project/source.ts'
import { canonicalText, typed } from '../../src/quality/typing.ts'
import { Home, query } from '../runtime/home.ts'

const MONEY: ColumnType = { kind: 'decimal', precision: 12, scale: 2 }
const DATE: ColumnType = { kind: 'date' }
const TIMESTAMP: ColumnType = { kind: 'timestamp' }

/** Declared formats, and text with the value it stands for; null where it must not be taken for one. */
const CASES: readonly (readonly [ColumnType, TextFormats, Record<string, string | null>])[] = [
  [
    MONEY,
    { number: { decimal: ',', group: '.', strip: ['€', 'EUR'] } },
    {
      '1.581,00': '1581.00',
      '€ 12,50': '12.50',
      '12,50 EUR': '12.50',
      '12.345.678,9': '12345678.90',
      '-1.000': '-1000.00',
      '1581': '1581.00',
      '0,005': null,
      // Written for another locale: to read on would be wrong by a factor of ten or a thousand.
      '1.5': null,
      '1,581.00': null,
      '1581.00': null,
      '.5': null,
      '12,345': null,
      EUR: null,
      '1,2,3': null,
    },
  ],
  [MONEY, { number: { decimal: ',' } }, { '1,5': '1.50', '15': '15.00', '1.5': null, '1.500': null }],
  [
    MONEY,
    { number: { group: ',' } },
    { '1,000.50': '1000.50', '12,34,567.10': '1234567.10', '1,5': null, '1.000,50': null, '1,0000': null },
  ],
  [MONEY, { number: { group: ' ' } }, { '1 000.5': '1000.50', '1 00': null }],
  [MONEY, { number: { group: "'" } }, { "1'000.5": '1000.50' }],
  [MONEY, { number: { strip: ['$', '^', '.-'] } }, { '$1.50': '1.50', '5.-': '5.00', '$1,50': null }],
  [{ kind: 'int' }, { number: { group: ',' } }, { '1,000': '1000', '7': '7', '1,00': null, '1,000.5': null }],
  [{ kind: 'double' }, { number: { decimal: ',' } }, { '1,5e3': '1500.0', '-0,25': '-0.25', '1.5': null }],
  [
    DATE,
    { date: ['%d/%m/%Y', '%Y.%m.%d', '%d %B %Y'] },
    {
      '31/01/2026': '2026-01-31',
      '2026.01.31': '2026-01-31',
      '31 January 2026': '2026-01-31',
      '1/2/2026': '2026-02-01',
      '31/02/2026': null,
      '01/31/2026': null,
      '2026-01-31': null,
      '31/01/2026 10:00': null,
      infinity: null,
      epoch: null,
      '': null,
    },
  ],
  [DATE, {}, { '2026-01-31': '2026-01-31', '31/01/2026': null }],
  [
    TIMESTAMP,
    { timestamp: ['%d/%m/%Y %H:%M'] },
    {
      '31/01/2026 12:30': '2026-01-31 12:30:00',
      '31/01/2026 25:30': null,
      '2026-01-31T12:30:00Z': null,
      infinity: null,
    },
  ],
  [
    TIMESTAMP,
    { timestamp: ['%d/%m/%Y %H:%M %z', '%d/%m/%Y %H:%M'], zone: 'Europe/Berlin' },
    {
      '31/01/2026 12:30': '2026-01-31 11:30:00',
      '31/07/2026 12:30': '2026-07-31 10:30:00',
      '31/01/2026 12:30 +0500': '2026-01-31 07:30:00',
      soon: null,
    },
  ],
  [
    TIMESTAMP,
    { zone: 'Europe/Berlin' },
    {
      '2026-01-31T12:00:00': '2026-01-31 11:00:00',
      '2026-07-31 12:00:00.5': '2026-07-31 10:00:00.5',
      '2026-01-31': '2026-01-30 23:00:00',
      // An offset of its own goes before the declared zone.
      '2026-01-31T12:00:00+05:00': '2026-01-31 07:00:00',
      '2026-01-31T12:00:00Z': '2026-01-31 12:00:00',
      '2026-01-31T12:00:00.1234567': null,
      '  infinity': null,
    },
  ],
  [
    TIMESTAMP,
    { timestamp: 'epoch-seconds' },
    {
      '1769860800': '2026-01-31 12:00:00',
      '1769860800.5': '2026-01-31 12:00:00.5',
      '1.7698608e9': '2026-01-31 12:00:00',
      '-1': '1969-12-31 23:59:59',
      '1769860800.1234567': null,
      '99999999999999999999': null,
      '9e99': null,
      '2026-01-31T12:00:00Z': null,
    },
  ],
  [
    TIMESTAMP,
    { timestamp: 'epoch-milliseconds' },
    {
      '1769860800123': '2026-01-31 12:00:00.123',
      '1769860800123.456': '2026-01-31 12:00:00.123456',
      '1769860800123.4567': null,
    },
  ],
]

describe('declared formats of text', () => {
  test.each(CASES)('%j %j', async (type, formats, texts) => {
    const database = await Database.open({ threads: 1, memory: 2 ** 28, temporary: '/nonexistent' })
    try {
      for (const [text, expected] of Object.entries(texts)) {
        const canonical = canonicalText('x', type, formats)
        const from = `(SELECT '${text.replaceAll("'", "''")}' AS x)`
        const [row] = await database.rows(
          `SELECT y, (${typed('y', type)})::VARCHAR AS value FROM (SELECT ${canonical} AS y FROM ${from})`,
        )
        expect(row!['value'], `${typeName(type)} from '${text}'`).toBe(expected)
        // What cannot be read stays text: a nullable column must not take it for missing.
        expect(row!['y']).not.toBeNull()
      }
      const [missing] = await database.rows(
        `SELECT ${canonicalText('x', type, formats)} AS y FROM (SELECT NULL::VARCHAR AS x)`,
      )
      expect(missing!['y']).toBeNull()
    } finally {
      await database.close()
    }
  })
})

const people = stream('people', {
  columns: {
    name: t.string(),
    born: t.date().nullable(),
    salary: t.decimal(12, 2).nullable(),
    seen: t.timestamp().nullable(),
    age: t.int().nullable(),
    tags: t.list(t.string()).nullable(),
    extra: t.json().nullable(),
    note: t.string().nullable(),
  },
  source: [
    source.files({
      name: 'fr',
      path: 'fr/*.csv',
      delimiter: ';',
      nulls: ['', '-', 'vide'],
      number: { decimal: ',', group: '.', strip: ['€'] },
      date: ['%d/%m/%Y'],
      timestamp: ['%d/%m/%Y %Hh%M'],
      zone: 'Europe/Paris',
      map: {
        name: 'Nom',
        born: 'Né le',
        salary: 'Salaire',
        seen: 'Vu',
        age: sql`"Âge"::INTEGER`,
        tags: sql`string_split("Mots", '|')`,
        extra: 'JSON',
        note: sql`lower("Note")`,
      },
    }),
    source.files({ name: 'ndjson', path: 'nd/*.ndjson', map: { name: 'who' } }),
  ],
})

test('files of two sources: formats, nulls, mappings; what does not fit goes to quarantine with place and reason', async () => {
  const home = await Home.make()
  await mkdir(join(home.directory, 'fr'), { recursive: true })
  await mkdir(join(home.directory, 'nd'), { recursive: true })
  const header = 'Nom;Né le;Salaire;Vu;Âge;Mots;JSON;Note'
  const lines = [
    'Adèle;31/01/1990;1.581,00 €;02/07/2026 10h30;36;a|b;{"x":[1]};OUI',
    'Bruno;-;vide;;;;;',
    'Chloé;1990-01-31;;;;;;',
    'Denis;;1,581.00;;;;;',
    'Élise;;;31/02/2026 10h00;;;;',
    'Farid;;;;trente;;;',
    'Gaël;;;;;;{broken;',
    ';;;;;;;',
  ]
  await writeFile(join(home.directory, 'fr', 'x.csv'), `${[header, ...lines].join('\r\n')}\r\n`)
  await writeFile(
    join(home.directory, 'nd', 'y.ndjson'),
    [
      '{"who":"Zoe","tags":["x"],"extra":{"deep":[1.5,null]},"salary":"12345678.90"}',
      '{"who":"Yan","tags":"x"}',
      '{"who":"Xia","salary":1.005}',
    ].join('\n'),
  )
  const runtime = await home.open([people])
  await runtime.settle()
  expect(
    await query(
      runtime,
      `SELECT name, born, salary::VARCHAR AS salary, seen, age, tags, extra, note FROM {people} ORDER BY name`,
    ),
  ).toEqual([
    {
      name: 'Adèle',
      born: '1990-01-31',
      salary: '1581.00',
      seen: '2026-07-02 08:30:00',
      age: 36,
      tags: ['a', 'b'],
      extra: '{"x":[1]}',
      note: 'oui',
    },
    { name: 'Bruno', born: null, salary: null, seen: null, age: null, tags: null, extra: null, note: null },
    {
      name: 'Zoe',
      born: null,
      salary: '12345678.90',
      seen: null,
      age: null,
      tags: ['x'],
      extra: '{"deep":[1.5,null]}',
      note: null,
    },
  ])
  expect(
    await query(runtime, `SELECT source, file, line, rule, reason FROM {quarantine.people} ORDER BY file, line`),
  ).toEqual(
    [
      ['fr', 'fr/x.csv', 4, 'type(born)', "born '1990-01-31' is not in a format declared for its source"],
      ['fr', 'fr/x.csv', 5, 'type(salary)', "salary '1,581.00' is not in a format declared for its source"],
      ['fr', 'fr/x.csv', 6, 'type(seen)', "seen '31/02/2026 10h00' is not in a format declared for its source"],
      ['fr', 'fr/x.csv', 7, 'map', 'the mapping of age fails'],
      ['fr', 'fr/x.csv', 8, 'type(extra)', "extra '{broken' is not a valid json"],
      ['fr', 'fr/x.csv', 9, 'not_null(name)', 'name is missing'],
      ['ndjson', 'nd/y.ndjson', 2, 'type(tags)', `tags '"x"' is not a valid list`],
      ['ndjson', 'nd/y.ndjson', 3, 'type(salary)', "salary '1.005' is not a valid decimal(12, 2)"],
    ].map(([name, file, line, rule, reason]) => ({ source: name, file, line: String(line), rule, reason })),
  )
  const { received, accepted, duplicates, quarantined } = runtime.stream('people').counts
  expect({ received, accepted, duplicates, quarantined }).toEqual({
    received: 11,
    accepted: 3,
    duplicates: 0,
    quarantined: 8,
  })
})
