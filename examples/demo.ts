/**
 * The main job on real data, in about a minute, with the commands a user would give: files in, bad records out, tables and SQL over
 * them, events over HTTP, a kill -9 under load, and a recomputation of everything from the raw log. Exit code 0 when all of it held.
 *
 *     npm run demo                                      the weeks of invoice lines in examples/shop/data
 *     npm run demo -- --data-dir FOLDER                 a folder of such CSV files
 *     MILLRACE_RETAIL=retail-by-day.tar.gz npm run demo a folder or an archive of them: the whole year is 541,909 lines
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs, styleText } from 'node:util'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SHOP = join(ROOT, 'examples/shop')
const BATCHES = 400
const LINES_PER_BATCH = 50
const CLIENTS = 8
const POLL_MS = 50

const work = mkdtempSync(join(tmpdir(), 'millrace-demo-'))
const project = join(work, 'shop')
const data = join(work, 'data')
const children = new Set<ChildProcess>()
const failures: string[] = []
let step = 0

process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(work, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

try {
  const began = performance.now()
  say(styleText('bold', 'Millrace on the invoice lines of a UK gift wholesaler'))
  bringFiles()
  await loadFiles()
  await askTables()
  const server = await startServer('A server: records over HTTP in, SQL and REST out')
  await postEvents(server.url)
  await getEndpoint(server.url)
  const sent = await killUnderLoad(server)
  await recover(sent)
  await verifyAll()
  summarize(performance.now() - began)
} catch (error) {
  say(styleText('red', `\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`))
  process.exitCode = 1
}

/** A project of its own in a temporary folder, so that nothing here is changed. */
function bringFiles(): void {
  const { values } = parseArgs({ options: { 'data-dir': { type: 'string' } } })
  const from = values['data-dir'] ?? process.env['MILLRACE_RETAIL'] ?? join(SHOP, 'data')
  mkdirSync(join(project, 'data'), { recursive: true })
  for (const file of readdirSync(SHOP)) if (file.endsWith('.ts')) copyFileSync(join(SHOP, file), join(project, file))
  if (statSync(from).isDirectory()) cpSync(from, join(project, 'data'), { recursive: true })
  else if (spawnSync('tar', ['-xzf', from, '-C', join(project, 'data')], { stdio: 'inherit' }).status !== 0)
    throw new Error(`${from} could not be unpacked`)
  const files = readdirSync(join(project, 'data'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.csv'),
  )
  say(`${files.length} days, one CSV file each, from ${basename(from)}; UCI Online Retail (Chen, 2015), CC BY 4.0`)
}

async function loadFiles(): Promise<void> {
  heading('Load the files, refuse what is wrong, compute the tables')
  await millrace('run')
  heading('What was refused, as it was received, with file and line')
  await millrace('quarantine', 'show', 'orders', '--limit', '2')
  heading('The same again: nothing is new, so nothing is done')
  await millrace('run')
}

async function askTables(): Promise<void> {
  heading('Ask a table')
  await millrace(
    'query',
    'select country, sum(revenue) as revenue, sum(orders) as orders from daily_revenue group by country order by revenue desc limit 5',
  )
}

interface Server {
  readonly process: ChildProcess
  readonly url: string
}

async function startServer(title: string): Promise<Server> {
  heading(title)
  const args = ['start', '--project', project, '--data', data, '--port', '0', '--json']
  show(args)
  const child = start(args, ['ignore', 'pipe', 'inherit'])
  const lines = createInterface({ input: child.stdout! })
  for await (const line of lines) {
    const event = JSON.parse(line) as { event: string; url: string }
    if (event.event !== 'ready') continue
    say(`ready at ${event.url}, process ${child.pid}`)
    child.stdout!.resume()
    return { process: child, url: event.url }
  }
  throw new Error('the server ended before it was ready')
}

/** A new line, one that a file has brought before, and three that are wrong in different ways. */
async function postEvents(url: string): Promise<void> {
  const columns = 'invoice, stock_code, description, quantity, ordered_at, unit_price, customer_id, country'
  const { columns: names, rows } = await sql(url, `select ${columns} from orders order by _offset limit 1`)
  const known = Object.fromEntries(names.map(({ name }, i) => [name, rows[0]![i]]))
  const before = await status(url)
  const records = [
    JSON.stringify({ ...known, invoice: '999999' }),
    JSON.stringify(known),
    JSON.stringify({ ...known, quantity: 'six' }),
    JSON.stringify({ ...known, unit_price: -1, ordered_at: '2010-02-30T10:00:00Z' }),
    '{"invoice": "999998", "stock_code',
  ]
  say(
    styleText(
      'dim',
      `POST /v1/streams/orders  ${records.length} records: one new, one that a file brought, three wrong`,
    ),
  )
  say(`${await post(url, records)} durable`)
  const after = await caughtUp(url)
  const delta = { accepted: after.accepted - before.accepted, duplicates: after.duplicates - before.duplicates }
  const quarantined = after.quarantined - before.quarantined
  say(`${delta.accepted} accepted, ${delta.duplicates} duplicate, ${quarantined} in quarantine:`)
  expect(
    delta.accepted === 1 && delta.duplicates === 1 && quarantined === 3,
    'posted events are accepted, counted or kept',
  )
  await millrace('quarantine', 'show', 'orders', '--limit', '3')
}

async function getEndpoint(url: string): Promise<void> {
  const path = '/v1/endpoints/top-countries?day=2010-12-01'
  say(`\n${styleText('dim', `GET ${path}`)}`)
  const response = await fetch(url + path)
  expect(response.status === 200, 'an endpoint answers')
  say(`${response.status} ${(await response.text()).slice(0, 240)} …`)
}

interface Sent {
  /** Batches the server has acknowledged, and those of which nobody knows. */
  readonly acknowledged: readonly Batch[]
  readonly unknown: readonly Batch[]
}

interface Batch {
  readonly key: string
  readonly records: readonly string[]
}

/** Several clients post batches; the server is killed in the middle of it. */
async function killUnderLoad({ process: child, url }: Server): Promise<Sent> {
  heading('kill -9, under load')
  const batches = Array.from({ length: BATCHES }, (_, i) => batch(i))
  const queue = [...batches]
  const acknowledged: Batch[] = []
  const client = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      try {
        await post(url, next.records, next.key)
        acknowledged.push(next)
        if (acknowledged.length === BATCHES / 2) child.kill('SIGKILL')
      } catch {
        // No answer: it may be durable or not.
      }
    }
  }
  const gone = once(child, 'exit')
  await Promise.all(Array.from({ length: CLIENTS }, client))
  await gone
  const unknown = batches.filter((each) => !acknowledged.includes(each))
  say(
    `${grouped(acknowledged.length * LINES_PER_BATCH)} lines were acknowledged when process ${child.pid} was killed; ` +
      `${grouped(unknown.length * LINES_PER_BATCH)} had no answer`,
  )
  return { acknowledged, unknown }
}

