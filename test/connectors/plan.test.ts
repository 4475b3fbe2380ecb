import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type FileMark,
  type FileVersion,
  type MarkedRange,
  knownEtags,
  planLoads,
  supersededRanges,
} from '../../src/connectors/files.ts'

const version = (file: string, mtimeMs = 1): FileVersion => ({
  source: 's',
  file,
  path: `/p/${file}`,
  bytes: 10,
  mtimeMs,
})
const present = (file: string, etag: string, mtimeMs = 1) => ({ ...version(file, mtimeMs), etag })

function mark(
  offset: number,
  to: number,
  part: Partial<FileMark> & { file: string; etag: string },
  partition = 0,
): MarkedRange {
  const complete: FileMark = {
    kind: 'file',
    source: 's',
    bytes: 10,
    mtimeMs: 1,
    load: 1,
    part: 0,
    last: false,
    records: 0,
    ...part,
  }
  return { partition, offset, to, mark: complete }
}

describe('planning loads', () => {
  test('new, unchanged, touched, changed, removed', () => {
    const marks = [
      mark(0, 5, { file: 'b', etag: 'B', last: true }),
      mark(5, 9, { file: 'c', etag: 'C' }),
      mark(9, 12, { file: 'c', etag: 'C', part: 1, last: true }),
      mark(12, 13, { file: 'd', etag: 'D', last: true }),
      { partition: 0, offset: 13, to: 20, mark: { kind: 'http' } },
      { partition: 0, offset: 20, to: 21, mark: undefined },
    ]
    const plan = planLoads([present('a', 'A'), present('b', 'B', 99), present('c', 'C2')], marks)
    expect(plan).toEqual({
      loads: [
        { version: version('a'), etag: 'A', reason: 'new', load: 1, part: 0, fromRecord: 0, supersedes: [] },
        {
          version: version('c'),
          etag: 'C2',
          reason: 'changed',
          load: 2,
          part: 0,
          fromRecord: 0,
          supersedes: [
            { partition: 0, offset: 5, to: 9 },
            { partition: 0, offset: 9, to: 12 },
          ],
        },
      ],
      unchanged: [version('b', 99)],
      removed: [{ source: 's', file: 'd' }],
    })
  })

  test('an unfinished load goes on; of another content it starts again', () => {
    const marks = [
      mark(0, 5, { file: 'a', etag: 'old', last: true }),
      mark(7, 9, { file: 'a', etag: 'A', load: 2, part: 1 }),
      mark(5, 7, { file: 'a', etag: 'A', load: 2 }),
    ]
    expect(planLoads([present('a', 'A')], marks).loads).toMatchObject([
      { reason: 'unfinished', load: 2, part: 2, fromRecord: 4, supersedes: [{ offset: 0, to: 5 }] },
    ])
    expect(planLoads([present('a', 'other')], marks).loads).toMatchObject([
      { reason: 'changed', load: 3, part: 0, fromRecord: 0, supersedes: [{ offset: 0 }, { offset: 5 }, { offset: 7 }] },
    ])
    expect(supersededRanges(marks)).toEqual([])
  })

  test('content that comes back is loaded again', () => {
    const marks = [
      mark(0, 1, { file: 'a', etag: 'A', last: true }),
      mark(1, 2, { file: 'a', etag: 'B', load: 2, last: true }),
    ]
    expect(planLoads([present('a', 'A')], marks).loads).toMatchObject([{ reason: 'changed', load: 3 }])
    expect(supersededRanges(marks)).toEqual([{ partition: 0, offset: 0, to: 1 }])
  })

  test('parts that are not the first ones, each once, are not built upon', () => {
    const marks = [mark(0, 1, { file: 'a', etag: 'A', part: 1 })]
    expect(planLoads([present('a', 'A')], marks).loads).toMatchObject([
      { reason: 'changed', load: 2, supersedes: [{ offset: 0, to: 1 }] },
    ])
  })

  test('a file of no records counts as loaded', () => {
    expect(planLoads([present('a', 'A')], [mark(3, 3, { file: 'a', etag: 'A', last: true })]).loads).toEqual([])
  })

  test('files of one name in two sources are two files', () => {
    const other = { ...present('a', 'A'), source: 't' }
    expect(
      planLoads([present('a', 'A'), other], [mark(0, 1, { file: 'a', etag: 'A', last: true })]).loads,
    ).toMatchObject([{ version: { source: 't' }, reason: 'new' }])
  })

  test('the etag is known while size and time are those of the latest load', () => {
    const marks = [
      mark(0, 1, { file: 'a', etag: 'A', last: true }),
      mark(1, 2, { file: 'a', etag: 'B', load: 2, mtimeMs: 2 }),
    ]
    const [first, second, fresh] = [version('a', 1), version('a', 2), version('b')]
    expect([...knownEtags([first, second, fresh], marks)]).toEqual([[second, 'B']])
  })

  /** A file's history, played against a log that may stop after any append: a tiny model of the runtime. */
  test('whatever changes and crashes there are, the valid records end up as the present content, once', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('write' as const), records: fc.integer({ min: 0, max: 9 }) }),
      fc.record({ kind: fc.constant('run' as const), appends: fc.integer({ min: 0, max: 5 }) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), fc.integer({ min: 1, max: 4 }), (steps, batch) => {
        let content: string[] | undefined
        let written = 0
        const log: string[] = []
        const marks: MarkedRange[] = []
        const run = (appends: number) => {
          if (content === undefined) return
          const etag = content.join()
          for (const load of planLoads([present('a', etag)], marks).loads) {
            let { part, fromRecord } = load
            for (let left = appends; left > 0; left--) {
              const rows = content.slice(fromRecord, fromRecord + batch)
              fromRecord += rows.length
              const last = fromRecord >= content.length
              marks.push(
                mark(log.length, log.length + rows.length, { file: 'a', etag, load: load.load, part: part++, last }),
              )
              log.push(...rows)
              if (last) break
            }
          }
        }
        for (const next of steps) {
          if (next.kind === 'run') run(next.appends)
          else {
            written++
            content = Array.from({ length: next.records }, (_, i) => `${written}:${i}`)
          }
        }
        run(Infinity)
        run(Infinity)
        const gone = new Set(
          supersededRanges(marks).flatMap(({ offset, to }) =>
            Array.from({ length: to - offset }, (_, i) => offset + i),
          ),
        )
        expect(log.filter((_, offset) => !gone.has(offset))).toEqual(content ?? [])
      }),
      { numRuns: 500 },
    )
  })
})
