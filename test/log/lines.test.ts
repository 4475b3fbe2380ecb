import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { RecordLines } from '../../src/log/lines.ts'
import { defaultLineLimits, jsonLines, ndjsonLines } from '../../src/log/lines.ts'

const textOf = ({ lines }: RecordLines): string => Buffer.concat(lines).toString()
const linesOf = (given: RecordLines): string[] => textOf(given).split('\n').slice(0, -1)

describe('ndjsonLines', () => {
  test('a clean body is returned without a copy', () => {
    const body = Buffer.from('{"a":1}\n{"a":2}\n')
    const { lines, records } = ndjsonLines(body)
    expect(records).toBe(2)
    expect(lines[0]).toBe(body)
  })

  test('a missing last newline costs no copy', () => {
    const body = Buffer.from('{"a":1}\n{"a":2}')
    const given = ndjsonLines(body)
    expect(given.lines[0]).toBe(body)
    expect(textOf(given)).toBe('{"a":1}\n{"a":2}\n')
  })

  test.each([
    ['CRLF', '{"a":1}\r\n{"a":2}\r\n', ['{"a":1}', '{"a":2}']],
    ['CR at the end of the body', '{"a":1}\r\n{"a":2}\r', ['{"a":1}', '{"a":2}']],
    ['blank lines', '\n\n{"a":1}\n \t\n\r\n{"a":2}\n\n', ['{"a":1}', '{"a":2}']],
    ['a byte order mark', '\ufeff{"a":1}\n', ['{"a":1}']],
    ['a line that is not JSON', 'oops\n{"a":1}\n', ['oops', '{"a":1}']],
    ['a carriage return within a line', '{"a":\r1}\n', ['{"a":\r1}']],
    ['nothing', '', []],
    ['only blanks', ' \n\n', []],
    ['only a byte order mark', '\ufeff', []],
  ])('%s', (_, body, expected) => {
    const given = ndjsonLines(Buffer.from(body))
    expect(linesOf(given)).toEqual(expected)
    expect(given.records).toBe(expected.length)
  })

  test('any mixture of line ends and blank lines gives the lines that are not blank', () => {
    const line = fc.oneof(fc.constantFrom('', ' ', '\t', '{"a":1}', 'x', '  [1] '), fc.json({ noUnicodeString: false }))
    fc.assert(
      fc.property(fc.array(fc.tuple(line, fc.constantFrom('\n', '\r\n'))), fc.boolean(), (parts, endsOpen) => {
        const body = parts.map(([text, end], i) => (endsOpen && i === parts.length - 1 ? text : text + end)).join('')
        const expected = parts.map(([text]) => text).filter((text) => text.trim() !== '')
        const given = ndjsonLines(Buffer.from(body))
        expect(linesOf(given)).toEqual(expected)
        expect(given.records).toBe(expected.length)
      }),
    )
  })

  test('a record over the limit is named', () => {
    const body = Buffer.from(`{"a":1}\n{"a":"${'x'.repeat(100)}"}\n`)
    expect(() => ndjsonLines(body, { ...defaultLineLimits, recordBytes: 50 })).toThrow(
      'Record 2 has 108 bytes; the limit is 50.',
    )
  })

  test('bytes that are not UTF-8 are named', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary' }),
        fc.string({ unit: 'binary' }),
        fc.constantFrom([0xff], [0xc3], [0xe2, 0x82], [0xed, 0xa0, 0x80]),
        (before, after, bad) => {
          const start = Buffer.from(before)
          const body = Buffer.concat([start, Buffer.from(bad), Buffer.from('A'), Buffer.from(after)])
          expect(() => ndjsonLines(body)).toThrow(`byte ${start.length} is wrong`)
        },
      ),
    )
  })
})

/** JSON text of a value with white space wherever it may be. */
function loosely(value: unknown, space: () => string): string {
  if (Array.isArray(value))
    return `[${space()}${value.map((v) => loosely(v, space)).join(`${space()},${space()}`)}${space()}]`
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).map(
      ([k, v]) => `${JSON.stringify(k)}${space()}:${space()}${loosely(v, space)}`,
    )
    return `{${space()}${members.join(`${space()},${space()}`)}${space()}}`
  }
  return JSON.stringify(value)
}

