import { describe, expect, test } from 'vitest'
import { COMMANDS } from '../../src/cli/commands.ts'
import { EVENTS, MILLRACE, ROOT, SHOP, folder, millrace, project } from './support.ts'

test.each(Object.keys(COMMANDS))('millrace %s --help shows usage, options and an example', async (name) => {
  const { code, stdout, stderr } = await millrace([name, '--help'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(new RegExp(`^millrace ${name}: .+\\.\n`))
  expect(stdout).toContain('--help')
  expect(stdout).toMatch(new RegExp(`Examples?\n  .*millrace ${name}`))
  expect(await millrace(['help', name])).toMatchObject({ code: 0, stdout })
})

test('without a command all of them are listed, and the exit code is that of wrong usage', async () => {
  const help = await millrace(['--help'])
  const nothing = await millrace([])
  for (const name of Object.keys(COMMANDS)) expect(help.stdout).toContain(`\n  ${name} `)
  expect(help.code).toBe(0)
  expect(nothing).toMatchObject({ code: 2, stdout: help.stdout })
  expect((await millrace(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
})

describe('what is wrong with the command line is told, with exit code 2', () => {
  test.each([
    [['strt'], "There is no command 'strt'.", "Did you mean 'start'?"],
    [['--project', 'x', 'start'], "The command comes first, before '--project'.", 'millrace start --project DIR'],
    [['start', '--prot', '1'], "millrace start has no option '--prot'.", '--port'],
    [['query', '--jsn', 'select 1'], "millrace query has no option '--jsn'.", "Did you mean '--json'?"],
    [['start', '--port'], '--port needs a value.', 'Write --port N.'],
    [['start', '--port', '70000'], "--port is '70000'.", 'a whole number from 0 to 65535'],
    [['status', '--json=1'], '--json takes no value.', 'Write --json alone.'],
    [['query'], 'millrace query needs SQL.', 'Usage: millrace query'],
    [['query', '--endpoint', 'e', 'select 1'], 'SQL and --endpoint exclude each other.', 'Usage: millrace query'],
    [['query', '--endpoint', 'e', '--param', 'day'], "--param is 'day'.", 'Write --param NAME=VALUE.'],
    [['query', 'select $a', '--param', 'a=1', '--param', 'a=2'], '--param a is given twice.', 'Give it once.'],
    [['query', 'select', '1'], "millrace query cannot use '1'.", 'Put the SQL in quotes'],
    [['run', '--from', 'yesterday'], "--from is 'yesterday', which is not a date or time.", '--from 2026-01-31'],
    [['run', '--from', '2026-02-30'], "--from is '2026-02-30'", 'not a date'],
    [
      ['run', '--from', '2026-02-02', '--to', '2026-02-01'],
      '--from 2026-02-02 is not before --to 2026-02-01.',
      'exclusive',
    ],
    [['replay', 'orders'], 'Where to begin is not said, or said twice.', '--from-start'],
    [['quarantine', 'shw'], "There is no 'millrace quarantine shw'.", "Did you mean 'show'?"],
    [['quarantine', 'show'], 'millrace quarantine show needs a dataset.', 'DATASET'],
    [['quarantine', 'replay', 'a', '--limit', '3'], 'millrace quarantine replay takes no --limit.', 'Only show does.'],
    [['quarantine', 'list', '--rule', 'a'], 'millrace quarantine list takes no --rule.', 'every rule'],
    [['init', ''], 'DIR is empty.', 'millrace init DIR'],
    [['maintain', '--orphans', 'soon'], "--orphans: 'soon' is not a duration.", '1 day'],
    [['init', '--template', 'file'], "There is no template 'file'.", "Did you mean 'files'?"],
  ])('%j', async (args, message, hint) => {
    const { code, stdout, stderr } = await millrace(args, { cwd: folder() })
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(`error: ${message}`)
    expect(stderr).toContain(hint)
  })
})

describe('what fails is told with exit code 1', () => {
  test.each([
    [['query', 'select * from ordrs'], "There is no dataset 'ordrs'.", "Did you mean 'orders'?"],
    [['query', 'select cuntry from orders'], 'cuntry', 'country'],
    [['query', 'drop table orders'], 'SELECT', ''],
    [['run', '--table', 'daily_revenu'], "There is no dataset 'daily_revenu'", "Did you mean 'daily_revenue'?"],
    [['run', '--table', 'orders'], "'orders' is a stream.", 'millrace replay orders'],
    [
      ['run', '--table', 'customer_value', '--from', '2010-12-01'],
      'not computed by interval',
      'Leave out --from and --to',
    ],
    [['replay', 'daily_revenue', '--from-start'], "'daily_revenue' is a table", 'orders'],
    [['quarantine', 'show', 'order'], "There is no dataset 'order'.", "Did you mean 'orders'?"],
    [
      ['quarantine', 'show', 'returns'],
      "'returns' is a table of a query; only streams and functions refuse rows.",
      'These do: orders.',
    ],
    [['verify', 'return'], "There is no dataset 'return'", "Did you mean 'returns'?"],
  ])('%j', async (args, message, hint) => {
    const { code, stdout, stderr } = await millrace([...args, '--project', SHOP, '--data', folder()])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^error: /)
    expect(stderr).toContain(message)
    expect(stderr).toContain(hint)
    expect(stderr).not.toMatch(/\n {4}at /)
  })
})

test('errors as JSON', async () => {
  const usage = await millrace(['query', '--json'])
  expect(JSON.parse(usage.stderr).error).toMatchObject({
    kind: 'invalid',
    code: 'usage',
    message: 'millrace query needs SQL.',
  })
  const root = project({ 'a.ts': 'export const = 1' })
  const failed = await millrace(['run', '--json', '--project', root])
  expect(failed).toMatchObject({ code: 1, stdout: '' })
  expect(JSON.parse(failed.stderr).error).toMatchObject({
    code: 'bad-project',
    problems: [{ code: 'bad-project-file', context: { line: 1 } }],
  })
})

test('stacks are shown only when asked for', async () => {
  const { stderr } = await millrace(['plan'], { cwd: folder(), env: { MILLRACE_DEBUG: '1' } })
  expect(stderr).toMatch(/\n {4}at /)
})

test('colour: on when forced, off for files, pipes and NO_COLOR', async () => {
  const colour = '\u001b['
  expect((await millrace(['help'])).stdout).not.toContain(colour)
  expect((await millrace(['help'], { env: { FORCE_COLOR: '1' } })).stdout).toContain(colour)
  expect((await millrace(['help'], { env: { NO_COLOR: '1' } })).stdout).not.toContain(colour)
  expect((await millrace(['nope'], { env: { FORCE_COLOR: '1' } })).stderr).toContain(colour)
})

describe('the launcher', () => {
  const old =
    'data:text/javascript,Object.defineProperty(process,"versions",{value:{...process.versions,node:"20.20.2"}})'

  test('on an old Node takes the one of the npm package', async () => {
    const { code, stdout } = await millrace(['--version'], { nodeFlags: ['--import', old] })
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^\d+\./) })
    expect((await millrace(['strt'], { nodeFlags: ['--import', old] })).code).toBe(2)
  })

  test('on an old Node alone says what to install', async () => {
    const { copyFileSync } = await import('node:fs')
    const { spawnSync } = await import('node:child_process')
    const away = folder()
    copyFileSync(MILLRACE, `${away}/millrace.mjs`)
    const { status, stderr } = spawnSync(process.execPath, ['--import', old, `${away}/millrace.mjs`, 'plan'], {
      cwd: away,
      encoding: 'utf8',
    })
    expect(status).toBe(1)
    expect(stderr).toBe(
      'error: Millrace needs Node 22.18 or newer, and this is 20.20.2.\n  hint  Install a newer Node, or put one beside Millrace with: npm install --save-dev node@24\n',
    )
  })
})

test('the documentation names every command and every option', async () => {
  const { readFileSync } = await import('node:fs')
  const page = readFileSync(`${ROOT}/docs/cli.md`, 'utf8')
  for (const [name, { load }] of Object.entries(COMMANDS)) {
    expect(page).toContain(`\n## ${name}\n`)
    for (const option of Object.keys((await load()).default.options)) expect(page).toContain(`--${option}`)
  }
})

test('commands that only read tell all problems of a project too', async () => {
  const root = project({
    'a.ts':
      "import { stream, t } from 'millrace'\nexport const a = stream('a', { columns: { id: t.string() }, time: 'at' as 'id', unique: ['no' as 'id'] })\n",
  })
  const { code, stderr } = await millrace(['status', '--json', '--project', root])
  expect(code).toBe(1)
  expect(
    JSON.parse(stderr).error.problems.map((each: { message: string }) => each.message.replace(/.*: /, '')),
  ).toEqual([
    "time names column 'at', which stream 'a' does not have.",
    "unique names column 'no', which stream 'a' does not have.",
  ])
})

test.each([
  [['status', '--data', 'file'], 'error: The data directory file is no directory.', '--data'],
  [['run', '--data', 'file'], 'error: The data directory file is no directory.', '--data'],
  [['init', 'file'], 'error: file is a file, not a folder.', 'millrace init DIR'],
])('a file where a folder is wanted is told: %j', async (args, message, hint) => {
  const root = project({ ...EVENTS, file: '' })
  const { code, stdout, stderr } = await millrace(args, { cwd: root })
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toContain(message)
  expect(stderr).toContain(hint)
})
