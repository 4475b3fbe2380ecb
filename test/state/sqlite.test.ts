import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { openState } from '../../src/state/state.ts'
import { stateConformance } from './conformance.ts'

stateConformance('SQLite', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-state-'))
  let made = 0
  return {
    target: async () => ({ kind: 'sqlite', path: join(directory, `${made++}.db`) }),
    remove: () => rm(directory, { recursive: true, force: true }),
  }
})

describe('state in SQLite', () => {
  const directory = async () => {
    const path = await mkdtemp(join(tmpdir(), 'millrace-state-'))
    onTestFinished(() => rm(path, { recursive: true, force: true }))
    return path
  }

  test('time is that of the clock it is given', async () => {
    let now = 1_000
    const clock = { ...systemClock, now: () => now }
    const state = await openState({ kind: 'sqlite', path: join(await directory(), 'state.db') }, { clock })
    const lease = (await state.leases.acquire('x', 'a', 500))!
    expect(await state.leases.list()).toEqual([{ ...lease, remainingMs: 500 }])
    now += 499
    expect(await state.leases.acquire('x', 'b', 500)).toBeUndefined()
    now += 1
    expect(await state.leases.acquire('x', 'b', 500)).toMatchObject({ epoch: lease.epoch + 1 })
    await state.runs.begin({ id: 'r', kind: 'k', holder: 'h' })
    now += 10
    await state.runs.finish('r', { outcome: 'stopped' })
    expect(await state.runs.list()).toMatchObject([{ startedMs: 1_500, endedMs: 1_510 }])
    await state.close()
  })

  test('a file that is no database, a directory, and a place that is not there are told as such', async () => {
    const root = await directory()
    await writeFile(join(root, 'text'), 'not a database at all, however long it is made'.repeat(20))
    await mkdir(join(root, 'folder'))
    const opening = (path: string) => openState({ kind: 'sqlite', path: join(root, path) }, { clock: systemClock })
    await expect(opening('text')).rejects.toMatchObject({ kind: 'corrupt', code: 'state-corrupt' })
    await expect(opening('folder')).rejects.toMatchObject({ kind: 'denied', code: 'no-access' })
    await expect(opening('no/where.db')).rejects.toMatchObject({
      kind: 'denied',
      code: 'no-access',
      message: expect.stringContaining(join(root, 'no/where.db')),
    })
  })
})
