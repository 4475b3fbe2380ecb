import { appendFileSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MillraceError } from '../../src/base/errors.ts'
import { type FileBatch, fileEtag, readFile, readHeader, scanFiles } from '../../src/connectors/files.ts'
import { source } from '../../src/project/source.ts'
import { sql } from '../../src/project/sql.ts'
import { type Disk, systemDisk } from '../../src/storage/disk.ts'
import { failure, fieldsOf, folder, linesOf, put, readAll, records } from './support.ts'

const table = (rows: number) =>
  `i,text\n${Array.from({ length: rows }, (_, i) => `${i},"row ${i},\n${'é'.repeat(i % 50)}"\n`).join('')}`

describe('scanning', () => {
  test('finds files by pattern, sorted, with paths relative to the project', async () => {
    const directory = folder()
    mkdirSync(join(directory, 'data/deep/x.csv'), { recursive: true })
    for (const name of ['data/b 1.csv', 'data/a.csv', 'data/deep/c.csv.gz', 'data/é.txt', 'data/.hidden.csv'])
      put(directory, name, 'a\n', 5)
    const found = async (path: string) =>
      (await scanFiles(source.files({ path }), directory)).map((version) => version.file)
    expect(await found('data/**/*.{csv,csv.gz}')).toEqual(['data/a.csv', 'data/b 1.csv', 'data/deep/c.csv.gz'])
    expect(await found('data/?.csv')).toEqual(['data/a.csv'])
    expect(await found('data')).toEqual([])
    expect(await found('nothing/*.csv')).toEqual([])
    expect(await scanFiles(source.files({ path: '../data/a.csv', name: 'n' }), join(directory, 'data'))).toEqual([
      { source: 'n', file: 'a.csv', path: join(directory, 'data/a.csv'), bytes: 2, mtimeMs: 5000 },
    ])
    const outside = await scanFiles(source.files({ path: '../a.csv' }), join(directory, 'data/deep'))
    expect(outside.map(({ file }) => file)).toEqual(['../a.csv'])
  })

  test('a file that vanishes while looking is not there', async () => {
    const directory = folder()
    put(directory, 'a.csv', 'a\n')
    put(directory, 'b.csv', 'a\n')
    const disk: Disk = {
      ...systemDisk,
      stat: async (path) => (path.endsWith('a.csv') ? undefined : systemDisk.stat(path)),
    }
    expect((await scanFiles(source.files({ path: '*.csv' }), directory, disk)).map(({ file }) => file)).toEqual([
      'b.csv',
    ])
  })

  test('the etag follows the content, not the time', async () => {
    const directory = folder()
    const declared = source.files({ path: '*' })
    const etag = async (content: string, mtime: number) => {
      put(directory, 'a.csv', content, mtime)
      return fileEtag((await scanFiles(declared, directory))[0]!)
    }
    const first = await etag('a\n1\n', 1)
    // What sha256sum says, the first half.
    expect(first).toBe('309b0e45a73d3fc5325e2b6ed0a01ef8')
    expect(await etag('a\n1\n', 2)).toBe(first)
    expect(await etag('a\n2\n', 1)).not.toBe(first)
  })
})

