import { join } from 'node:path'
import { mkdir } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { quoteIdentifier } from '../../src/base/identifier.ts'
import type { Lake } from '../../src/lake/lake.ts'
import type { PartitionField } from '../../src/lake/partition.ts'
import { SCRATCH } from '../../src/lake/scratch.ts'
import type { LakeTable } from '../../src/lake/table.ts'
import { type Column, fieldsOf, t } from '../../src/project/columns.ts'
import type { Engine } from '../../src/runtime/engine.ts'
import { canonicalRows } from '../interop/canonical.ts'
import { append, openDuckdb, query, relation } from '../lake/support/duckdb.ts'
import { livePaths, openLake } from '../lake/support/lake.ts'

const ALL = {
  id: t.long(),
  _partition: t.int(),
  i: t.int().nullable(),
  d: t.double().nullable(),
  b: t.boolean().nullable(),
  s: t.string().nullable(),
  day: t.date().nullable(),
  at: t.timestamp().nullable(),
  n: t.decimal(12, 2).nullable(),
  wide: t.decimal(38, 10).nullable(),
  j: t.json().nullable(),
  tags: t.list(t.string().nullable()).nullable(),
  point: t.struct({ x: t.double().nullable(), label: t.string().nullable() }).nullable(),
  points: t.list(t.struct({ x: t.int().nullable() })).nullable(),
}

const ALL_ROWS = `SELECT * FROM (VALUES
  (1::BIGINT, 0::INT, 7::INT, -0.5::DOUBLE, true, 'é😀 ''\\n', DATE '1969-12-31', TIMESTAMP '2026-01-02 03:04:05.678901', 12.50::DECIMAL(12, 2),
    12345678901234567890.0123456789::DECIMAL(38, 10), '{"a": 1}', ['p', NULL, 'q'], {'x': 1.5::DOUBLE, label: 'l'}, [{'x': 1::INT}, {'x': NULL}]),
  (9007199254740993::BIGINT, 1::INT, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  ('-9223372036854775808'::BIGINT, 2, '-2147483648'::INT, 'nan'::DOUBLE, false, '', DATE '9999-12-31', TIMESTAMP '1969-12-31 23:59:59.999999',
    -0.01::DECIMAL(12, 2), -1::DECIMAL(38, 10), 'null', [], {'x': NULL, label: NULL}, []),
  (4::BIGINT, 3::INT, 0::INT, -0.0::DOUBLE, false, 'x', DATE '0001-01-01', TIMESTAMP '0001-01-01 00:00:00', 0, 0, '[]', [''], {'x': 'inf'::DOUBLE, label: ''}, [{'x': 0::INT}])
) v(id, _partition, i, d, b, s, day, "at", n, wide, j, tags, point, points)`

