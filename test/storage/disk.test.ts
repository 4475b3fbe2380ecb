import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { replaceFile, storageError, systemDisk } from '../../src/storage/disk.ts'
import { FaultyDisk } from '../support/faulty-disk.ts'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-disk-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

describe('systemDisk', () => {
  test('writes go to the end, many buffers in their order', async () => {
    const path = join(directory, 'a')
    const file = await systemDisk.open(path, 'append')
    await file.write(Buffer.from('start '))
    // More than one writev takes at once.
    const buffers = Array.from({ length: 5_000 }, (_, i) => Buffer.from(`${i} `))
    await file.writeAll([...buffers, Buffer.alloc(0)])
    await file.writeAll([])
    await file.write(Buffer.from('end'))
    await file.dataSync()
    const expected = `start ${buffers.map(String).join('')}end`
    expect(await readFile(path, 'utf8')).toBe(expected)
    expect(await file.size()).toBe(expected.length)
    expect(String(await file.read(3, 6))).toBe('rt 0 1')
    expect(await file.read(expected.length - 2, 100)).toHaveLength(2)
    await file.truncate(5)
    expect(await readFile(path, 'utf8')).toBe('start')
    await file.close()
  })

  test('create and link put a name only where there is none', async () => {
    const [a, b] = [join(directory, 'a'), join(directory, 'b')]
    await (await systemDisk.open(a, 'create')).close()
    await expect(systemDisk.open(a, 'create')).rejects.toMatchObject({
      kind: 'conflict',
      code: 'exists',
      context: { path: a },
    })
    await systemDisk.link(a, b)
    await expect(systemDisk.link(a, b)).rejects.toMatchObject({ kind: 'conflict', code: 'exists' })
  })

  test('what is not there', async () => {
    const path = join(directory, 'none')
    expect(await systemDisk.stat(path)).toBeUndefined()
    expect(await systemDisk.stat(join(path, 'below'))).toBeUndefined()
    expect(await systemDisk.list(path)).toEqual([])
    await systemDisk.remove(path)
    await systemDisk.removeTree(path)
    for (const call of [systemDisk.readFile(path), systemDisk.open(path, 'read'), systemDisk.syncFile(path)]) {
      await expect(call).rejects.toMatchObject({
        kind: 'invalid',
        code: 'not-found',
        message: `${path} does not exist.`,
      })
    }
  })

  test('lists names in order and tells directories apart', async () => {
    await systemDisk.makeDirectory(join(directory, 'b', 'c'))
    await systemDisk.makeDirectory(join(directory, 'b'))
    await writeFile(join(directory, 'a'), 'x')
    expect(await systemDisk.list(directory)).toEqual(['a', 'b'])
    expect(await systemDisk.stat(join(directory, 'b'))).toMatchObject({ directory: true })
    expect(await systemDisk.stat(join(directory, 'a'))).toMatchObject({ directory: false, size: 1 })
  })
})

test.each([
  ['ENOSPC', 'unavailable', 'disk-full'],
  ['EDQUOT', 'unavailable', 'disk-full'],
  ['EIO', 'corrupt', 'io-error'],
  ['EACCES', 'denied', 'no-access'],
  ['EROFS', 'denied', 'no-access'],
  ['EMFILE', 'internal', 'io'],
])('%s is %s/%s', (errno, kind, code) => {
  const error = storageError(Object.assign(new Error('x'), { code: errno }), '/somewhere')
  expect(error).toMatchObject({
    kind,
    code,
    message: expect.stringContaining('/somewhere'),
    context: { path: '/somewhere' },
  })
})

test('replaceFile leaves the old or the new content, whatever fails and whatever a power loss keeps', async () => {
  for (const loss of [
    undefined,
    { names: 0, bytes: 0 },
    { names: 1, bytes: 0 },
    { names: 0.5, lastNames: true, bytes: 0.5 },
  ]) {
    for (let at = 1; ; at++) {
      const path = join(directory, `file-${at}`)
      await replaceFile(systemDisk, path, Buffer.from('old'))
      const disk = new FaultyDisk(join(directory, 'limbo'), { at, error: 'EIO', torn: 0.5, lasting: true })
      const done = await replaceFile(disk, path, Buffer.from('new content')).then(
        () => true,
        () => false,
      )
      if (loss !== undefined) await disk.losePower(loss)
      expect(done ? ['new content'] : ['old', 'new content']).toContain(await readFile(path, 'utf8'))
      await replaceFile(systemDisk, path, Buffer.from('next'))
      expect(await readFile(path, 'utf8')).toBe('next')
      expect((await readdir(directory)).filter((name) => name.endsWith('.tmp'))).toEqual([])
      if (done) break
    }
  }
})