describe('reading', () => {
  test('from record k on, a file gives the tail of what it gives whole', async () => {
    const directory = folder()
    put(directory, 'a.csv', `${table(300)}broken\n${table(20).slice(7)}`)
    put(
      directory,
      'b.ndjson',
      Array.from({ length: 300 }, (_, i) => (i % 7 === 0 ? '{oops\n' : `{"i":${i}}\n`)).join(''),
    )
    put(directory, 'c.json', JSON.stringify(Array.from({ length: 300 }, (_, i) => ({ i }))))
    for (const path of ['a.csv', 'b.ndjson', 'c.json']) {
      const declared = source.files({ path })
      const file = (await scanFiles(declared, directory))[0]!
      const whole = await linesOf(declared, file)
      await fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 0, max: 330 }),
          fc.integer({ min: 1, max: 5000 }),
          async (fromRecord, batchBytes) => {
            expect(await linesOf(declared, file, { fromRecord, batchBytes })).toEqual(whole.slice(fromRecord))
          },
        ),
        { numRuns: 30 },
      )
    }
  })

  test('batches are about as large as asked for and tell how far reading is', async () => {
    const directory = folder()
    put(directory, 'a.csv', table(20_000))
    const declared = source.files({ path: 'a.csv' })
    const file = (await scanFiles(declared, directory))[0]!
    const batches: FileBatch[] = []
    for await (const batch of readFile(declared, file, { batchBytes: 100_000 })) batches.push(batch)
    expect(
      batches.slice(0, -1).every(({ lines, last }) => !last && lines.length >= 100_000 && lines.length < 150_000),
    ).toBe(true)
    const read = batches.map(({ bytesRead }) => bytesRead)
    expect(read).toEqual(read.toSorted((a, b) => a - b))
    expect(read.at(-1)).toBe(file.bytes)
  })

  test('gzipped files, also of several members', async () => {
    const directory = folder()
    const text = table(5000)
    put(directory, 'a.csv', text)
    put(directory, 'a.csv.gz', Buffer.concat([gzipSync(text.slice(0, 1000)), gzipSync(text.slice(1000))]))
    const plain = await records(directory, { path: 'a.csv' })
    expect((await records(directory, { path: '*.gz' })).map(fieldsOf)).toEqual(plain.map(fieldsOf))
  })

  test('a damaged gzip file is an error, and no batch is the last', async () => {
    const directory = folder()
    const whole = gzipSync(table(50_000))
    const damaged = Buffer.from(whole)
    damaged[whole.length - 6]! ^= 1
    const declared = source.files({ name: 's', path: 'a.csv.gz' })
    const cases: [Buffer, string][] = [
      [whole.subarray(0, whole.length / 2), 'the gzip data ends too early; the file is not complete.'],
      [whole.subarray(0, whole.length - 1), 'the gzip data ends too early; the file is not complete.'],
      [whole.subarray(0, 3), 'the gzip data ends too early; the file is not complete.'],
      [damaged, 'the gzip data is damaged (incorrect data check).'],
      [Buffer.concat([whole, Buffer.from('more')]), 'the gzip data is damaged (incorrect header check).'],
      [Buffer.from('i,text\n1,2\n'), 'the gzip data is damaged (incorrect header check).'],
    ]
    for (const [content, message] of cases) {
      put(directory, 'a.csv.gz', content)
      const file = (await scanFiles(declared, directory))[0]!
      const lasts: boolean[] = []
      const error = await failure(
        (async () => {
          for await (const batch of readFile(declared, file, { batchBytes: 10_000 })) lasts.push(batch.last)
        })(),
      )
      expect([error.kind, error.code, error.message]).toEqual(['invalid', 'bad-gzip', `a.csv.gz: ${message}`])
      expect(lasts).not.toContain(true)
    }
  })

  test('a file that changes while it is read is an error to retry, whenever it changes', async () => {
    const directory = folder()
    const declared = source.files({ path: 'a.csv' })
    const path = put(directory, 'a.csv', table(50_000))
    const touch = async (when: (batches: number) => boolean, change: () => void) => {
      const file = (await scanFiles(declared, directory))[0]!
      let batches = 0
      for await (const batch of readFile(declared, file, { batchBytes: 100_000 })) {
        expect(batch.last).toBe(false)
        if (when(batches++)) change()
      }
    }
    const append = () => appendFileSync(path, '1,2\n')
    expect(await failure(touch((n) => n === 0, append))).toMatchObject({
      kind: 'unavailable',
      code: 'file-changed',
      retryable: true,
    })
    const rewrite = () => put(directory, 'a.csv', table(50_000), statSync(path).mtimeMs / 1000 + 5)
    expect(await failure(touch((n) => n === 3, rewrite))).toMatchObject({ code: 'file-changed' })
    const file = (await scanFiles(declared, directory))[0]!
    append()
    expect(await failure(readAll(declared, file))).toMatchObject({ code: 'file-changed' })
    expect(await failure(fileEtag(file))).toMatchObject({ code: 'file-changed' })
    rmSync(path)
    expect((await failure(readAll(declared, file))).message).toBe('a.csv was removed while it was being loaded.')
  })

  test('reading can be cancelled, and given up', async () => {
    const directory = folder()
    put(directory, 'a.csv', table(50_000))
    const declared = source.files({ path: 'a.csv' })
    const file = (await scanFiles(declared, directory))[0]!
    const cancel = new AbortController()
    const work = (async () => {
      for await (const _ of readFile(declared, file, { signal: cancel.signal, batchBytes: 10_000 })) cancel.abort()
    })()
    expect(await failure(work)).toMatchObject({ kind: 'unavailable', code: 'cancelled' })
    for (const name of ['a.csv', 'b.csv.gz']) {
      put(directory, 'b.csv.gz', gzipSync(table(50_000)))
      let open = 0
      const disk: Disk = {
        ...systemDisk,
        open: async (...args) => {
          const handle = await systemDisk.open(...args)
          open++
          return { ...handle, close: async () => (open--, handle.close()) }
        },
      }
      const one = source.files({ path: name })
      for await (const _ of readFile(one, (await scanFiles(one, directory))[0]!, { disk, batchBytes: 10_000 })) break
      expect(open).toBe(0)
    }
  })

  test('an error of the disk at any read is thrown, and no batch is the last', async () => {
    const directory = folder()
    put(directory, 'a.csv.gz', gzipSync(table(50_000), { level: 0 }))
    const declared = source.files({ path: 'a.csv.gz' })
    const file = (await scanFiles(declared, directory))[0]!
    let reads = 0
    const failing = (n: number): Disk => ({
      ...systemDisk,
      open: async (...args) => {
        const handle = await systemDisk.open(...args)
        return {
          ...handle,
          read: async (position, length) => {
            if (++reads === n) throw new MillraceError('corrupt', 'io-error', 'EIO')
            return handle.read(position, length)
          },
        }
      },
    })
    await readAll(declared, file, { disk: failing(0) })
    for (let n = reads; n > 0; n -= 5) {
      reads = 0
      expect(await failure(readAll(declared, file, { disk: failing(n) }))).toMatchObject({ code: 'io-error' })
    }
  })

  test('fields that the declaration speaks of must be there', async () => {
    const directory = folder()
    put(directory, 'a.csv', '\ufeffName, Pass word ,Date\nx,y,z\n')
    const declared = { path: 'a.csv', name: 'people' }
    const error = await failure(records(directory, { ...declared, map: { name: 'Name', born: 'Dates' } }))
    expect(error).toMatchObject({
      kind: 'invalid',
      code: 'missing-field',
      context: { source: 'people', file: 'a.csv', line: 1 },
    })
    expect(error.message).toBe("a.csv, line 1: there is no field 'Dates'. Fields found: Name, Pass word, Date.")
    expect(error.hint).toContain("Did you mean 'Date'?")
    const inSql = sql`"Name" || "$file" || 'no "field"' || ${sql.identifier('Datum')}`
    expect((await failure(records(directory, { ...declared, map: { name: inSql } }))).message).toContain(
      "no field 'Datum'",
    )
    expect((await failure(records(directory, { ...declared, exclude: ['Password'] }))).message).toContain(
      "there is no field 'Password', which the source excludes",
    )
    expect((await failure(records(directory, declared, { fields: ['Name', 'id'] }))).message).toContain(
      "there is no field 'id'",
    )
    expect(
      await records(directory, { ...declared, exclude: ['pass  word'], map: { n: 'Name', f: sql`"$file"` } }),
    ).toEqual([{ $source: 'people', $file: 'a.csv', $line: 2, Name: 'x', Date: 'z' }])
  })

  test('the field names of a file can be read by themselves', async () => {
    const directory = folder()
    put(directory, 'a.csv.gz', gzipSync(`\ufeffa, b\n${'1,2\n'.repeat(100_000)}`))
    put(directory, 'b.ndjson', '{}')
    const header = async (path: string) => {
      const declared = source.files({ path })
      return readHeader(declared, (await scanFiles(declared, directory))[0]!)
    }
    expect(await header('a.csv.gz')).toEqual(['a', ' b'])
    expect(await header('b.ndjson')).toBeUndefined()
  })

  test('the format is declared or told by the name', async () => {
    const directory = folder()
    put(directory, 'a.dat', 'a\n1\n')
    expect(await failure(records(directory, { path: 'a.dat' }))).toMatchObject({
      kind: 'invalid',
      code: 'unknown-format',
    })
    expect((await records(directory, { path: 'a.dat', format: 'csv' })).map(fieldsOf)).toEqual([{ a: '1' }])
    put(directory, 'A.CSV.GZ', gzipSync('a\n2\n'))
    expect((await records(directory, { path: 'A.CSV.GZ' })).map(fieldsOf)).toEqual([{ a: '2' }])
  })
})
