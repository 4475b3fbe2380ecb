import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { scanFiles } from '../../src/connectors/files.ts'
import { source } from '../../src/project/source.ts'
import { systemDisk } from '../../src/storage/disk.ts'
import { failure, fieldsOf, folder, linesOf, put, records } from './support.ts'

/** Reads with a disk that hands out a few bytes at a time. */
const piecemeal = (size: number): typeof systemDisk => ({
  ...systemDisk,
  open: async (...args) => {
    const file = await systemDisk.open(...args)
    return { ...file, read: (position, length) => file.read(position, Math.min(length, size)) }
  },
})

async function lines(name: string, content: string, options = {}): Promise<string[]> {
  const directory = folder()
  put(directory, name, content)
  const declared = source.files({ name: 's', path: name, ...options })
  return linesOf(declared, (await scanFiles(declared, directory))[0]!)
}

const objects = fc.array(
  fc
    .dictionary(
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 5 }).filter((key) => /^[\p{L}]+$/u.test(key)),
      fc.jsonValue({ maxDepth: 3 }),
      { maxKeys: 4 },
    )
    .map(uniqueKeys),
  { maxLength: 8 },
)

/** Names that differ in case only count as one field. */
function uniqueKeys(object: Record<string, unknown>): Record<string, unknown> {
  const seen = new Set<string>()
  return Object.fromEntries(
    Object.entries(object).filter(([key]) => !seen.has(key.toLowerCase()) && seen.add(key.toLowerCase())),
  )
}

describe('JSON', () => {
  test('every digit is kept, nested values too', async () => {
    const inside =
      '"id":9223372036854775807,"price":1.10,"big":1234567890123456789.123456789,"e":1E400,"n":{"a":[1.50,-0.0,{"b":18446744073709551615}]}'
    for (const [name, content] of [
      ['a.ndjson', `{ ${inside} }\r\n`],
      ['a.jsonl', `{${inside}}`],
      ['a.json', `[{${inside}}]`],
    ] as const) {
      expect(await lines(name, content)).toEqual([`{"$source":"s","$file":"${name}","$line":1,${inside}}`])
    }
  })

  test('what is written is read back, as lines and as documents, however the file is cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        objects,
        fc.integer({ min: 1, max: 30 }),
        fc.constantFrom(0, 2),
        async (values, size, indent) => {
          const directory = folder()
          put(directory, 'a.ndjson', values.map((value) => `${JSON.stringify(value)}\n`).join(''))
          put(directory, 'b.json', JSON.stringify(values, undefined, indent))
          put(
            directory,
            'c.json',
            values.map((value) => JSON.stringify(value, undefined, indent)).join(indent === 0 ? '' : '\n'),
          )
          const expected = JSON.parse(JSON.stringify(values)) as unknown[]
          for (const path of ['a.ndjson', 'b.json', 'c.json']) {
            expect((await records(directory, { path }, { disk: piecemeal(size) })).map(fieldsOf)).toEqual(expected)
          }
        },
      ),
      { numRuns: 150 },
    )
  })

  test('lines that are no object are rejected, blank ones are none', async () => {
    const directory = folder()
    put(directory, 'a.ndjson', '{"a":1}\n\n{"a":\n[1]\n  \n"x"\n{"a":2}{}\n{"a":3}')
    expect(
      (await records(directory, { path: 'a.ndjson' })).map(({ $line, a, $reject, $raw }) => [
        $line,
        a ?? $reject,
        $raw,
      ]),
    ).toEqual([
      [1, 1, undefined],
      [3, 'malformed JSON', '{"a":'],
      [4, 'a JSON object is expected', '[1]'],
      [6, 'a JSON object is expected', '"x"'],
      [7, 'malformed JSON at character 8', '{"a":2}{}'],
      [8, 3, undefined],
    ])
  })

  test('a document: lines of its objects, rejects within it', async () => {
    const directory = folder()
    put(
      directory,
      'a.json',
      '\ufeff[\n  {"a": {\n  "b": "]}\\"\\\\"}},\n\n  {"a" 1}, 7, "s\\"[", null,\n  [ {} ],\n {"a":\n2\n}\n]\n',
    )
    expect(
      (await records(directory, { path: 'a.json' })).map(({ $line, a, $reject }) => [$line, a ?? $reject]),
    ).toEqual([
      [2, { b: ']}"\\' }],
      [5, 'malformed JSON at character 6'],
      [5, 'a JSON object is expected'],
      [5, 'a JSON object is expected'],
      [5, 'a JSON object is expected'],
      [6, 'a JSON object is expected'],
      [7, 2],
    ])
  })

  test('a document that is not whole is an error with the line', async () => {
    const directory = folder()
    const messages: [string, string][] = [
      ['[{"a":1},\n{"a":', 'line 2: the document ends too early; the file is not complete.'],
      ['[{"a":1},\n', 'line 2: the document ends too early; the file is not complete.'],
      ['<html>', 'line 1: this is not a JSON array of objects.'],
      ['[{"a":1}\n{"a":2}]', 'line 2: a comma is missing between two values.'],
      ['[{"a":1},,{"a":2}]', 'line 1: a comma stands where a value is expected.'],
      ['{"a":1}]', "line 1: ']' stands where no array is open."],
    ]
    for (const [content, message] of messages) {
      put(directory, 'a.json', content)
      const error = await failure(records(directory, { path: 'a.json' }))
      expect([error.kind, error.code, error.message]).toEqual(['invalid', 'bad-json', `a.json, ${message}`])
    }
    put(directory, 'a.json', '')
    expect(await records(directory, { path: 'a.json' })).toEqual([])
  })

  test('field names are cleaned and told apart; excluded ones never appear', async () => {
    const content = '{" a  b ":1,"$line":2,"A b":3,"Password":"hunter1","x":{"y":1},"password":"hunter2"}'
    expect(await lines('a.ndjson', `${content}\n{"password":"hunter3",}`, { exclude: ['password'] })).toEqual([
      '{"$source":"s","$file":"a.ndjson","$line":1,"a b":1,"_$line":2,"A b_2":3,"x":{"y":1}}',
      '{"$source":"s","$file":"a.ndjson","$line":2,"$reject":"malformed JSON at character 23 (the text is withheld: this source excludes fields)"}',
    ])
    expect(await lines('a.json', '{}')).toEqual(['{"$source":"s","$file":"a.json","$line":1}'])
  })

  test('invalid bytes and records too large are rejected, what follows is read', async () => {
    const directory = folder()
    const long = `{"a":"${'x'.repeat(300_000)}","b":[1,\n{}]}`
    put(
      directory,
      'a.ndjson',
      Buffer.concat([
        Buffer.from('{"a":"'),
        Buffer.from([0xff]),
        Buffer.from(`"}\n${long.replace('\n', '')}\n{"a":1}`),
      ]),
    )
    put(directory, 'b.json', `[{"a":0},${long},{"a":1}]`)
    const limit = { recordLimit: 100_000 }
    expect(
      (await records(directory, { path: 'a.ndjson' }, limit)).map(({ $line, a, $reject }) => [$line, a ?? $reject]),
    ).toEqual([
      [1, 'bytes that are not valid utf-8'],
      [2, 'the record is larger than 100000 bytes'],
      [3, 1],
    ])
    expect(
      (await records(directory, { path: 'b.json' }, limit)).map(({ $line, a, $reject }) => [$line, a ?? $reject]),
    ).toEqual([
      [1, 0],
      [1, 'the record is larger than 100000 bytes'],
      [2, 1],
    ])
  })
})
