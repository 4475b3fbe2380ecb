import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TextReader } from '../../src/connectors/files/text.ts'
import { failure, fieldsOf, folder, put, records } from './support.ts'

const bytes = (...values: number[]) => Uint8Array.from(values)
const utf8 = (text: string) => new TextEncoder().encode(text)
const join = (...parts: Uint8Array[]) => Buffer.concat(parts)
const utf16 = (text: string, big = false) =>
  big ? Buffer.from(text, 'utf16le').swap16() : Buffer.from(text, 'utf16le')

async function read(content: Uint8Array, encoding?: string) {
  const directory = folder()
  put(directory, 'a.csv', content)
  return (await records(directory, { path: 'a.csv', ...(encoding === undefined ? {} : { encoding }) })).map(fieldsOf)
}

function decode(label: string, content: Uint8Array, size: number): string {
  const reader = new TextReader(label, 'here')
  let text = ''
  for (let at = 0; at < content.length; at += size) text += reader.push(content.subarray(at, at + size))
  return text + reader.end()
}

describe('encodings', () => {
  test('windows-1252: bytes 80 to 9F are its own signs', async () => {
    const content = join(utf8('salaire,nom\n'), bytes(0x80), utf8(' 5,'), bytes(0x8c, 0xe9, 0x0a))
    expect(await read(content, 'windows-1252')).toEqual([{ salaire: '€ 5', nom: 'Œé' }])
    expect(await read(content, 'latin1')).toEqual([{ salaire: '€ 5', nom: 'Œé' }])
    const all = Uint8Array.from({ length: 128 }, (_, i) => i + 128)
    expect(decode('windows-1252', all, 7)).toBe(new TextDecoder('windows-1252').decode(all))
  })

  test('DOS code pages, which the Encoding Standard lacks', async () => {
    const content = join(utf8('pay,name\n '), bytes(0x9c), utf8('19.50,'), bytes(0x81, 0x9b, 0xff, 0x0a))
    expect(await read(content, 'cp850')).toEqual([{ pay: '£19.50', name: 'üø' }])
    expect(await read(content, 'IBM437')).toEqual([{ pay: '£19.50', name: 'ü¢' }])
  })

  test('a byte-order mark wins over the declaration', async () => {
    const expected = [{ prénom: 'Zoé 😀' }]
    const text = 'prénom\r\nZoé 😀\r\n'
    for (const declared of [undefined, 'windows-1252', 'utf-16be', 'cp850']) {
      expect(await read(join(bytes(0xef, 0xbb, 0xbf), utf8(text)), declared)).toEqual(expected)
      expect(await read(join(bytes(0xff, 0xfe), utf16(text)), declared)).toEqual(expected)
      expect(await read(join(bytes(0xfe, 0xff), utf16(text, true)), declared)).toEqual(expected)
    }
  })

  test('a record with invalid bytes is rejected, those around it are read', async () => {
    const content = join(utf8('a,b\n1,é\n2,'), bytes(0xe9), utf8('\n3,\ufffd\n4,"x\n'), bytes(0xff), utf8('"\n5,y'))
    expect(await read(content)).toEqual([
      { a: '1', b: 'é' },
      { $reject: 'bytes that are not valid utf-8', $raw: '2,\ufffd' },
      { a: '3', b: '\ufffd' },
      { $reject: 'bytes that are not valid utf-8', $raw: '4,"x\n\ufffd"' },
      { a: '5', b: 'y' },
    ])
  })

  test('invalid UTF-16: a lone surrogate, half a unit at the end', async () => {
    const lone = Buffer.from([0x00, 0xd8])
    for (const big of [false, true]) {
      const half = big ? Buffer.from(lone).swap16() : lone
      const content = join(utf16('a\nx', big), half, utf16('\nĊ਍y\nz', big), bytes(0x41))
      expect((await read(content, big ? 'utf-16be' : 'utf-16le')).map((record) => record.a ?? record.$raw)).toEqual([
        'x\ufffd',
        'Ċ਍y',
        'z\ufffd',
      ])
    }
  })

  test('field names in the wrong encoding are an error that says what to declare', async () => {
    const error = await failure(read(join(utf8('Pr'), bytes(0xe9), utf8('nom\nZoe\n'))))
    expect(error).toMatchObject({ kind: 'invalid', code: 'bad-encoding', context: { file: 'a.csv', line: 1 } })
    expect(error.hint).toContain('windows-1252')
  })

  test('an unknown encoding is an error', async () => {
    expect(await failure(read(utf8('a\n'), 'utf-9'))).toMatchObject({ kind: 'invalid', code: 'bad-encoding-name' })
  })

  test('wherever a file is cut, the text is the same: UTF-8 and UTF-16', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), fc.integer({ min: 1, max: 7 }), (any, size) => {
        const text = any.replace(/^\ufeff/, '').replace(/[\ud800-\udfff]/gu, '')
        expect(decode('utf-8', utf8(text), size)).toBe(text)
        expect(decode('utf-16le', join(bytes(0xff, 0xfe), utf16(text)), size)).toBe(text)
        expect(decode('utf-16be', join(bytes(0xfe, 0xff), utf16(text, true)), size)).toBe(text)
      }),
    )
  })

  test('wherever a file is cut, the text is the same: the legacy encodings', () => {
    // 日本語 in each, with spaces and line breaks to cut at.
    const samples: [string, Uint8Array, string][] = [
      ['shift_jis', bytes(0x93, 0xfa, 0x96, 0x7b, 0x20, 0x8c, 0xea, 0x0a, 0x83, 0x5c), '日本 語\nソ'],
      ['euc-jp', bytes(0xc6, 0xfc, 0xcb, 0xdc, 0x20, 0xb8, 0xec, 0x0a), '日本 語\n'],
      ['gb18030', bytes(0xc8, 0xd5, 0xb1, 0xbe, 0x20, 0x81, 0x30, 0x81, 0x34, 0x0a), '日本 \u0084\n'],
      ['big5', bytes(0xa4, 0xe9, 0xa5, 0xbb, 0x20, 0xbb, 0x79, 0x0a), '日本 語\n'],
      ['euc-kr', bytes(0xc0, 0xcf, 0x20, 0xba, 0xbb, 0x0a), '일 본\n'],
      ['iso-2022-jp', bytes(0x1b, 0x24, 0x42, 0x46, 0x7c, 0x4b, 0x5c, 0x1b, 0x28, 0x42, 0x0a), '日本\n'],
      ['koi8-r', bytes(0xf2, 0xd5, 0x20, 0xd3), 'Ру с'],
    ]
    for (const [label, content, text] of samples) {
      for (let size = 1; size <= content.length; size++)
        expect([label, decode(label, content, size)]).toEqual([label, text])
    }
  })

  test('any bytes at all give records or rejects, in every encoding', async () => {
    const labels = ['utf-8', 'utf-16le', 'shift_jis', 'gb18030', 'big5', 'windows-1252', 'cp850', 'iso-2022-jp']
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...labels), fc.uint8Array({ maxLength: 60 }), async (encoding, content) => {
        const directory = folder()
        put(directory, 'a.csv', content)
        const found = await records(directory, { path: 'a.csv', encoding, header: ['a'] })
        expect(found.every((record) => 'a' in record || '$reject' in record)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })
})
