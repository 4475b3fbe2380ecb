import { check, sql, stream, t, table, within } from '../../src/index.ts'
import type { Declaration } from '../../src/project/dataset.ts'

/** Pseudo-random numbers from a seed: mulberry32. */
export class Dice {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let x = this.#state
    x = Math.imul(x ^ (x >>> 15), x | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 4_294_967_296
  }

  /** A whole number in [low, high]. */
  in(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1))
  }

  one<T>(choices: readonly T[]): T {
    return choices[this.in(0, choices.length - 1)]!
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }
}

/** A table, and one query over the rows of the streams that gives its rows, written apart from how tables are computed. */
export interface Wanted {
  readonly table: Declaration & { readonly name: string }
  /** `a`, `b`: relations with the streams' rows; `wa`, `wb`: their watermarks as SQL timestamps. */
  bulk(inputs: { a: string; b: string; wa: string; wb: string }): string
}

export interface Pipeline {
  readonly declarations: readonly Declaration[]
  readonly latenessMs: number
  readonly tables: readonly Wanted[]
}

interface Aggregate {
  /** Both SQL texts: of the table's query and of the bulk query. */
  readonly text: string
}

const AGGREGATES: readonly Aggregate[] = [
  { text: 'count(*) as v' },
  { text: 'sum(n) as v' },
  { text: 'count(distinct who) as v' },
  { text: 'max(n) - min(n) as v' },
  { text: 'min_by(id, n * 1000 + id) as v' },
]

/** A project made up from a seed: two streams, and windows, sessions, joins and whole tables over them. */
export function randomPipeline(dice: Dice): Pipeline {
  const latenessS = dice.one([0, 5, 20])
  const columns = { id: t.int(), ts: t.timestamp(), who: t.string(), n: t.int() }
  const options = () => ({
    columns,
    time: 'ts' as const,
    lateness: `${latenessS} seconds`,
    unique: dice.chance(0.5) ? (['id'] as const) : { columns: ['id'] as const, horizon: '1 hour' },
    partitions: dice.one([1, 1, 2]),
    ...(dice.chance(0.5) ? { partitionBy: 'hour' as const } : {}),
    checks: [check.range('n', { max: 90 })],
  })
  const a = stream('a', options())
  const b = stream('b', options())
  const tables = Array.from({ length: dice.in(2, 3) }, (_, i) => randomTable(dice, `t${i}`, a, b))
  const chained = tables.flatMap((wanted, i) => chain(dice, `c${i}`, wanted))
  return {
    declarations: [a, b, ...[...tables, ...chained].map((wanted) => wanted.table)],
    latenessMs: latenessS * 1_000,
    tables: [...tables, ...chained],
  }
}

type Input = ReturnType<typeof stream>

function randomTable(dice: Dice, name: string, a: Input, b: Input): Wanted {
  return dice.one([sliding, sliding, topOf, session, joined, unbounded, latest])(dice, name, a, b)
}

const seconds = (n: number) => `interval ${n} second`
const bucket = (size: number) => `make_timestamp((epoch_ms(ts) // ${size * 1000}) * ${size * 1000000})`

function sliding(dice: Dice, name: string, a: Input): Wanted & { every?: number } {
  const every = dice.one([1, 7, 10, 30])
  const size = every * dice.one([1, 1, 2, 3]) + (dice.chance(0.2) ? 1 : 0)
  const { text } = dice.one(AGGREGATES)
  const key = dice.one(['who', 'n % 3'])
  const having = dice.chance(0.3) ? 'having count(*) > 1' : ''
  const emit = dice.one(['closed', 'closed', 'continuous'] as const)
  const tumbles = size === every
  return {
    table: table(name, {
      window: { size: `${size} seconds`, every: `${every} seconds` },
      emit,
      sql: sql`select ${sql.raw(key)} as k, ${sql.raw(text)} from ${a} group by 1 ${sql.raw(having)}`,
    }),
    bulk: ({ a: rows, wa }) => {
      const starts = `select make_timestamp(i * ${every * 1_000_000}) as s from range((select min(epoch_ms(ts)) // ${every * 1000} - ${Math.ceil(size / every)} from ${rows}), (select max(epoch_ms(ts)) // ${every * 1000} + 1 from ${rows})) r(i)`
      const end = `s + ${seconds(size)}`
      return `select s as window_start, ${end} as window_end, ${emit === 'continuous' ? `${end} > ${wa} as window_open,` : ''} ${key} as k, ${text}
        from (${starts}) join ${rows} on ts >= s and ts < ${end} ${emit === 'closed' ? `where ${end} <= ${wa}` : ''} group by s, ${key} ${having}`
    },
    ...(tumbles && emit === 'closed' && text.startsWith('count(*)') && having === '' ? { every } : {}),
  }
}

