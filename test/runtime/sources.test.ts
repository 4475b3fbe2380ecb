import { mkdir, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { check, source, stream, t, table, sql } from '../../src/index.ts'
import { verify } from '../../src/runtime/verify.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'
import { Home, query, send, statusOf } from './home.ts'

const columns = { id: t.int(), name: t.string() }
const people = stream('people', {
  columns,
  unique: ['id'],
  checks: [check.range('id', { min: 0 })],
  source: [
    source.files({ name: 'csv', path: 'in/*.csv' }),
    source.files({ name: 'json', path: 'in/*.{ndjson,ndjson.gz}' }),
  ],
})
const total = table('total', { sql: sql`select count(*) as n, sum(id) as sum from ${people}` })

async function put(home: Home, file: string, content: string | Buffer): Promise<void> {
  await mkdir(join(home.directory, 'in'), { recursive: true })
  await writeFile(join(home.directory, 'in', file), content)
}

function csv(from: number, to: number, name = 'x'): string {
  const lines = Array.from({ length: to - from }, (_, i) => `${from + i},${name}${from + i}`)
  return `id,name\n${lines.join('\n')}\n`
}

describe('files of a stream', () => {
  test('of several formats, beside records over HTTP, each once', async () => {
    const home = await Home.make()
    await put(home, 'a.csv', csv(0, 10))
    await put(home, 'b.ndjson', '{"id":10,"name":"b"}\n{"id":11,"name":"b"}\n')
    await put(home, 'c.ndjson.gz', gzipSync('{"id":12,"name":"c"}\n{"id":-1,"name":"c"}\n'))
    const runtime = await home.open([people, total], { start: false })
    expect(await runtime.load('people')).toMatchObject({
      loaded: ['in/a.csv', 'in/b.ndjson', 'in/c.ndjson.gz'],
      failed: [],
      unmatched: [],
      records: 14,
    })
    runtime.start()
    await send(runtime, 'people', [
      { id: 13, name: 'http' },
      { id: 3, name: 'again' },
    ])
    await runtime.settle()
    expect(await query(runtime, 'SELECT n::INT AS n FROM {total}')).toEqual([{ n: 14 }])
    expect(runtime.stream('people').counts).toEqual({ received: 16, accepted: 14, duplicates: 1, quarantined: 1 })
    expect(await query(runtime, 'SELECT source, file, line::INT AS line, rule FROM {quarantine.people}')).toEqual([
      { source: 'json', file: 'in/c.ndjson.gz', line: 2, rule: 'range(id)' },
    ])
    // Touched is not changed.
    await utimes(join(home.directory, 'in', 'a.csv'), new Date(), new Date(Date.now() + 5_000))
    await runtime.settle()
    expect(runtime.loads.reports.get('people')).toMatchObject({ loaded: [], changed: [], unchanged: 3 })
  })

  test('one that cannot be read is reported and stops no other; mended, it is loaded', async () => {
    const home = await Home.make()
    await put(home, 'a.csv', csv(0, 3))
    await put(home, 'b.csv', 'number,name\n5,x\n')
    await put(home, 'c.ndjson.gz', Buffer.concat([gzipSync('{"id":7,"name":"c"}\n').subarray(0, 20)]))
    const mapped = stream('people', {
      columns,
      source: [
        source.files({ name: 'csv', path: 'in/*.csv', map: { id: 'id' } }),
        source.files({ name: 'json', path: 'in/*.ndjson.gz' }),
        source.files({ name: 'none', path: 'in/*.parquet' }),
      ],
    })
    const runtime = await home.open([mapped], { start: false })
    const report = await runtime.load('people')
    runtime.start()
    await runtime.settle()
    expect(report.loaded).toEqual(['in/a.csv'])
    expect(report.unmatched).toEqual(['in/*.parquet'])
    expect(report.failed.map(({ file, error }) => [file, error.code])).toEqual([
      ['in/b.csv', 'missing-field'],
      ['in/c.ndjson.gz', 'bad-gzip'],
    ])
    expect(report.failed[0]!.error.message).toMatch(/in\/b\.csv, line 1: there is no field 'id'/)
    await put(home, 'b.csv', 'id,name\n5,x\n')
    await put(home, 'c.ndjson.gz', gzipSync('{"id":7,"name":"c"}\n'))
    await runtime.settle()
    expect(runtime.loads.reports.get('people')).toMatchObject({ failed: [], unchanged: 1 })
    expect((await query(runtime, 'SELECT id FROM {people} ORDER BY id')).map(({ id }) => id)).toEqual([0, 1, 2, 5, 7])
    expect(statusOf(runtime, 'people')).toMatchObject({ state: 'ok', received: 5 })
  })

  test('whatever append of a load fails, the next start goes on: every record once', async () => {
    // Large enough for several appends.
    const rows = 60_000
    const text = csv(0, rows, 'a name that is long enough to fill some space ')
    for (const at of [1, 2, 3]) {
      const home = await Home.make()
      await put(home, 'big.csv', text)
      await put(home, 'small.csv', csv(rows, rows + 10))
      const disk = new FaultyDisk(`${home.directory}-limbo`)
      const broken = await home.open([people, total], { disk, start: false })
      broken.stream('people').start()
      let writes = 0
      disk.arm({
        at: { test: (operation: string) => /^write .*\/log\/people\//.test(operation) && ++writes === at } as RegExp,
        error: 'EIO',
        torn: 0.5,
        lasting: true,
      })
      await broken.load('people').catch(() => undefined)
      expect(disk.crashed).toBe(true)
      await home.crash(broken)
      const runtime = await home.open([people, total])
      await runtime.settle()
      expect(runtime.stream('people').counts).toEqual({
        received: rows + 10,
        accepted: rows + 10,
        duplicates: 0,
        quarantined: 0,
      })
      expect(await query(runtime, 'SELECT n::INT AS n, sum::VARCHAR AS sum FROM {total}')).toEqual([
        { n: rows + 10, sum: String(((rows + 10) * (rows + 9)) / 2) },
      ])
      await home.remove()
    }
  })

  test('changed again and again, also while the platform was down, only its last content counts', async () => {
    const home = await Home.make()
    await put(home, 'a.csv', csv(0, 5))
    await put(home, 'b.csv', csv(3, 8, 'b'))
    let runtime = await home.open([people, total])
    await runtime.settle()
    // 3 and 4 are in both: the first kept them.
    expect(runtime.stream('people').counts).toEqual({ received: 10, accepted: 8, duplicates: 2, quarantined: 0 })
    for (const [i, content] of [csv(0, 2), `${csv(20, 22)}-7,bad\n`, 'id,name\n', csv(0, 5, 'last')].entries()) {
      if (i % 2 === 0) await home.stop(runtime)
      await put(home, 'a.csv', content)
      if (i % 2 === 0) runtime = await home.open([people, total])
      await runtime.settle()
      const { received, accepted, duplicates, quarantined } = runtime.stream('people').counts
      const lines = content.trim().split('\n').length - 1
      expect(received, `change ${i}`).toBe(lines + 5)
      expect(accepted + duplicates + quarantined).toBe(received)
      expect(quarantined).toBe(i === 1 ? 1 : 0)
      expect(await verify(runtime, 'people'), `change ${i}`).toMatchObject({ equal: true })
      expect(await verify(runtime, 'total')).toMatchObject({ equal: true })
    }
    // What the first version of one file had hidden in another came back, and is hidden again only by what came before it.
    expect(await query(runtime, 'SELECT id, name FROM {people} ORDER BY id')).toEqual(
      [0, 1, 2].map((id) => ({ id, name: `last${id}` })).concat([3, 4, 5, 6, 7].map((id) => ({ id, name: `b${id}` }))),
    )
    // A removed file is reported; its rows stay, also when it comes back.
    await rm(join(home.directory, 'in', 'b.csv'))
    await runtime.settle()
    expect(runtime.loads.reports.get('people')).toMatchObject({ removed: ['in/b.csv'] })
    await put(home, 'b.csv', csv(3, 8, 'b'))
    await runtime.settle()
    expect(runtime.loads.reports.get('people')).toMatchObject({ removed: [], loaded: [], changed: [], unchanged: 2 })
    expect(await query(runtime, 'SELECT n::INT AS n FROM {total}')).toEqual([{ n: 8 }])
  })
})

describe('limits', () => {
  const events = stream('events', { columns, unique: ['id'] })

  test('over the backlog bound appends are refused, nothing of them is kept, and once it is worked off they are taken', async () => {
    const home = await Home.make()
    const runtime = await home.open([events], { start: false, config: { ingest: { backlogBytes: 2_000 } } })
    const batch = Array.from({ length: 20 }, (_, i) => ({ id: i, name: 'x'.repeat(40) }))
    await send(runtime, 'events', batch)
    await send(runtime, 'events', batch)
    await expect(send(runtime, 'events', batch)).rejects.toMatchObject({
      kind: 'unavailable',
      code: 'backlog-full',
      hint: expect.stringContaining('nothing of this request was kept') as string,
    })
    expect(statusOf(runtime, 'events').lag).toBe(40)
    runtime.stream('events').start()
    await runtime.settle()
    await send(runtime, 'events', batch)
    await runtime.settle()
    expect(runtime.stream('events').counts).toEqual({ received: 60, accepted: 20, duplicates: 40, quarantined: 0 })
  })

  test('too many keys to remember: the stream stops and says what to do; with more room it goes on, nothing lost', async () => {
    const home = await Home.make()
    const runtime = await home.open([events, table('n', { sql: sql`select count(*) as n from ${events}` })], {
      config: { limits: { uniqueMemory: 1_000 } },
    })
    await send(runtime, 'events', [{ id: 1, name: 'a' }])
    await expect(runtime.settle()).rejects.toMatchObject({
      kind: 'invalid',
      code: 'unique-memory',
      hint: expect.stringContaining('horizon') as string,
    })
    expect(statusOf(runtime, 'events')).toMatchObject({ state: 'failed', lag: 1 })
    expect(statusOf(runtime, 'events').reason).toMatch(/over limits\.uniqueMemory/)
    await expect(send(runtime, 'events', [{ id: 2, name: 'b' }])).rejects.toMatchObject({ code: 'unique-memory' })
    await home.stop(runtime)
    const again = await home.open([events])
    await again.settle()
    expect(again.stream('events').counts).toEqual({ received: 1, accepted: 1, duplicates: 0, quarantined: 0 })
  })

  test('a table that needs more memory than there is fails alone, after some tries', async () => {
    const greedy = table('greedy', {
      sql: sql`select len(list(range)) as n from range(20000000), (select count(*) from ${events})`,
    })
    const modest = table('modest', { sql: sql`select count(*) as n from ${events}` })
    const home = await Home.make()
    const runtime = await home.open([events, greedy, modest], { config: { limits: { engineMemory: 64 * 1024 ** 2 } } })
    await send(runtime, 'events', [{ id: 1, name: 'a' }])
    await runtime.settle()
    expect(statusOf(runtime, 'greedy').state).toBe('failed')
    expect(statusOf(runtime, 'greedy').reason).toMatch(/Refreshing table 'greedy' failed: The engine ran out of memory/)
    expect(statusOf(runtime, 'modest')).toMatchObject({ state: 'ok', rows: 1 })
  })
})
