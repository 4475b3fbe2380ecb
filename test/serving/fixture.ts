import { mkdtemp, mkdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { systemClock } from '../../src/base/clock.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { quoteLiteral } from '../../src/base/identifier.ts'
import { didYouMean } from '../../src/base/suggest.ts'
import { type Columns, type IdentifiedField, fieldsOf, t } from '../../src/project/columns.ts'
import type { Config } from '../../src/project/config.ts'
import { type Endpoint, endpoint } from '../../src/project/endpoint.ts'
import { sql } from '../../src/project/sql.ts'
import { stream } from '../../src/project/stream.ts'
import type { ServingLimits } from '../../src/serving/limits.ts'
import type { DatasetDetail, DatasetStatus, RunStatus, RunsQuestion } from '../../src/project/status.ts'
import type { IncomingBatch, Platform, Relation } from '../../src/serving/platform.ts'
import { type Server, startServer } from '../../src/serving/server.ts'

/** A platform over real Parquet files, which says what was asked of it. */
export class FilePlatform implements Platform {
  readonly project = 'shop'
  readonly appended: { stream: string; batch: IncomingBatch }[] = []
  readonly folder: string
  readonly columnsOf: Record<string, Columns>
  versions: Record<string, string> = {}
  waitingFor: string | undefined
  appendError: MillraceError | undefined
  endpointList: Endpoint[] = []
  readsOpen = 0
  readsTotal = 0
  onControl: (progress: (event: Record<string, unknown>) => void, input: Record<string, unknown>) => Promise<unknown> =
    async () => ({ done: true })

  constructor(folder: string, columns: Record<string, Columns>) {
    this.folder = folder
    this.columnsOf = columns
  }

  notReady() {
    return this.waitingFor
  }

  async append(name: string, batch: IncomingBatch) {
    if (this.appendError) throw this.appendError
    const repeated = batch.key !== undefined && this.appended.some((each) => each.batch.key === batch.key)
    if (!repeated) this.appended.push({ stream: name, batch })
    return { received: batch.records, repeated }
  }

  async runs({ limit = 0, dataset = 'totals' }: RunsQuestion): Promise<RunStatus[]> {
    const run = {
      kind: 'refresh',
      holder: 'here',
      started_at: '2026-01-01T00:00:00.000Z',
      ended_at: null,
      outcome: null,
    }
    return Array.from({ length: Math.min(limit, 2) }, (_, i) => ({ id: String(i), dataset, ...run }))
  }

  async datasets(): Promise<DatasetStatus[]> {
    return Object.keys(this.columnsOf).map((name) => this.#status(name))
  }

  async dataset(name: string): Promise<DatasetDetail> {
    this.#known(name)
    return {
      ...this.#status(name),
      fields: identified(this.columnsOf[name]!),
      inputs: [],
      outputs: [],
      checks: [],
      files: 1,
      bytes: 1,
    }
  }

  endpoints() {
    return this.endpointList
  }

  streamNames() {
    return ['orders']
  }

  relationNames() {
    return [...Object.keys(this.columnsOf), 'orders__quarantine']
  }

  async relation(name: string): Promise<Relation> {
    if (name === 'orders__quarantine') return this.quarantine('orders')
    this.#known(name)
    return this.#relation(name, name, this.columnsOf[name]!)
  }

  async quarantine(name: string): Promise<Relation> {
    this.#known(name)
    return this.#relation(`${name}__quarantine`, 'rejects', { reason: t.string(), record: t.string() })
  }

  /** Files do not change: nothing follows here. */
  changes(name: string): never {
    this.#known(name)
    throw new MillraceError('internal', 'not-followed', `'${name}' is a file.`)
  }

  control(verb: string, input: Record<string, unknown>, progress: (event: Record<string, unknown>) => void) {
    if (verb !== 'run') {
      throw new MillraceError('invalid', 'unknown-verb', `There is no '${verb}'.`, { hint: didYouMean(verb, ['run']) })
    }
    return this.onControl(progress, input)
  }

  #known(name: string) {
    if (Object.hasOwn(this.columnsOf, name)) return
    throw new MillraceError('invalid', 'unknown-dataset', `There is no dataset '${name}'.`, {
      hint: didYouMean(name, Object.keys(this.columnsOf)),
    })
  }

  #relation(name: string, file: string, columns: Columns): Relation {
    this.readsOpen++
    this.readsTotal++
    let released = false
    return {
      name,
      version: this.versions[name] ?? '1',
      fields: identified(columns),
      sql: `read_parquet(${quoteLiteral(join(this.folder, 'lake', `${file}.parquet`))})`,
      directories: [join(this.folder, 'lake')],
      release: () => {
        if (!released) this.readsOpen--
        released = true
      },
    }
  }

  #status(name: string): DatasetStatus {
    return {
      name,
      kind: name === 'orders' ? 'stream' : 'table',
      state: 'ok',
      snapshot: '9007199254740993',
      published: '9007199254740993',
      rows: 6,
      received: 6,
      accepted: 6,
      duplicates: 0,
      quarantined: 0,
      refuses: true,
      lag: 0,
      freshness_ms: 5,
      watermark: null,
    }
  }
}

function identified(columns: Columns): IdentifiedField[] {
  return fieldsOf(columns).map((field, i) => ({ ...field, id: i + 1 })) as unknown as IdentifiedField[]
}