function topOf(dice: Dice, name: string, a: Input): Wanted {
  const size = dice.one([5, 20, 60])
  const n = dice.in(1, 3)
  return {
    table: table(name, {
      interval: `${size} seconds`,
      sql: sql`select id, who, n from ${a} order by n desc, id limit ${n}`,
    }),
    bulk: ({ a: rows, wa }) =>
      `select s as window_start, s + ${seconds(size)} as window_end, id, who, n from (select *, ${bucket(size)} as s from ${rows}) where s + ${seconds(size)} <= ${wa} qualify row_number() over (partition by s order by n desc, id) <= ${n}`,
  }
}

function session(dice: Dice, name: string, a: Input): Wanted {
  const gap = dice.one([1, 5, 15])
  const { text } = dice.one(AGGREGATES)
  const emit = dice.one(['closed', 'continuous'] as const)
  return {
    table: table(name, {
      window: { gap: `${gap} seconds`, by: 'who' },
      emit,
      sql: sql`select ${sql.raw(text)} from ${a}`,
    }),
    bulk: ({ a: rows, wa }) => {
      const end = `max(ts) + ${seconds(gap)}`
      return `select min(ts) as window_start, ${end} as window_end, ${emit === 'continuous' ? `${end} > ${wa} as window_open,` : ''} who, ${text}
        from (select *, sum(f) over (partition by who order by ts, id rows unbounded preceding) as nr from
          (select *, case when ts - lag(ts) over (partition by who order by ts, id) < ${seconds(gap)} then 0 else 1 end as f from ${rows}))
        group by who, nr ${emit === 'closed' ? `having ${end} <= ${wa}` : ''}`
    },
  }
}

function joined(dice: Dice, name: string, a: Input, b: Input): Wanted {
  const size = dice.one([3, 10, 40])
  const [before, after] = [dice.one([0, 4, 15]), dice.one([1, 6, 30])]
  const kind = dice.one(['join', 'left join'])
  const bound = `y.who = x.who and y.ts >= x.ts - ${seconds(before)} and y.ts < x.ts + ${seconds(after)}`
  return {
    table: table(name, {
      window: { size: `${size} seconds` },
      sql: sql`select x.id as x, y.id as y from ${a} x ${sql.raw(kind)} ${within(b, { before: `${before} s`, after: `${after} s` })} y on ${sql.raw(bound)}`,
    }),
    bulk: ({ a: left, b: right, wa, wb }) =>
      `select s as window_start, s + ${seconds(size)} as window_end, x.id as x, y.id as y from (select *, ${bucket(size)} as s from ${left}) x ${kind} ${right} y on ${bound}
       where s + ${seconds(size)} <= least(${wa}, ${wb} - ${seconds(after)})`,
  }
}

function unbounded(dice: Dice, name: string, a: Input, b: Input): Wanted {
  const limit = dice.in(10, 80)
  const text = dice.chance(0.5)
    ? (x: unknown, y: unknown) => [
        x,
        y,
        `select x.id as x, y.id as y from `,
        ` x join `,
        ` y on x.who = y.who and y.n < ${limit}`,
      ]
    : (x: unknown) => [x, undefined, `select id as x, n as y from `, ` where n < ${limit}`, '']
  const parts = text(a, b)
  const query =
    parts[1] === undefined
      ? sql`${sql.raw(parts[2] as string)}${a}${sql.raw(parts[3] as string)}`
      : sql`${sql.raw(parts[2] as string)}${a}${sql.raw(parts[3] as string)}${b}${sql.raw(parts[4] as string)}`
  return {
    table: table(name, { sql: query }),
    bulk: ({ a: left, b: right }) =>
      parts[1] === undefined
        ? `${parts[2] as string}${left}${parts[3] as string}`
        : `${parts[2] as string}${left}${parts[3] as string}${right}${parts[4] as string}`,
  }
}

function latest(_dice: Dice, name: string, a: Input): Wanted {
  return {
    table: table(name, {
      key: 'who',
      version: 'v',
      sql: {
        default: sql`select who, epoch_us(ts) * 1000 + id as v, n from ${a}`,
        spark: sql`select who, unix_micros(cast(ts as timestamp_ltz)) * 1000 + id as v, n from ${a}`,
      },
    }),
    bulk: ({ a: rows }) =>
      `select who, epoch_us(ts) * 1000 + id as v, n from ${rows} qualify row_number() over (partition by who order by epoch_us(ts) * 1000 + id desc) = 1`,
  }
}

/** A longer window over the counts of a shorter one. */
function chain(dice: Dice, name: string, { table: inner, bulk, every }: Wanted & { every?: number }): Wanted[] {
  if (every === undefined || dice.chance(0.3)) return []
  const size = every * dice.in(2, 5)
  return [
    {
      table: table(name, {
        window: { size: `${size} seconds` },
        sql: sql`select k, sum(v) as v from ${inner as Input} group by k`,
      }),
      bulk: (inputs) => {
        const rows = bulk(inputs)
        const outer = `make_timestamp((epoch_ms(window_start) // ${size * 1000}) * ${size * 1000000})`
        return `select ${outer} as window_start, ${outer} + ${seconds(size)} as window_end, k, sum(v) as v from (${rows}) where ${outer} + ${seconds(size)} <= ${inputs.wa} group by 1, 2, k`
      },
    },
  ]
}
