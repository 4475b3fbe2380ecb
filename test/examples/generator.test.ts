import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { generator as clicks } from '../../examples/clicks/generate.ts'
import type { Arrival } from '../../examples/generator/arrivals.ts'
import { linesOf } from '../../examples/generator/command.ts'
import { Heap } from '../../examples/generator/heap.ts'
import { generator as rides } from '../../examples/rides/generate.ts'
import { ROOT, folder, get, serve, until } from '../cli/support.ts'

const GENERATORS = [clicks, rides]

function generate(path: string, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) =>
    execFile(process.execPath, [join(ROOT, path), ...args], { maxBuffer: 64 << 20 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    ),
  )
}

const share = (lines: readonly Arrival[], cause: string) =>
  lines.filter((line) => line.cause === cause).length / lines.length

describe.each(GENERATORS)('$path', (generator) => {
  test('the same options give the same lines, another seed others', () => {
    const first = [...linesOf(generator)]
    expect([...linesOf(generator)]).toEqual(first)
    expect(first.length).toBeGreaterThan(1_000)
    expect([...linesOf(generator, { seed: '2' })]).not.toEqual(first)
  })

  test('shares are as declared, and lines come in the order of their arrival', () => {
    const given = { duplicates: '0.1', late: '0.05', stale: '0.05', bad: '0.1', future: '0.05', hours: '24' }
    const lines = [...linesOf(generator, given)]
    const events = lines.length * (1 - share(lines, 'duplicate'))
    for (const [cause, wanted] of Object.entries({ bad: 0.1, future: 0.05, late: 0.05, stale: 0.05 })) {
      const found = (share(lines, cause) * lines.length) / events
      expect(found, cause).toBeGreaterThan(wanted * 0.8)
      expect(found, cause).toBeLessThan(wanted * 1.1)
    }
    for (let i = 1; i < lines.length; i++) expect(lines[i]!.atMs).toBeGreaterThanOrEqual(lines[i - 1]!.atMs)
    expect(lines.every(({ line }) => !line.includes('\n'))).toBe(true)
  })

  test('nothing is wrong where nothing is said to be', () => {
    const none = { duplicates: '0', disorder: '0', late: '0', stale: '0', bad: '0', future: '0' }
    const lines = [...linesOf(generator, none)]
    expect(share(lines, 'clean')).toBe(1)
    const times = lines.map(({ line }) => (JSON.parse(line) as { at_time: string }).at_time)
    expect(times).toEqual(times.toSorted())
  })

  test('its help names every option and its examples run', async () => {
    const { code, stdout } = await generate(generator.path, '--help')
    expect(code).toBe(0)
    for (const name of [...Object.keys(generator.rates), ...Object.keys(generator.shares), 'seed', 'post', 'rate'])
      expect(stdout).toContain(`--${name} `)
    expect(stdout).toContain(`node ${generator.path} --post`)
  })

  test('a file holds what standard output would', async () => {
    const file = join(folder(), 'out.ndjson')
    const stream = ['--stream', generator.streams[0]!, '--hours', '1']
    const { stdout } = await generate(generator.path, ...stream)
    expect(await generate(generator.path, ...stream, '--out', file)).toMatchObject({ code: 0, stdout: '' })
    expect(readFileSync(file, 'utf8')).toBe(stdout)
    expect(stdout.split('\n').length).toBeGreaterThan(100)
  })
})

test.each([
  [['--sead', '1'], /Unknown option '--sead'[^]*--help/],
  [['--seed', 'one'], /--seed 'one' is no number/],
  [['--late', '1.5'], /--late 1.5 is no share: it lies between 0 and 1/],
  [['--hours', '-1'], /argument is ambiguous|no number/],
  [['--start', 'soon'], /--start 'soon' is no time\. Write 2025-06-02T06:00:00Z, or now/],
  [['--stream', 'taps'], /--stream 'taps' is none of clicks/],
  [['--post', 'localhost'], /--post 'localhost' is no URL/],
  [['--post', 'http://127.0.0.1:1', '--rate', '0'], /--rate 0 would never send anything/],
])('%j is not understood', async (args, message) => {
  const { code, stdout, stderr } = await generate('examples/clicks/generate.ts', ...args)
  expect(stderr).toMatch(message)
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
})

test('without a server it says so, and fails', async () => {
  const { code, stderr } = await generate('examples/clicks/generate.ts', '--post', 'http://127.0.0.1:1')
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: 'error: No answer from http://127.0.0.1:1: is a server running? (millrace start)\n',
  })
})

test('a server gets all of it, and the endpoints answer', async () => {
  const { running, url } = await serve(join(ROOT, 'examples/clicks'), folder())
  const lines = [...linesOf(clicks)]
  const { code, stdout } = await generate('examples/clicks/generate.ts', '--post', url, '--rate', '5000')
  expect({ code, stdout: stdout.replace(/after .*\n/, '') }).toEqual({
    code: 0,
    stdout: `clicks: ${lines.length.toLocaleString('en-US')} durable, `,
  })
  await until(
    () => get(url, '/v1/datasets'),
    ({ datasets }) => datasets.every(({ lag, rows }: { lag: number; rows: number }) => lag === 0 && rows > 0),
  )
  const counts = await get(url, '/v1/datasets/clicks')
  expect(counts).toMatchObject({ received: lines.length, accepted: 4_359, duplicates: 85, quarantined: 41 })
  const { rows: conversion } = await get(url, '/v1/endpoints/conversion')
  expect(conversion).toHaveLength(10)
  expect(conversion[0]).toEqual({ product: 'stool', viewed: 116, carted: 37, bought: 25, percent: 21.6 })
  const { rows: visits } = await get(url, '/v1/endpoints/visits?user=u1')
  expect(visits[0]).toMatchObject({ began: '2025-06-02T09:42:07.227Z', events: 5, left_on: '/search' })
  const { rows: trending } = await get(url, '/v1/endpoints/trending')
  expect(trending).toHaveLength(3)
  const { rows: minutes } = await get(url, '/v1/endpoints/page-minutes?page=/product/lamp&from=2025-06-02T11:41:00Z')
  expect(minutes[0]).toEqual({ minute: '2025-06-02T11:41:00Z', views: 2, users: 2 })
  expect(await running.kill('SIGTERM')).toMatchObject({ code: 0 })
})

test('a heap gives by time, and of one time as it was given', () => {
  const heap = new Heap<string>()
  for (const [i, atMs] of [5, 1, 3, 1, 9, 5, 0].entries()) heap.push(atMs, `${atMs}:${i}`)
  const popped = Array.from({ length: 7 }, () => heap.pop())
  expect(popped).toEqual(['0:6', '1:1', '1:3', '3:2', '5:0', '5:5', '9:4'])
  expect([heap.pop(), heap.nextMs]).toEqual([undefined, Infinity])
})