/** Everything acknowledged is there once; what had no answer is sent again under the same keys. */
async function recover({ acknowledged, unknown }: Sent): Promise<void> {
  const began = performance.now()
  const server = await startServer('Start again: the log and the lake are all there is to recover from')
  say(`recovered in ${seconds(performance.now() - began)}`)
  await caughtUp(server.url)
  const count = async (): Promise<Map<string, number>> => {
    const { rows } = await sql(
      server.url,
      "select invoice, count(*) from orders where country = 'Nowhere' group by invoice",
    )
    return new Map(rows.map(([invoice, lines]) => [String(invoice), Number(lines)]))
  }
  const first = await count()
  const lost = acknowledged.filter(({ key }) => (first.get(key) ?? 0) < LINES_PER_BATCH).length
  const doubled = [...first.values()].filter((lines) => lines > LINES_PER_BATCH).length
  say(`of ${grouped(acknowledged.length)} acknowledged batches: ${lost} lost, ${doubled} doubled`)
  expect(lost === 0 && doubled === 0, 'nothing acknowledged is lost or doubled by kill -9')
  for (const { key, records } of unknown) await post(server.url, records, key)
  await caughtUp(server.url)
  const second = await count()
  const right = second.size === BATCHES && [...second.values()].every((lines) => lines === LINES_PER_BATCH)
  say(
    `the others sent again under their Idempotency-Key: ${grouped(second.size)} of ${BATCHES} batches, each line ${right ? '' : 'NOT '}once`,
  )
  expect(right, 'batches sent again arrive once')
  await tablesCaughtUp(server.url)
  const ended = once(server.process, 'exit')
  server.process.kill('SIGTERM')
  expect((await ended)[0] === 0, 'a server that is told to stop ends in order')
}

