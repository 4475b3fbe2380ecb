import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { TEMPLATES } from '../../src/cli/make-project.ts'
import { folder, get, millrace, post, serve, until, write } from './support.ts'

describe.each(Object.keys(TEMPLATES))('the %s template', (template) => {
  test('is a project without problems that runs', async () => {
    const cwd = folder()
    const made = await millrace(['init', 'My First-Project', '--template', template], { cwd })
    expect(made).toMatchObject({ code: 0, stderr: '' })
    expect(made.stdout).toMatch(
      /\nNext:\n {2}millrace plan --project 'My First-Project'\n {2}millrace dev --project 'My First-Project'\n$/,
    )
    const root = join(cwd, 'My First-Project')
    expect(readdirSync(root)).toEqual(
      expect.arrayContaining(['.gitignore', 'README.md', 'millrace.config.ts', 'package.json', 'tsconfig.json']),
    )
    expect(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))).toMatchObject({
      name: 'my_first_project',
      dependencies: { millrace: expect.stringMatching(/^\^\d/) },
    })
    expect((await millrace(['plan'], { cwd: root })).stdout).toMatch(
      /^my_first_project: 1 stream, 1 table, 1 endpoint\. No problems\./,
    )
    expect((await millrace(['run'], { cwd: root })).code).toBe(0)
    for (const name of readdirSync(root).filter((file) => /\.(ts|json|md)$/.test(file)))
      expect(readFileSync(join(root, name), 'utf8')).not.toContain('__')
  })
})

test('the files template cleans what its README says it does', async () => {
  const root = folder()
  await millrace(['init', '--template', 'files'], { cwd: root })
  const run = JSON.parse((await millrace(['run', '--json'], { cwd: root })).stdout)
  expect(run.streams[0]).toMatchObject({ received: 9, accepted: 7, duplicates: 1, quarantined: 1 })
  const { rows } = JSON.parse(
    (
      await millrace(
        ['query', '--json', 'select day, sum(revenue) as revenue from daily_sales group by day order by day'],
        { cwd: root },
      )
    ).stdout,
  )
  expect(rows).toEqual([
    ['2026-01-30', 1122.4],
    ['2026-01-31', 88.8],
  ])
})

test('the clicks template takes the records of its README', async () => {
  const root = folder()
  await millrace(['init', '--template', 'clicks'], { cwd: root })
  const { running, url } = await serve(root, folder())
  const records = /<<'EOF'\n([^]*?)EOF/.exec(readFileSync(join(root, 'README.md'), 'utf8'))![1]!
  expect(await post(url, '/v1/streams/clicks', records)).toMatchObject({ status: 202, body: { received: 4 } })
  const top = await until(
    () => get(url, '/v1/endpoints/top-pages?day=2026-01-31'),
    ({ rows }) => rows.length === 2,
  )
  expect(top.rows).toEqual([
    { page: '/', clicks: 1 },
    { page: '/pricing', clicks: 1 },
  ])
  await running.kill('SIGTERM')
})

test('nothing is overwritten, and then nothing is written', async () => {
  const root = write(folder(), { 'README.md': 'mine' })
  const { code, stderr } = await millrace(['init'], { cwd: root })
  expect(code).toBe(1)
  expect(stderr).toMatch(/has README\.md already\.\n {2}hint {2}Nothing was written\./)
  expect(readFileSync(join(root, 'README.md'), 'utf8')).toBe('mine')
  expect(existsSync(join(root, 'millrace.config.ts'))).toBe(false)
})

test('an npx user is told npx commands', async () => {
  const { stdout } = await millrace(['init'], { cwd: folder(), env: { npm_command: 'exec' } })
  expect(stdout).toContain('  npx millrace dev\n')
})