/** What every engine of derived tables must do. `open` gives one over a lake; it is closed by who gave it. */
export function engineConformance(name: string, open: (lake: Lake) => Promise<Engine>): void {
  describe(`engine ${name}`, () => {
    const made = async (columns: Record<string, Column<unknown>>, partition: readonly PartitionField[] = []) => {
      const lake = await openLake()
      const table = await lake.create({ namespace: 'curated', name: 't' }, { fields: fieldsOf(columns), partition })
      return { lake, table, duckdb: await openDuckdb(), engine: await open(lake) }
    }
    const live = (table: LakeTable) => table.files(table.snapshot()!)

    test('reads rows of every type, and writes them as it read them', async () => {
      const { lake, table, duckdb, engine } = await made(ALL)
      await append(duckdb, table, ALL_ROWS)
      const target = await lake.create({ namespace: 'curated', name: 'copy' }, { fields: fieldsOf(ALL) })
      const files = await engine.step(async (step) =>
        step.write(target, `SELECT * FROM ${await step.relation(table, await live(table))}`),
      )
      expect(target.snapshot()).toBeUndefined()
      await target.commit({ operation: 'append', add: files, remove: [], summary: {} })
      const read = async (from: LakeTable) =>
        canonicalRows(await query(duckdb, `SELECT * FROM ${await relation(from)}`), from.fields)
      expect(await read(target)).toEqual(await read(table))
      const [zero] = await query(duckdb, `SELECT (1 / d)::VARCHAR AS sign FROM ${await relation(target)} WHERE id = 4`)
      expect(zero).toEqual({ sign: '-inf' })
    })

    test('reads exactly the files that it is given, whichever columns they were written with', async () => {
      const { table, duckdb, engine } = await made({
        a: t.int(),
        gone: t.int().nullable(),
        p: t.struct({ x: t.int() }),
      })
      await append(duckdb, table, `SELECT 1::INT AS a, 2::INT AS gone, {'x': 3::INT} AS p`)
      await append(duckdb, table, `SELECT 10::INT AS a, 20::INT AS gone, {'x': 30::INT} AS p`)
      await table.evolve(
        fieldsOf({
          gone: t.int().nullable(),
          b: t.long().formerly('a'),
          p: t.struct({ x: t.long(), z: t.string().nullable() }),
          added: t.string().nullable(),
        }),
      )
      await append(
        duckdb,
        table,
        `SELECT NULL::INT AS gone, 100::BIGINT AS b, {'x': 300::BIGINT, 'z': 'z'} AS p, 'new' AS added`,
      )
      const files = await live(table)
      const { identifier } = engine.dialect
      const read = (given: typeof files) =>
        engine.step(async (step) => {
          const from = await step.relation(table, given, 'the file')
          const rows = await step.rows(
            `SELECT gone, b, p.x AS y, p.z AS z, added, ${identifier('the file')} AS f FROM ${from} ORDER BY b`,
          )
          return rows.map((row) => ({ ...row, b: Number(row['b']), y: Number(row['y']) }))
        })
      const byValue = new Map((await read(files)).map((row) => [row.b, row]))
      expect([...byValue.values()]).toEqual([
        { gone: 2, b: 1, y: 3, z: null, added: null, f: expect.any(String) },
        { gone: 20, b: 10, y: 30, z: null, added: null, f: expect.any(String) },
        { gone: null, b: 100, y: 300, z: 'z', added: 'new', f: expect.any(String) },
      ])
      for (const file of files) {
        const [row, ...others] = await read([file])
        expect(others).toEqual([])
        expect(row).toMatchObject({ f: file.path })
        expect(row).toEqual(byValue.get(row!.b))
      }
      expect(await read([])).toEqual([])
    })

    const partitions: PartitionField[][] = [
      [{ column: 'at', transform: { kind: 'day' } }],
      [{ column: 'at', transform: { kind: 'hour' } }],
      [{ column: 'day', transform: { kind: 'month' } }],
      [{ column: 'day', transform: { kind: 'year' } }],
      [
        { column: 's', transform: { kind: 'identity' } },
        { column: 'b', transform: { kind: 'identity' } },
      ],
      [{ column: 'n', transform: { kind: 'identity' } }],
      [
        { column: 'i', transform: { kind: 'bucket', count: 7 } },
        { column: 's', transform: { kind: 'bucket', count: 5 } },
      ],
      [
        { column: 'at', transform: { kind: 'bucket', count: 3 } },
        { column: 'n', transform: { kind: 'bucket', count: 3 } },
      ],
      [
        { column: 's', transform: { kind: 'truncate', width: 2 } },
        { column: 'id', transform: { kind: 'truncate', width: 10 } },
      ],
    ]
    test.each(
      partitions.map(
        (partition) =>
          [partition.map((part) => `${part.transform.kind}(${part.column})`).join(' '), partition] as const,
      ),
    )('spreads rows over partitions by %s', async (_, partition) => {
      const { lake, table, duckdb, engine } = await made(ALL)
      await append(duckdb, table, ALL_ROWS)
      const target = await lake.create({ namespace: 'curated', name: 'parts' }, { fields: fieldsOf(ALL), partition })
      const files = await engine.step(async (step) =>
        step.write(target, `SELECT * FROM ${await step.relation(table, await live(table))}`),
      )
      await target.commit({ operation: 'append', add: files, remove: [], summary: {} })
      // Whatever a row's values are, the files that may hold them do.
      for (const column of ['id', 'i', 's', 'day', 'n', 'b']) {
        const name = quoteIdentifier(column)
        const values = await query(
          duckdb,
          `SELECT ${name} AS v, count(*)::INT AS n FROM ${await relation(table)} WHERE ${name} IS NOT NULL GROUP BY 1`,
        )
        for (const { v, n } of values as { v: string; n: number }[]) {
          const from = await relation(target, [{ column, op: '=', value: v }])
          const [found] = await query(
            duckdb,
            `SELECT count(*)::INT AS n FROM ${from} WHERE ${name}::VARCHAR = '${String(v).replaceAll("'", "''")}'`,
          )
          expect([column, v, found!['n']]).toEqual([column, v, n])
        }
      }
      const [all] = await query(duckdb, `SELECT count(*)::INT AS n FROM ${await relation(target)}`)
      expect(all).toEqual({ n: 4 })
    })

    test('computes a query once where it is kept, and leaves nothing behind', async () => {
      const { lake, engine } = await made({ a: t.int() })
      let kept = ''
      await engine.step(async (step) => {
        kept = await step.keep('drawn', 'SELECT random() AS x, 1 AS _offset')
        const [once, again] = [
          await step.rows(`SELECT * FROM ${kept}`),
          await step.rows(`SELECT x, _offset FROM ${kept}`),
        ]
        expect(once).toEqual(again)
      })
      await expect(engine.step((step) => step.rows(`SELECT * FROM ${kept}`))).rejects.toMatchObject({ code: 'bad-sql' })
      expect((await lake.list()).filter(({ namespace }) => namespace === SCRATCH)).toEqual([])
    })

    test('a step that failed leaves nothing behind either', async () => {
      const { lake, table, duckdb, engine } = await made({ a: t.int() })
      await append(duckdb, table, 'SELECT 1::INT AS a')
      const before = await livePaths(table)
      const failing = engine.step(async (step) => {
        const from = await step.relation(table, await live(table))
        await step.write(table, `SELECT a + 1 AS a FROM ${from}`)
        await step.write(table, `SELECT CAST(concat('x', a) AS INT) AS a FROM ${from}`)
      })
      await expect(failing).rejects.toMatchObject({ kind: 'invalid', code: 'bad-sql' })
      await table.refresh()
      expect(await livePaths(table)).toEqual(before)
      expect((await lake.list()).filter(({ namespace }) => namespace === SCRATCH)).toEqual([])
    })

    test('writes where it is told', async () => {
      const { lake, table, engine } = await made({ a: t.int() })
      const directory = join(lake.root, 'elsewhere')
      await mkdir(directory)
      const files = await engine.step((step) => step.write(table, 'SELECT 1 AS a'))
      const apart = await engine.step((step) => step.write(table, 'SELECT 1 AS a', directory))
      expect(files.map((file) => file.path.startsWith(`${table.location}/data/`))).toEqual([true])
      expect(apart.map((file) => file.path.startsWith(`${directory}/`))).toEqual([true])
      expect(await engine.step((step) => step.write(table, 'SELECT 1 AS a WHERE 1 = 0'))).toEqual([])
    })

    test('says what a query returns, and what it does', async () => {
      const { table, duckdb, engine } = await made({ a: t.int(), tags: t.list(t.string()) })
      await append(duckdb, table, `SELECT 1::INT AS a, ['x'] AS tags`)
      await engine.step(async (step) => {
        const from = await step.relation(table, await live(table))
        const other = await step.relation(table, await live(table), 'f')
        const fields = await step.describe(`SELECT a, CAST(a AS DECIMAL(9, 3)) AS d, tags FROM ${from}`)
        expect(fields).toMatchObject([
          { name: 'a', type: { kind: 'int' }, nullable: true },
          { name: 'd', type: { kind: 'decimal', precision: 9, scale: 3 } },
          { name: 'tags', type: { kind: 'list', element: { kind: 'string' } } },
        ])
        const shape = (sql: string) => step.shapeOf(sql)
        expect(await shape(`SELECT a + 1 AS b FROM ${from} WHERE a > 3`)).toBe('by row')
        expect(await shape(`SELECT a FROM ${from} UNION ALL SELECT a FROM ${other}`)).toBe('by row')
        expect(await shape(`SELECT l.a FROM ${from} AS l JOIN ${other} AS r ON l.a = r.a`)).toBe('joined')
        for (const sql of [
          `SELECT count(*) AS n FROM ${from}`,
          `SELECT DISTINCT a FROM ${from}`,
          `SELECT a FROM ${from} LIMIT 1`,
          `SELECT a, row_number() OVER (ORDER BY a) AS n FROM ${from}`,
          `SELECT l.a FROM ${from} AS l LEFT JOIN ${other} AS r ON l.a = r.a`,
          `SELECT a FROM ${from} WHERE a IN (SELECT max(a) FROM ${other})`,
          `SELECT a FROM ${from} EXCEPT SELECT a FROM ${other} WHERE a > 5`,
        ])
          expect([sql, await shape(sql)]).toEqual([sql, undefined])
      })
    })
  })
}