async function verifyAll(): Promise<void> {
  heading('Recompute everything from the raw log, and compare row by row')
  expect((await millrace('verify')) === 0, 'what is published is what a recomputation gives')
}

function summarize(ms: number): void {
  say('')
  if (failures.length === 0) say(styleText('green', `All of it held, in ${seconds(ms)}.`))
  else for (const failure of failures) say(styleText('red', `Did not hold: ${failure}.`))
  say(styleText('dim', 'Next: the five-minute tour in README.md.'))
  process.exitCode = failures.length === 0 ? 0 : 1
}

function batch(i: number): Batch {
  const invoice = String(100_000 + i)
  const records = Array.from({ length: LINES_PER_BATCH }, (_, line) =>
    JSON.stringify({
      invoice,
      stock_code: String(10_000 + line),
      quantity: 1 + (line % 5),
      ordered_at: `2011-12-10T${String(8 + (i % 10)).padStart(2, '0')}:00:00Z`,
      unit_price: 2.5,
      country: 'Nowhere',
    }),
  )
  return { key: invoice, records }
}

/** Posts records; the number of them that is durable. Throws without an answer. */
async function post(url: string, records: readonly string[], key: string = randomUUID()): Promise<number> {
  const response = await fetch(`${url}/v1/streams/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', 'idempotency-key': key },
    body: `${records.join('\n')}\n`,
  })
  if (response.status !== 202) throw new Error(`POST answered ${response.status}: ${await response.text()}`)
  return ((await response.json()) as { received: number }).received
}

async function sql(url: string, text: string): Promise<{ columns: { name: string }[]; rows: unknown[][] }> {
  const response = await fetch(`${url}/v1/sql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ sql: text }),
  })
  if (!response.ok) throw new Error(`SQL answered ${response.status}: ${await response.text()}`)
  return (await response.json()) as { columns: { name: string }[]; rows: unknown[][] }
}

interface Counts {
  readonly accepted: number
  readonly duplicates: number
  readonly quarantined: number
  readonly lag: number
}

async function status(url: string): Promise<Counts> {
  return (await (await fetch(`${url}/v1/datasets/orders`)).json()) as Counts
}

/** Waits until every acknowledged record is in a committed snapshot. */
async function caughtUp(url: string): Promise<Counts> {
  for (;;) {
    const counts = await status(url)
    if (counts.lag === 0) return counts
    await sleep(POLL_MS)
  }
}

/** Waits until every table has been computed from what its inputs publish. */
async function tablesCaughtUp(url: string): Promise<void> {
  for (;;) {
    const { datasets } = (await (await fetch(`${url}/v1/datasets`)).json()) as { datasets: { lag: number }[] }
    if (datasets.every(({ lag }) => lag === 0)) return
    await sleep(POLL_MS)
  }
}

/** Runs a command as in a terminal; its exit code. */
async function millrace(...args: string[]): Promise<number> {
  const all = [...args, '--project', project, '--data', data]
  show(all)
  const [code] = (await once(start(all, ['ignore', 'inherit', 'inherit']), 'exit')) as [number]
  if (code > 1) throw new Error(`millrace ${args[0]} ended with ${code}`)
  return code
}

function start(args: readonly string[], stdio: ('ignore' | 'pipe' | 'inherit')[]): ChildProcess {
  const child = spawn(process.execPath, [join(ROOT, 'bin/millrace.js'), ...args], { cwd: work, stdio })
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}

function expect(holds: boolean, what: string): void {
  if (!holds) failures.push(what)
}

function heading(text: string): void {
  say(`\n${styleText(['bold', 'cyan'], `${++step}. ${text}`)}`)
}

function show(args: readonly string[]): void {
  const words = args.map((arg) => (arg.includes(' ') ? `"${arg}"` : arg.replace(`${work}/`, '')))
  say(styleText('dim', `$ millrace ${words.join(' ')}`))
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

function grouped(value: number): string {
  return value.toLocaleString('en-US')
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}
