import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { DiskPlaces, type HandlerPlaces, StatePlaces } from '../../src/runtime/changes/handler-places.ts'
import { openState } from '../../src/state/state.ts'
import { systemDisk } from '../../src/storage/disk.ts'

interface PlacesHome {
  /** As the process that begins now sees them. */
  open(): HandlerPlaces
  /** Puts something in the place of a handler that is none. */
  spoil(handler: string): Promise<void>
}

const directory = async (): Promise<string> => {
  const path = await mkdtemp(join(tmpdir(), 'millrace-places-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

const inState = async (): Promise<PlacesHome> => {
  const { places, close } = await openState(
    { kind: 'sqlite', path: join(await directory(), 'state.db') },
    { clock: systemClock },
  ).then((state) => ({ places: state.places, close: () => state.close() }))
  onTestFinished(close)
  return {
    open: () => new StatePlaces(places),
    spoil: async (handler) => void (await places.write(`handler/${handler}`, { position: 7 }, undefined)),
  }
}

const onDisk = async (): Promise<PlacesHome> => {
  const path = await directory()
  return {
    open: () => new DiskPlaces(systemDisk, path),
    spoil: async (handler) => {
      await mkdir(join(path, 'handlers'))
      await writeFile(join(path, 'handlers', `${handler}.json`), '{"position":7}')
    },
  }
}

const place = { dataset: 'orders', position: { done: 12n }, reset: false }
const next = { dataset: 'orders', position: { done: 12n, into: { to: 15n, row: 400 } }, reset: true }

describe.each([
  ['on disk', onDisk],
  ['in the state', inState],
])('places of handlers %s', (_, makeHome) => {
  test('are what was written last', async () => {
    const home = await makeHome()
    const places = home.open()
    expect(await places.read('mail')).toBeUndefined()
    await places.write('mail', place)
    expect(await home.open().read('mail')).toEqual(place)
    await places.write('mail', next)
    expect(await home.open().read('mail')).toEqual(next)
    expect(await places.read('other')).toBeUndefined()
  })

  test('that say nothing are told as such', async () => {
    const home = await makeHome()
    await home.spoil('mail')
    await expect(home.open().read('mail')).rejects.toMatchObject({ kind: 'corrupt', code: 'bad-handler-file' })
  })
})

test('a process that slept does not take a handler back that another has moved on', async () => {
  const home = await inState()
  const [sleeper, other] = [home.open(), home.open()]
  await sleeper.write('mail', place)
  await other.read('mail')
  await other.write('mail', next)
  await expect(sleeper.write('mail', place)).rejects.toMatchObject({ kind: 'conflict', code: 'place-moved' })
  expect(await sleeper.read('mail')).toEqual(next)
  await sleeper.write('mail', place)
  await expect(home.open().write('mail', place)).rejects.toMatchObject({ code: 'place-moved' })
})
