import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { lockDirectory } from '../../src/storage/lock.ts'

const holder = fileURLToPath(import.meta.resolve('./lock-holder.ts'))

describe('lockDirectory', () => {
  let directory: string
  const children: ChildProcess[] = []

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'millrace-lock-'))
  })
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
    await rm(directory, { recursive: true, force: true })
  })

  async function start(): Promise<{ child: ChildProcess; says: string }> {
    const child = spawn(process.execPath, [holder, directory], { stdio: ['pipe', 'pipe', 'inherit'] })
    children.push(child)
    const [bytes] = (await once(child.stdout, 'data')) as [Buffer]
    return { child, says: bytes.toString().trim() }
  }

  test('a file in the way is told as such', async () => {
    const file = join(directory, 'file')
    await writeFile(file, '')
    for (const path of [file, join(file, 'data')])
      await expect(lockDirectory(path)).rejects.toMatchObject({
        kind: 'invalid',
        code: 'not-a-directory',
        message: `The data directory ${path} is a file, or within one.`,
      })
  })

  test('a second process is refused, with the pid of the first and a remedy', async () => {
    const { child, says } = await start()
    expect(says).toBe('locked')
    await expect(lockDirectory(directory)).rejects.toMatchObject({
      kind: 'conflict',
      code: 'data-locked',
      message: expect.stringContaining(`in use by process ${child.pid}`),
      hint: expect.stringContaining('--data'),
      context: { pid: child.pid },
    })
    expect((await start()).says).toContain('data-locked')
  })

  test('a second holder in the same process is refused', async () => {
    const lock = await lockDirectory(directory)
    await expect(lockDirectory(directory)).rejects.toMatchObject({
      code: 'data-locked',
      message: expect.stringContaining('this process'),
    })
    await lock.release()
    await lock.release()
    await (await lockDirectory(directory)).release()
  })

  test('the lock ends with kill -9', async () => {
    for (let round = 0; round < 3; round++) {
      const { child, says } = await start()
      expect(says).toBe('locked')
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    await (await lockDirectory(directory)).release()
  })

  test('released by one process, taken by another', async () => {
    const { child } = await start()
    child.stdin!.write('release\n')
    await once(child, 'exit')
    const lock = await lockDirectory(directory)
    expect((await start()).says).toContain('data-locked')
    await lock.release()
    expect((await start()).says).toBe('locked')
  })

  test('a note left by a process that was killed names nobody else', async () => {
    await writeFile(join(directory, 'lock.pid'), '999999\n')
    const lock = await lockDirectory(directory)
    await expect(lockDirectory(directory)).rejects.toMatchObject({ context: { pid: process.pid } })
    await lock.release()
  })

  test('a directory that cannot be locked says so', async () => {
    await writeFile(join(directory, 'lock.db'), 'this is not a database, and it is longer than a header would be')
    await expect(lockDirectory(directory)).rejects.toMatchObject({ code: 'lock-failed' })
  })
})
