import { parse } from 'csv-parse/sync'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { failure, fieldsOf, folder, put, records } from './support.ts'

const BREAKS = ['\n', '\r\n', '\r']

/** A table of any text, written as CSV: everything that must be quoted is, the rest at random. */
const written = fc
  .record({
    delimiter: fc.constantFrom(',', ';', '\t', '|', ' ', 'x'),
    quote: fc.constantFrom('"', "'"),
    breaks: fc.array(fc.constantFrom(...BREAKS), { minLength: 1, maxLength: 4 }),
    width: fc.integer({ min: 1, max: 5 }),
    endBreak: fc.boolean(),
    quoted: fc.array(fc.boolean(), { minLength: 1, maxLength: 7 }),
  })
  .chain((shape) => {
    const text = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 12 }),
      fc.string({
        unit: fc.constantFrom(
          'a',
          ' ',
          '"',
          "'",
          ',',
          ';',
          '\n',
          '\r',
          '\r\n',
          '\t',
          '|',
          'é',
          '😀',
          '\ufeff',
          '\u0000',
          '\\',
        ),
        maxLength: 8,
      }),
    )
    return fc.record({
      shape: fc.constant(shape),
      rows: fc.array(fc.array(text, { minLength: shape.width, maxLength: shape.width }), {
        minLength: 1,
        maxLength: 12,
      }),
    })
  })
  .map(({ shape, rows }) => {
    const { delimiter, quote, breaks, quoted } = shape
    let cells = 0
    const cell = (value: string) => {
      const must =
        value === '' || value.trim() !== value || [delimiter, quote, '\n', '\r'].some((c) => value.includes(c))
      return must || quoted[cells++ % quoted.length]
        ? `${quote}${value.replaceAll(quote, quote + quote)}${quote}`
        : value
    }
    let csv = ''
    let line = 1
    const lines = rows.map((row, i) => {
      const text = row.map(cell).join(delimiter)
      const separator = i === rows.length - 1 && !shape.endBreak ? '' : breaks[i % breaks.length]!
      const start = line
      line += (text + separator).match(/\r\n|\n|\r/g)?.length ?? 0
      csv += text + separator
      return start
    })
    return { csv, rows, lines, delimiter, quote }
  })

/** Pieces the reading code sees: a reader of tiny chunks must find the same records. */
async function inPieces(csv: string, options: Parameters<typeof records>[1], size: number) {
  const directory = folder()
  put(directory, 'a.csv', csv)
  const { systemDisk } = await import('../../src/storage/disk.ts')
  const disk = {
    ...systemDisk,
    open: async (...args: Parameters<typeof systemDisk.open>) => {
      const file = await systemDisk.open(...args)
      return { ...file, read: (position: number, length: number) => file.read(position, Math.min(length, size)) }
    },
  }
  return records(directory, options, { disk })
}

