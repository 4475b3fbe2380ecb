import { appendFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { StreamLog } from '../../src/log/log.ts'
import { crcOf, encodeHeader } from '../../src/log/local/frame.ts'
import { batchOf, recordsFrom } from './conformance.ts'
import { localHome } from './home.ts'

type Step =
  | { readonly do: 'append'; readonly sizes: readonly (readonly number[])[]; readonly mark: number | undefined }
  | { readonly do: 'repeat'; readonly which: number }
  | { readonly do: 'take' | 'compact' | 'reopen' | 'verify' }
  | { readonly do: 'checkpoint'; readonly part: number }
  | { readonly do: 'retain'; readonly bytes: number }
  | { readonly do: 'crash'; readonly part: number }

const part = fc.double({ min: 0, max: 1, noNaN: true })
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      sizes: fc.array(fc.array(fc.nat(40), { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 4 }),
      mark: fc.option(fc.nat(2), { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('repeat' as const), which: fc.nat() }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom('take' as const, 'compact' as const, 'reopen' as const, 'verify' as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('checkpoint' as const), part }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('retain' as const), bytes: fc.nat(2_000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const), part }) },
)

test('whatever is done to it, a log holds what was acknowledged, in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const home = await localHome({ segmentBytes: 500, mergedBytes: 1_500, mergedFiles: 3, cachedFrames: 5 })
      const open = () => home.open({ partitions: 1 })
      let log: StreamLog = await open()
      const records: string[] = []
      const keys: { key: string; from: number; to: number }[] = []
      const marks: (number | undefined)[] = []
      for (const step of steps) {
        const partition = log.partitions[0]!
        if (step.do === 'append') {
          await Promise.all(
            step.sizes.map((sizes) => {
              const from = records.length
              const batch = sizes.map((size, i) => `{"n":${from + i},"x":"${'y'.repeat(size)}"}`)
              const key = `k${keys.length}`
              records.push(...batch)
              marks.push(...batch.map(() => step.mark))
              keys.push({ key, from, to: records.length })
              return partition.append(
                batchOf(batch, { key, ...(step.mark === undefined ? {} : { source: step.mark }) }),
              )
            }),
          )
        } else if (step.do === 'repeat' && keys.length > 0) {
          const { key, from, to } = keys[step.which % keys.length]!
          const repetition = partition.append(batchOf(records.slice(from, to), { key }))
          if (from >= partition.start) expect(await repetition).toEqual({ from, to, repeated: true })
          else if (!(await repetition).repeated) {
            marks.push(...records.slice(from, to).map(() => undefined))
            records.push(...records.slice(from, to))
            keys.push({ key, from: records.length - (to - from), to: records.length })
          }
        } else if (step.do === 'take') {
          await partition.take(partition.checkpoint)
        } else if (step.do === 'checkpoint') {
          partition.checkpointed(Math.floor(partition.end * step.part))
        } else if (step.do === 'compact') {
          await partition.compact()
        } else if (step.do === 'retain') {
          await partition.retain({ bytes: step.bytes })
          expect(partition.start).toBeLessThanOrEqual(partition.checkpoint)
        } else if (step.do === 'verify') {
          expect((await partition.verify()).corruption).toBeUndefined()
        } else if (step.do === 'reopen' || step.do === 'crash') {
          await log.close()
          if (step.do === 'crash') await tear(join(home.directory, '0'), partition.end, step.part)
          log = await open()
        }
        expect(log.partitions[0]!.end).toBe(records.length)
      }
      const partition = log.partitions[0]!
      expect(await recordsFrom(partition)).toEqual(records.slice(partition.start))
      expect(
        log
          .marks()
          .flatMap(({ offset, to, mark }) => Array.from({ length: to - offset }, (_, i) => [offset + i, mark])),
      ).toEqual([...marks.entries()].filter(([, mark]) => mark !== undefined))
      await log.close()
      await home.remove()
    }),
    { numRuns: 120 },
  )
})

/** Leaves a part of a write that was never acknowledged at the end of the tail. */
async function tear(directory: string, end: number, part: number): Promise<void> {
  const tail = (await readdir(directory)).filter((name) => /^\d+\.ndjson$/.test(name)).at(-1)
  const payload = Buffer.from('{"torn":1}\n{"torn":2}\n')
  const header = encodeHeader({
    offset: end,
    records: 2,
    bytes: payload.length,
    atMs: 0,
    key: 'torn',
    markJson: '9',
    crc: crcOf([payload]),
    write: end,
  })
  const frame = Buffer.concat([header, payload])
  // Without a tail the torn write is the first of a new segment.
  const name = tail ?? `${String(end).padStart(16, '0')}.ndjson`
  await appendFile(join(directory, name), frame.subarray(0, Math.floor((frame.length - 1) * part)))
}
