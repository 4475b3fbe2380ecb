import { expect, test } from 'vitest'
import { folder, millrace, project, write } from './support.ts'

const declared = (onZero: string) => `
import { mapReduce, source, stream, t } from 'millrace'
export const numbers = stream('numbers', { columns: { id: t.int(), n: t.int() }, source: source.files({ path: 'numbers.ndjson' }) })
export const inverses = numbers.map('inverses', {
  columns: { id: t.int(), inverse: t.double() },
  map: ({ id, n }) => {
    if (n === 0) ${onZero}
    return { id, inverse: 1 / n }
  },
})
export const signs = mapReduce('signs', {
  from: numbers,
  columns: { sign: t.int(), n: t.int() },
  map: ({ n }) => [[Math.sign(n), 1]],
  reduce: (sign, ones) => ({ sign, n: [...ones].length }),
})
`

test('functions of a project run in threads; what they refuse is listed, shown and replayed', async () => {
  const directory = project({
    'millrace.config.ts': "export default { name: 'numbers' }\n",
    'numbers.ts': declared("throw new RangeError('no inverse of 0')"),
    'numbers.ndjson': '{"id":1,"n":2}\n{"id":2,"n":0}\n{"id":3,"n":-4}\n',
  })
  const run = async (...args: string[]) => millrace([...args, '--project', directory, '--data', data])
  const json = async (...args: string[]) => JSON.parse((await run(...args, '--json')).stdout)
  const data = folder()
  expect((await run('plan')).stdout).toMatch(/inverses +table +4 +map, append +numbers/)
  expect((await run('run')).code).toBe(0)
  expect((await json('query', 'select sign, n from signs order by sign')).rows).toEqual([
    [-1, 1],
    [0, 1],
    [1, 1],
  ])
  expect((await run('status')).stdout).toMatch(/\ninverses +table +ok +2 +3 +2 +0 +1 +0 /)
  expect((await run('quarantine', 'list')).stdout).toMatch(/\ninverses +function +1 .* RangeError: no inverse of 0\n/)
  const shown = await run('quarantine', 'show', 'inverses')
  // The function's own frames, and none of ours.
  expect(shown.stdout).toMatch(
    /^function {2}RangeError: no inverse of 0\n +at map \(.*\/numbers\.ts:7:\d+\)\n {2}partition 0, offset 1 /,
  )
  expect(shown.stdout).toContain('{"id":2,"n":0}')

  write(directory, { 'numbers.ts': declared('return { id, inverse: 0 }') })
  expect((await json('quarantine', 'replay', 'inverses')).after).toMatchObject({
    received: 3,
    accepted: 3,
    quarantined: 0,
  })
  expect((await run('quarantine', 'list')).stdout).toBe('Nothing is in quarantine.\n')
  expect((await json('query', 'select id, inverse from inverses order by id')).rows).toEqual([
    [1, 0.5],
    [2, 0],
    [3, -0.25],
  ])
  expect((await run('verify')).code).toBe(0)
})