describe('CSV', () => {
  test('what is written is read back, with the line each record begins on, however the file is cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        written,
        fc.integer({ min: 1, max: 40 }),
        async ({ csv, rows, lines, delimiter, quote }, size) => {
          const found = await inPieces(csv, { path: '*.csv', delimiter, quote, header: false, trim: false }, size)
          // A file that begins with U+FEFF begins with a byte-order mark.
          const expected = rows.map((row, r) =>
            row.map((v, i) => (r === 0 && i === 0 && csv.startsWith('\ufeff') ? v.slice(1) : v)),
          )
          expect(found.map((record) => Object.values(fieldsOf(record)))).toEqual(expected)
          expect(found.map((record) => record.$line)).toEqual(lines)
        },
      ),
      { numRuns: 300 },
    )
  })

  test('another reader finds the same values', async () => {
    await fc.assert(
      fc.asyncProperty(written, async ({ csv, delimiter, quote }) => {
        const found = await inPieces(csv, { path: '*.csv', delimiter, quote, header: false, trim: false }, 1 << 20)
        const theirs = parse(csv, {
          delimiter,
          quote,
          escape: quote,
          bom: true,
          record_delimiter: ['\r\n', '\n', '\r'],
        })
        expect(found.map((record) => Object.values(fieldsOf(record)))).toEqual(theirs)
      }),
      { numRuns: 200 },
    )
  })

  test('any text at all is framed without an error, nothing of it twice', async () => {
    const unit = fc.constantFrom('a', '"', ',', '\n', '\r', ' ', '""', '",', '"\n')
    await fc.assert(
      fc.asyncProperty(fc.string({ unit, maxLength: 60 }), fc.integer({ min: 1, max: 9 }), async (csv, size) => {
        const options = { path: '*.csv', header: ['a', 'b'] }
        const whole = await inPieces(csv, options, 1 << 20)
        expect(await inPieces(csv, options, size)).toEqual(whole)
        const lines = whole.map((record) => record.$line as number)
        expect(lines).toEqual([...new Set(lines)].toSorted((x, y) => x - y))
      }),
      { numRuns: 500 },
    )
  })

  test('values are trimmed, quoted ones too; empty ones stay', async () => {
    const directory = folder()
    put(directory, 'a.csv', 'a, b ,c\n  x ," y\u00a0", \n"",,"  "\n')
    expect((await records(directory, { path: 'a.csv' })).map(fieldsOf)).toEqual([
      { a: 'x', b: 'y', c: '' },
      { a: '', b: '', c: '' },
    ])
  })

  test('field names: line breaks, marks, white space, doubles, emptiness, dollars', async () => {
    const directory = folder()
    put(directory, 'a.csv', '\ufeff"\nÂge  dernier\r\n anniversaire",\ufeffName ,name, ,$line,"Na""me"\n1,2,3,4,5,6\n')
    expect(await records(directory, { path: 'a.csv' })).toEqual([
      {
        $source: 's',
        $file: 'a.csv',
        $line: 4,
        'Âge dernier anniversaire': '1',
        Name: '2',
        name_2: '3',
        column_4: '4',
        _$line: '5',
        'Na"me': '6',
      },
    ])
  })

  test('header: names, or none', async () => {
    const directory = folder()
    put(directory, 'a.csv', '1,2\n3,4')
    expect((await records(directory, { path: 'a.csv', header: ['x', 'y'] })).map(fieldsOf)).toEqual([
      { x: '1', y: '2' },
      { x: '3', y: '4' },
    ])
    expect((await records(directory, { path: 'a.csv', header: false })).map(fieldsOf)).toEqual([
      { column_1: '1', column_2: '2' },
      { column_1: '3', column_2: '4' },
    ])
  })

  test('quote: null takes quotes as they are; tabs delimit .tsv', async () => {
    const directory = folder()
    put(directory, 'a.tsv', 'a\tb\n5" pipe\t"x"\n"\t\n')
    expect((await records(directory, { path: '*.tsv', quote: null })).map(fieldsOf)).toEqual([
      { a: '5" pipe', b: '"x"' },
      { a: '"', b: '' },
    ])
  })

  test('a record that does not fit is rejected alone, with line, reason and text', async () => {
    const directory = folder()
    put(directory, 'a.csv', 'a,b\r\n1,2\r\n\r\n3\r\n"4\n4",5,6\r\n7,8\r\n"9" x,10\r\n11,"12\r\n13,14\r\n')
    const position = { $source: 's', $file: 'a.csv' }
    expect(await records(directory, { path: 'a.csv' })).toEqual([
      { ...position, $line: 2, a: '1', b: '2' },
      { ...position, $line: 4, $reject: '2 columns are expected, found 1', $raw: '3' },
      { ...position, $line: 5, $reject: '2 columns are expected, found 3', $raw: '"4\n4",5,6' },
      { ...position, $line: 7, a: '7', b: '8' },
      { ...position, $line: 8, $reject: 'a quoted value goes on after its closing quote', $raw: '"9" x,10' },
      { ...position, $line: 9, $reject: 'a quoted value opens on this line and never closes', $raw: '11,"12' },
      { ...position, $line: 10, a: '13', b: '14' },
    ])
  })

  test('records larger than the limit are rejected, what follows is read', async () => {
    const directory = folder()
    const long = 'x'.repeat(300_000)
    put(directory, 'a.csv', `a,b\n1,${long}\r\n2,"${'\n'.repeat(5)}${long}\n3,4\n5,${long}`)
    const found = await records(directory, { path: 'a.csv' }, { recordLimit: 100_000 })
    expect(found.map(({ $line, $reject, a }) => $reject ?? [$line, a])).toEqual([
      'the record is larger than 100000 bytes',
      'a quoted value opens on this line and does not close within 100000 bytes',
      'the record is larger than 100000 bytes',
      [9, '3'],
      'the record is larger than 100000 bytes',
    ])
    expect(found.every(({ $raw }) => $raw === undefined || Buffer.byteLength($raw as string) <= 65_536)).toBe(true)
  })

  test('excluded fields never appear, nor does the text of a rejected record', async () => {
    const directory = folder()
    put(directory, 'a.csv', 'User,Password,password ,x\nann,hunter2,hunter3,1\nbob,hunter4\n"hunter5\n')
    const found = await records(directory, { path: 'a.csv', exclude: ['PASSWORD'] })
    expect(JSON.stringify(found)).not.toContain('hunter')
    expect(found.map(fieldsOf)).toEqual([
      { User: 'ann', x: '1' },
      { $reject: '4 columns are expected, found 2 (the text is withheld: this source excludes fields)' },
      {
        $reject:
          'a quoted value opens on this line and never closes (the text is withheld: this source excludes fields)',
      },
    ])
  })

  test('field names that another delimiter separates are told before a record is read', async () => {
    const directory = folder()
    put(directory, 'a.csv', '\n id;name;n\n1;x;2\n')
    expect(await failure(records(directory, { path: 'a.csv' }))).toMatchObject({
      kind: 'invalid',
      code: 'bad-header',
      message: "a.csv, line 2: the field names are not separated: ' id;name;n'.",
      hint: `Declare delimiter: ";" for source 's', if that is what separates them; put the name in quotes if it is one.`,
    })
    put(directory, 'b.csv', '"last; first"\nAda\n')
    expect((await records(directory, { path: 'b.csv' })).map(fieldsOf)).toEqual([{ 'last; first': 'Ada' }])
  })

  test('delimiter and quote must be usable', async () => {
    const directory = folder()
    put(directory, 'a.csv', 'a\n')
    for (const dialect of [
      { delimiter: '' },
      { delimiter: '::' },
      { delimiter: '\n' },
      { quote: ',' },
      { quote: ' ' },
    ]) {
      expect(await failure(records(directory, { path: 'a.csv', ...dialect }))).toMatchObject({
        kind: 'invalid',
        code: 'bad-source',
      })
    }
  })

  test('files without a readable line of field names', async () => {
    const directory = folder()
    put(directory, 'a.csv', '')
    expect((await failure(records(directory, { path: 'a.csv' }))).message).toBe(
      'a.csv, line 1: the file is empty, but field names are expected.',
    )
    put(directory, 'a.csv', '\n\n"a,b\n1,2\n')
    expect((await failure(records(directory, { path: 'a.csv' }))).message).toBe(
      'a.csv, line 3: the field names cannot be read: a quoted value opens on this line and never closes.',
    )
    put(directory, 'a.csv', 'a,b\n')
    expect(await records(directory, { path: 'a.csv' })).toEqual([])
  })
})