describe('jsonLines', () => {
  test('elements keep their bytes', () => {
    const given = jsonLines(
      Buffer.from('[{"n":12345678901234567890, "d":1.10},\r\n {"s":"a,]}\\"\\\\"} , 1e400,"x" ]\n'),
    )
    expect(linesOf(given)).toEqual(['{"n":12345678901234567890, "d":1.10}', '{"s":"a,]}\\"\\\\"}', '1e400', '"x"'])
    expect(given.records).toBe(4)
  })

  test('line breaks between tokens become spaces', () => {
    expect(linesOf(jsonLines(Buffer.from('[{\n  "a": 1\r\n}]')))).toEqual(['{   "a": 1  }'])
  })

  test.each([
    ['[]', []],
    [' [ ] ', []],
    ['{"a":\n1}', ['{"a": 1}']],
    ['\ufeff[1]', ['1']],
  ])('%j', (body, expected) => {
    expect(linesOf(jsonLines(Buffer.from(body)))).toEqual(expected)
  })

  test.each([
    ['', 'byte 0: expected a value, the body ends'],
    ['[', 'byte 1: expected a value, the body ends'],
    ['[1', "byte 2: expected ',' or ']', the body ends"],
    ['[1,', 'byte 3: expected a value, the body ends'],
    ['[1,]', 'byte 3: expected a value, found "]"'],
    ['[,1]', 'byte 1: expected a value, found ","'],
    ['[1,,2]', 'byte 3: expected a value, found ","'],
    ['[1 2]', "byte 3: expected ',' or ']', found \"2\""],
    ['[{"a":1}{"a":2}]', "byte 8: expected ',' or ']', found \"{\""],
    ['[{"a":1]]', 'byte 7: expected \'}\', found "]"'],
    ['[{"a":1}', "byte 8: expected ',' or ']', the body ends"],
    ['[{"a":[1}', 'byte 8: expected \']\', found "}"'],
    ['[{"a', 'byte 4: expected the end of the string that begins at byte 2, the body ends'],
    ['["a\nb"]', 'byte 3: expected no control character within a string, found "\\n"'],
    ['[1] x', 'byte 4: expected the end of the body, found "x"'],
    ['[1][2]', 'byte 3: expected the end of the body, found "["'],
    ['{"a":1}\n{"a":2}', 'byte 8: expected the end of the body, found "{"'],
    ['\ufeff[1,]', 'byte 6: expected a value, found "]"'],
  ])('%j is refused at its byte', (body, message) => {
    expect(() => jsonLines(Buffer.from(body))).toThrow(`The body is not valid JSON: ${message}`)
  })

  test('nesting has a limit', () => {
    const deep = (depth: number): Buffer => Buffer.from(`[${'['.repeat(depth)}${']'.repeat(depth)}]`)
    expect(jsonLines(deep(512)).records).toBe(1)
    expect(() => jsonLines(deep(513))).toThrow('byte 513: more than 512 arrays and objects within each other')
    expect(() => jsonLines(Buffer.from('['.repeat(1_000_000)))).toThrow('more than 512')
  })

  test('a record over the limit is named', () => {
    expect(() => jsonLines(Buffer.from('[1,22,333]'), { ...defaultLineLimits, recordBytes: 2 })).toThrow(
      'Record 3 has 3 bytes',
    )
  })

  test('any array, spaced in any way, gives its elements', () => {
    fc.assert(
      fc.property(
        fc.array(fc.jsonValue()),
        fc.array(fc.constantFrom('', ' ', '\n', '\r\n', '\t'), { minLength: 1 }),
        (values, spaces) => {
          let next = 0
          const body = loosely(values, () => spaces[next++ % spaces.length]!)
          const given = jsonLines(Buffer.from(body))
          expect(given.records).toBe(values.length)
          expect(linesOf(given).map((line) => JSON.parse(line))).toEqual(JSON.parse(body))
        },
      ),
    )
  })

  test('what JSON.parse takes is taken alike, however the text was damaged', () => {
    const damage = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      remove: fc.nat(2),
      insert: fc.constantFrom('', '"', '[', ']', '{', '}', ',', '\\', '\n', ' ', '1'),
    })
    fc.assert(
      fc.property(fc.array(fc.jsonValue({ maxDepth: 3 })), damage, (values, { at, remove, insert }) => {
        const whole = JSON.stringify(values)
        const cut = Math.floor(at * whole.length)
        const body = whole.slice(0, cut) + insert + whole.slice(cut + remove)
        let expected: unknown
        try {
          expected = JSON.parse(body)
        } catch {
          return
        }
        const elements = Array.isArray(expected) ? expected : [expected]
        expect(linesOf(jsonLines(Buffer.from(body))).map((line) => JSON.parse(line))).toEqual(elements)
      }),
      { numRuns: 1_000 },
    )
  })
})