export const orderColumns = {
  order_id: t.string().doc('Number of the order.'),
  line: t.int(),
  country: t.string().nullable(),
  quantity: t.long(),
  price: t.decimal(10, 2),
  weight: t.double().nullable(),
  gift: t.boolean(),
  ordered_on: t.date(),
  ordered_at: t.timestamp(),
  extra: t.json().nullable(),
  tags: t.list(t.string()),
  address: t.struct({ city: t.string(), zip: t.string().nullable() }),
}

const ORDER_ROWS = `
  select * from (values
    ('1001', 1::int, 'France',  2::bigint, 9.99::decimal(10,2),  0.5::double, true,  date '2024-01-01', timestamp '2024-01-01 10:00:00',        '{"a":[1,2.50]}', ['new','eu'], {'city':'Paris', 'zip':'75001'}),
    ('1001', 2::int, 'France',  1::bigint, 100.00::decimal(10,2), null,       false, date '2024-01-01', timestamp '2024-01-01 10:00:00.123456', null,             []::varchar[], {'city':'Lyon', 'zip':null}),
    ('1002', 1::int, 'Germany', 9007199254740993::bigint, 0.10::decimal(10,2), 'NaN'::double, false, date '2024-01-02', timestamp '2024-01-02 00:00:00', '"x"', ['a"b'], {'city':'Köln', 'zip':'50667'}),
    ('1003', 1::int, null,      5::bigint, 5.00::decimal(10,2),  1e300::double, true, date '2024-01-03', timestamp '2024-01-03 12:30:00.5',     '7',              ['x'], {'city':'Nowhere', 'zip':'0'}),
    ('1004', 1::int, 'Spain',   3::bigint, 7.25::decimal(10,2),  -0.25::double, true, date '2024-02-29', timestamp '2024-02-29 23:59:59.999999', 'null',         ['y'], {'city':'a,b', 'zip':''}),
    ('1005', 1::int, 'Spain',   3::bigint, 7.25::decimal(10,2),  2::double, true, date '2024-03-01', timestamp '1969-12-31 23:59:59.999999', 'true',         ['z'], {'city':'c', 'zip':'1'})
  ) v(order_id, line, country, quantity, price, weight, gift, ordered_on, ordered_at, extra, tags, address)`

export interface Fixture {
  readonly platform: FilePlatform
  readonly server: Server
  readonly folder: string
  close(): Promise<void>
}

export const CONTROL_TOKEN = 'control-token-of-this-test'

/** Writes the Parquet files of the test's datasets into a folder. */
export async function writeLake(folder: string): Promise<void> {
  await mkdir(join(folder, 'lake'), { recursive: true })
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  const files = {
    orders: ORDER_ROWS,
    numbers: 'select i as n, i % 10 as digit, null::varchar as word from range(2500) t(i)',
    rejects: "select 'not-null(line)' as reason, '{\"line\":null}' as record from range(3)",
  }
  for (const [name, rows] of Object.entries(files)) {
    await connection.run(`copy (${rows}) to ${quoteLiteral(join(folder, 'lake', `${name}.parquet`))} (format parquet)`)
  }
  connection.closeSync()
  instance.closeSync()
}

export async function startFixture(
  options: { config?: Config; limits?: Partial<ServingLimits> } = {},
): Promise<Fixture> {
  const folder = await mkdtemp(join(tmpdir(), 'serving-'))
  await writeLake(folder)
  const platform = new FilePlatform(folder, {
    orders: orderColumns,
    numbers: { n: t.long(), digit: t.long(), word: t.string().nullable() },
  })
  const orders = stream('orders', { columns: orderColumns })
  platform.endpointList = [
    endpoint('top-countries', {
      params: { day: t.date(), country: t.string().nullable(), least: t.decimal(10, 2).nullable() },
      sql: sql`select country, sum(price) as revenue from ${orders}
        where ordered_on = ${'day'} and (${'country'} is null or country = ${'country'}) and (${'least'} is null or price >= ${'least'})
        group by country order by revenue desc`,
      doc: 'Revenue of a day by country.',
    }),
    endpoint('clock', { sql: sql`select now() as at from ${orders} limit 1` }),
  ]
  const server = await startServer({
    platform,
    config: { ...options.config, server: { port: 0, ...options.config?.server } },
    clock: systemClock,
    directories: [join(folder, 'lake')],
    temporary: join(folder, 'tmp'),
    controlToken: CONTROL_TOKEN,
    ...(options.limits ? { limits: options.limits } : {}),
  })
  return {
    platform,
    server,
    folder,
    async close() {
      await server.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export interface JsonResponse {
  readonly status: number
  /** Parsed, when it is JSON: of any shape, because looking into it is what tests are for. */
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly body: any
  readonly text: string
  readonly headers: Headers
}

/** Answer of `POST /v1/sql`. */
export async function ask(
  server: Server,
  body: string | Record<string, unknown>,
  headers: Record<string, string> = {},
): Promise<JsonResponse> {
  const response = await fetch(`${server.url}/v1/sql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(typeof body === 'string' ? { sql: body } : body),
  })
  return read(response)
}

export async function get(server: Server, path: string, headers: Record<string, string> = {}) {
  return read(await fetch(server.url + path, { headers }))
}

async function read(response: Response): Promise<JsonResponse> {
  const text = await response.text()
  const isJson = /json/.test(response.headers.get('content-type') ?? '')
  return { status: response.status, text, body: isJson ? JSON.parse(text) : undefined, headers: response.headers }
}
