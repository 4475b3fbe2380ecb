import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { check, endpoint, source, sql, stream, t, table } from '../../src/index.ts'
import type { Check, Column, PartitionBy } from '../../src/index.ts'
import { MillraceError } from '../../src/base/errors.ts'
import { Database } from '../../src/engine/duckdb/database.ts'
import type { Declaration } from '../../src/project/dataset.ts'
import { Project } from '../../src/project/project.ts'
import { bindProject } from '../../src/runtime/bind.ts'

const HERE = fileURLToPath(import.meta.url)

const columns = { id: t.string(), n: t.int(), at: t.timestamp(), day: t.date().nullable(), tags: t.list(t.string()) }
const events = stream('events', { columns, time: 'at' })
const timeless = stream('timeless', { columns: { id: t.string() } })
const daily = table('daily', { interval: 'day', sql: sql`select count(*) as n from ${events}` })

/** Declarations made wrong on purpose: types would not allow some of them. */
const wrong = (name: string, options: object) => stream(name, { columns, ...options })
const checked = (...checks: Check[]) => wrong('bad', { time: 'at', checks })
const asTable = (name: string, options: object) => table(name, { sql: sql`select id, n from ${events}`, ...options })

async function problemsOf(declarations: readonly Declaration[]): Promise<readonly MillraceError[]> {
  const project = new Project({ name: 'p', directory: '/p', config: {}, declarations })
  const database = await Database.open({ threads: 1, memory: 2 ** 28, temporary: '/nonexistent' })
  try {
    return (await bindProject(project, database)).problems
  } finally {
    await database.close()
  }
}

interface Case {
  readonly code: string
  /** The last one is the one that is wrong. */
  readonly declare: () => readonly Declaration[]
  readonly message: RegExp
  readonly hint: RegExp
  readonly column?: string
}

function wrongCheck(rule: Check, code: string, message: RegExp, hint: RegExp, column?: string): Case {
  return {
    code,
    declare: () => [events, timeless, checked(rule)],
    message,
    hint,
    ...(column === undefined ? {} : { column }),
  }
}

function wrongStream(options: object, code: string, message: RegExp, hint: RegExp, column?: string): Case {
  return { code, declare: () => [wrong('bad', options)], message, hint, ...(column === undefined ? {} : { column }) }
}

function wrongTable(options: object, code: string, message: RegExp, hint: RegExp, column?: string): Case {
  return {
    code,
    declare: () => [events, timeless, daily, asTable('bad', options)],
    message,
    hint,
    ...(column === undefined ? {} : { column }),
  }
}

const bad = (): Declaration => asTable('first', {})

const OVERRIDES: Record<string, Case> = {
  'an override that reads something else': wrongTable(
    { sql: { default: sql`select id, n from ${events}`, spark: sql`select id, 1 as n from ${timeless}` } },
    'sql-references',
    /sql reads events by default, and timeless for spark/,
    /same datasets/,
  ),
  'an override with a parameter': wrongTable(
    { sql: { default: sql`select id, n from ${events}`, spark: sql`select ${'id'}, n from ${events}` } },
    'bad-sql-part',
    /sql for spark has \$\{'id'\}/,
    /sql\.literal/,
  ),
}

const STREAMS: Record<string, Case> = {
  'a misspelt option': wrongStream(
    { tiem: 'at' },
    'unknown-option',
    /there is no option 'tiem'/,
    /Did you mean 'time'/,
  ),
  'no columns': {
    code: 'no-columns',
    declare: () => [stream('bad', { columns: {} })],
    message: /'bad' has no columns/,
    hint: /at least one/,
  },
  'a name that is not portable': {
    code: 'bad-name',
    declare: () => [stream('Bad-Name', { columns })],
    message: /'Bad-Name' is not a usable name/,
    hint: /lower-case letters/,
  },
  'a column name that is not portable': wrongStream(
    { columns: { 'Order ID': t.string() } },
    'bad-name',
    /column 'Order ID'/,
    /lower-case/,
    'Order ID',
  ),
  'a column of Millrace’s own': wrongStream(
    { columns: { _offset: t.int() } },
    'reserved-column',
    /column '_offset' is one of Millrace's own/,
    /another name/,
    '_offset',
  ),
  'a time column that is not there': wrongStream(
    { time: 'att' },
    'unknown-column',
    /time names column 'att', which stream 'bad' does not have/,
    /Did you mean 'at'\?/,
    'att',
  ),
  'a time that is no time': wrongStream(
    { time: 'n' },
    'bad-time',
    /time column 'n' is int/,
    /t\.timestamp\(\) or t\.date\(\)/,
    'n',
  ),
  'a time that may be missing': wrongStream(
    { time: 'day' },
    'bad-time',
    /time column 'day' is nullable/,
    /Remove \.nullable\(\)/,
    'day',
  ),
  'unique columns that are not there': wrongStream(
    { unique: ['idd'] },
    'unknown-column',
    /unique names column 'idd'/,
    /'id'/,
    'idd',
  ),
  'unique of nothing': wrongStream({ unique: [] }, 'bad-unique', /unique names no column/, /Name the columns/),
  'a horizon without a time': wrongStream(
    { unique: { columns: ['id'], horizon: '1 day' } },
    'bad-unique',
    /no time column/,
    /Declare time/,
  ),
  'a horizon shorter than the lateness': wrongStream(
    { time: 'at', lateness: '2 days', unique: { columns: ['id'], horizon: '1 day' } },
    'bad-unique',
    /looks back 1 day, which is less than the lateness of 2 days/,
    /at least as long/,
  ),
  'a horizon that is no time': wrongStream(
    { time: 'at', unique: { columns: ['id'], horizon: 'a while' } },
    'bad-duration',
    /unique\.horizon: 'a while' is not a duration/,
    /'10 minutes'/,
  ),
  'a lateness that is no time': wrongStream(
    { lateness: 'soon' },
    'bad-duration',
    /lateness: 'soon'/,
    /number and a unit/,
  ),
  'a retention that is no time': wrongStream({ retention: '7' }, 'bad-duration', /retention: '7'/, /number and a unit/),
  'a key that is not there': wrongStream(
    { key: 'who' },
    'unknown-column',
    /key names column 'who'/,
    /There are: id, n, at, day, tags/,
    'who',
  ),
  'no partitions': wrongStream({ partitions: 0 }, 'bad-partitions', /partitions is 0/, /from 1 to 64/),
  'half a partition': wrongStream({ partitions: 1.5 }, 'bad-partitions', /partitions is 1\.5/, /whole number/),
  'a key that would part duplicates': wrongStream(
    { partitions: 2, unique: ['id'], key: 'n' },
    'bad-key',
    /duplicates could land in different partitions/,
    /some of the unique columns/,
  ),
  "a topic of others whose duplicates nobody's key brings together": wrongStream(
    { topic: 'billing', partitions: 2, unique: ['id'] },
    'bad-key',
    /a duplicate may lie in another partition of topic 'billing'/,
    /key: 'id'/,
  ),
  'partitionBy without a time': wrongStream(
    { partitionBy: 'day' },
    'bad-partition',
    /partitionBy 'day' needs a time column/,
    /Declare time/,
  ),
  'partitionBy a column that is not there': wrongStream(
    { partitionBy: { column: 'x', by: 'identity' } },
    'unknown-column',
    /partitionBy names column 'x'/,
    /'n'/,
    'x',
  ),
  'partitionBy a day of a number': wrongStream(
    { partitionBy: { column: 'n', by: 'day' } },
    'bad-partition',
    /column 'n' is int; it cannot be partitioned by day/,
    /day takes date, timestamp/,
    'n',
  ),
  'partitionBy the hour of a date': wrongStream(
    { time: 'at', partitionBy: { column: 'day', by: 'hour' } },
    'bad-partition',
    /column 'day' is date/,
    /hour takes timestamp/,
    'day',
  ),
  'partitionBy a list': wrongStream(
    { partitionBy: { column: 'tags', by: 'bucket', count: 4 } },
    'bad-partition',
    /column 'tags' is list/,
    /bucket takes/,
    'tags',
  ),
  'partitionBy a truncated time': wrongStream(
    { partitionBy: { column: 'at', by: 'truncate', width: 4 } },
    'bad-partition',
    /column 'at' is timestamp/,
    /truncate takes string, int, long, decimal/,
    'at',
  ),
  'partitionBy something else': wrongStream(
    { time: 'at', partitionBy: 'dya' },
    'bad-partition',
    /partitionBy is 'dya'/,
    /Did you mean 'day'/,
  ),
  'partitionBy a transform there is not': wrongStream(
    { partitionBy: { column: 'id', by: 'buckets', count: 4 } },
    'bad-partition',
    /partitionBy is 'buckets'/,
    /Did you mean 'bucket'/,
  ),
  'unknown fields treated otherwise': wrongStream(
    { unknown: 'kepp' },
    'bad-unknown',
    /unknown is 'kepp'/,
    /Did you mean 'keep'/,
  ),
  'partitionBy no buckets': wrongStream(
    { partitionBy: { column: 'id', by: 'bucket', count: 0 } },
    'bad-partition',
    /partitioned by bucket 0/,
    /at least 1/,
    'id',
  ),
  'files in several partitions': wrongStream(
    { partitions: 2, source: source.files({ path: '*.csv' }) },
    'bad-partitions',
    /partitions is 2, but a stream with file sources has one: a file that comes again replaces/,
    /Remove partitions/,
  ),
  'a source with an option there is not': wrongStream(
    { source: source.files({ path: '*.csv', delimeter: ';' } as never) },
    'unknown-option',
    /source '\*\.csv' has no option 'delimeter'/,
    /Did you mean 'delimiter'/,
  ),
  'a source of a format there is not': wrongStream(
    { source: source.files({ path: '*.xml', format: 'xml' as never }) },
    'bad-source',
    /format of source '\*\.xml' is 'xml'/,
    /There are: csv, ndjson, json, parquet/,
  ),
  'two sources of one name': wrongStream(
    { source: [source.files({ path: '*.csv' }), source.files({ path: '*.csv' })] },
    'duplicate-source',
    /Two sources are called '\*\.csv'/,
    /name of its own/,
  ),
  'a mapping of a column that is not there': wrongStream(
    { source: source.files({ path: '*.csv', map: { idd: 'Id' } }) },
    'unknown-column',
    /map of source '\*\.csv' names column 'idd'/,
    /'id'/,
    'idd',
  ),
  'a mapping from an excluded field': wrongStream(
    { source: source.files({ path: '*.csv', exclude: ['Secret'], map: { id: 'Secret' } }) },
    'bad-source',
    /takes 'id' from 'Secret', which is excluded/,
    /Remove one/,
    'id',
  ),
  'an encoding nobody knows': wrongStream(
    { source: source.files({ path: '*.csv', encoding: 'utf-9' }) },
    'bad-encoding',
    /has encoding 'utf-9'/,
    /windows-1252/,
  ),
  'a source looked at every now and then': wrongStream(
    { source: source.files({ path: '*.csv', every: 'often' }) },
    'bad-duration',
    /every of source '\*\.csv': 'often'/,
    /number and a unit/,
  ),
  'a mapping that does not bind': wrongStream(
    { source: source.files({ path: '*.csv', map: { n: sql`no_such_function("x")` } }) },
    'bad-sql',
    /checks or map: .*no_such_function/,
    /./,
  ),
  'a mapping that is no expression': wrongStream(
    { source: source.files({ path: '*.csv', map: { n: sql`"x" +` } }) },
    'bad-sql',
    /checks or map: Parser error/,
    /./,
  ),
}

const CHECKS: Record<string, Case> = {
  'a column that is not there': wrongCheck(
    check.range('m', { min: 1 }),
    'unknown-column',
    /check range\(m\) names column 'm'/,
    /Did you mean|There are/,
    'm',
  ),
  'a range of nothing': wrongCheck(
    check.range('n', {}),
    'bad-check',
    /range\(n\) has nothing to compare with/,
    /min, max or both/,
    'n',
  ),
  'a range of numbers over text': wrongCheck(
    check.range('id', { min: 1 }),
    'bad-check',
    /range\(id\) compares a string with 1/,
    /Give text/,
    'id',
  ),
  'a range of text over numbers': wrongCheck(
    check.range('n', { max: 'ten' }),
    'bad-check',
    /range\(n\) compares a int with "ten"/,
    /Give a number/,
    'n',
  ),
  'a range over a list': wrongCheck(
    check.range('tags', { min: 'a' }),
    'bad-check',
    /compares a list with "a"/,
    /check\.predicate/,
    'tags',
  ),
  'a date that is none': wrongCheck(
    check.range('day', { min: '2026-02-31x' }),
    'bad-check',
    /compares a date with/,
    /2026-01-31/,
    'day',
  ),
  'a time that is none': wrongCheck(
    check.range('at', { min: 'yesterday' }),
    'bad-check',
    /compares a timestamp with "yesterday"/,
    /ISO 8601/,
    'at',
  ),
  'one of nothing': wrongCheck(
    check.oneOf('id', []),
    'bad-check',
    /oneOf\(id\) has nothing to compare with/,
    /at least one value/,
    'id',
  ),
  'one of numbers for text': wrongCheck(
    check.oneOf('id', ['a', 2]),
    'bad-check',
    /compares a string with 2/,
    /Give text/,
    'id',
  ),
  'a pattern over numbers': wrongCheck(
    check.matches('n', /x/),
    'bad-check',
    /matches\(n\) needs a string column/,
    /check\.predicate/,
    'n',
  ),
  'a pattern only JavaScript has': wrongCheck(
    check.matches('id', /(?=x)/),
    'bad-sql',
    /check matches\(id\): .*invalid perl operator/,
    /RE2: no look-ahead/,
  ),
  'a condition that does not bind': wrongCheck(
    check.predicate('p', sql`nn > 1`),
    'bad-sql',
    /check p: Binder error: .*"?nn"?/,
    /'n'/,
  ),
  'a condition that is no expression': wrongCheck(
    check.predicate('p', sql`n >`),
    'bad-sql',
    /check p: Parser error/,
    /./,
  ),
  'a reference from a column that is not there': wrongCheck(
    check.reference('who', events, 'id'),
    'unknown-column',
    /reference\(who\)/,
    /./,
    'who',
  ),
  'a reference to a column that is not there': wrongCheck(
    check.reference('id', events, 'who'),
    'bad-sql',
    /check reference\(\w+\): Binder error: .*who/,
    /./,
  ),
  'a row count of anything': wrongCheck(
    check.rowCount({}),
    'bad-check',
    /row_count has nothing to compare with/,
    /min, max or both/,
  ),
  'a share above one': wrongCheck(
    check.nullFraction('n', { max: 5 }),
    'bad-check',
    /null_fraction\(n\) allows 5/,
    /0 to 1/,
    'n',
  ),
  'nulls of a column that is not there': wrongCheck(
    check.nullFraction('m', { max: 0 }),
    'unknown-column',
    /null_fraction\(m\)/,
    /./,
    'm',
  ),
  'unique rows by nothing': wrongCheck(check.unique([]), 'bad-check', /unique\(\) names no column/, /Name the columns/),
  'unique rows by a column that is not there': wrongCheck(
    check.unique(['id', 'm']),
    'unknown-column',
    /unique\(id, m\) names column 'm'/,
    /./,
    'm',
  ),
  'a sum of a column that is not there': wrongCheck(
    check.sumEquals('m', events, 'n'),
    'unknown-column',
    /sum_equals\(m\)/,
    /./,
    'm',
  ),
  'a sum of text': wrongCheck(
    check.sumEquals('id', events, 'n'),
    'bad-sql',
    /check sum_equals\(\w+\): Binder error: .*sum/,
    /./,
  ),
  'the sum of something that is not there': wrongCheck(
    check.sumEquals('n', events, 'price'),
    'bad-sql',
    /check sum_equals\(\w+\): .*price/,
    /./,
  ),
  'freshness within no time': wrongCheck(
    check.freshness('a bit'),
    'bad-duration',
    /freshness: 'a bit' is no length of time/,
    /'1 hour'/,
  ),
  'a query that does not bind': wrongCheck(
    check.sql('q', sql`select x from this`),
    'bad-sql',
    /check q: Binder error: .*x/,
    /./,
  ),
}

const TABLES: Record<string, Case> = {
  'a parameter in its SQL': wrongTable(
    { sql: sql`select * from ${events} where id = ${'who'}` },
    'bad-sql-part',
    /sql has \$\{'who'\}/,
    /sql\.literal\(\)/,
  ),
  'a dataset named as if it were a table of the engine': wrongTable(
    { sql: sql`select id from events` },
    'bad-sql',
    /Table with name events does not exist/,
    /Name dataset 'events' by the variable that declares it/,
  ),
  'SQL over a table that nothing declares': wrongTable(
    { sql: sql`select id from nowhere` },
    'bad-sql',
    /Table with name nowhere does not exist/,
    /by the variable that declares it, as in `from \$\{orders\}`/,
  ),
  'a check of a column beside those Millrace adds': wrongTable(
    { sql: sql`select * from ${events}`, checks: [check.unique(['nn'])] },
    'unknown-column',
    /unique\(nn\) names column 'nn'/,
    /^It returns id, n, at, day, tags\.$/,
    'nn',
  ),
  'SQL with a column near to one that Millrace adds': wrongTable(
    { sql: sql`select of from ${events}` },
    'bad-sql',
    /Referenced column "of" not found/,
    /^Correct the SQL/,
  ),
  'SQL that misspells a column that Millrace adds': wrongTable(
    { sql: sql`select _ofset from ${events}` },
    'bad-sql',
    /Referenced column "_ofset" not found/,
    /^Did you mean '_offset'/,
  ),
  'a misspelt option': wrongTable({ intervall: 'day' }, 'unknown-option', /no option 'intervall'/, /'interval'/),
  'an interval and a key': wrongTable(
    { sql: sql`select count(*) as n from ${events}`, interval: 'day', key: 'n' },
    'bad-option',
    /'key' does not go with the other options/,
    /by interval, by window, by key/,
  ),
  'early results of no window': wrongTable({ emit: 'closed' }, 'bad-option', /'emit' does not go/, /go with windows/),
  'an interval that is none': wrongTable(
    { interval: 'dya' },
    'bad-interval',
    /interval is 'dya'/,
    /Did you mean 'day'/,
  ),
  'a file in its query': wrongTable(
    { sql: sql`select n from ${events} join read_csv('prices.csv') using (id)` },
    'reads-outside',
    /reads read_csv\(…\), which is no dataset/,
    /source\.files/,
  ),
  'a file in a query within its query': wrongTable(
    { sql: sql`with p as (select * from 'prices.parquet') select n from ${events} where n in (select price from p)` },
    'reads-outside',
    /reads 'prices\.parquet'/,
    /source\.files/,
  ),
  'SQL that does not bind': wrongTable(
    { sql: sql`select idd from ${events}` },
    'bad-sql',
    /sql: Binder error: .*idd/,
    /Did you mean 'id'/,
  ),
  'SQL that is none': wrongTable({ sql: sql`selct 1` }, 'bad-sql', /sql: Parser error/, /./),
  'two columns of one name': wrongTable(
    { sql: sql`select id, n as id from ${events}` },
    'duplicate-column',
    /two columns called 'id'/,
    /AS/,
  ),
  'two columns that differ in case': wrongTable(
    { sql: sql`select id, n as "ID" from ${events}` },
    'duplicate-column',
    /two columns called 'ID'/,
    /AS/,
  ),
  'a column without a name': wrongTable(
    { sql: sql`select id, count(*) from ${events} group by id` },
    'bad-name',
    /returns a column called 'count_star\(\)'/,
    /Name it with AS/,
    'count_star()',
  ),
  'a type no table can hold': wrongTable(
    { sql: sql`select interval 1 day as i from ${events}` },
    'bad-type',
    /Column 'i' has type INTERVAL/,
    /Cast it/,
    'i',
  ),
  'an interval over what has no time': wrongTable(
    { interval: 'day', sql: sql`select count(*) as n from ${timeless}` },
    'no-time',
    /reads nothing that has a time/,
    /time: 'column'/,
  ),
  'a column that the interval adds': wrongTable(
    { interval: 'day', sql: sql`select 1 as day from ${events}` },
    'reserved-column',
    /a column 'day', which the interval adds itself/,
    /Leave it out/,
  ),
  'a promised column that the interval adds': wrongTable(
    { interval: 'day', columns: { day: t.date() }, sql: sql`select 1 as x from ${events}` },
    'reserved-column',
    /column 'day' is added by the interval/,
    /Leave it out/,
    'day',
  ),
  'a promise that is not kept': wrongTable(
    { columns: { id: t.string(), x: t.int() } },
    'unknown-column',
    /does not return the promised column 'x'/,
    /It returns id, n/,
  ),
  'more than was promised': wrongTable(
    { columns: { id: t.string() } },
    'unpromised-column',
    /returns column 'n', which columns does not promise/,
    /Add it to columns/,
  ),
  'another type than promised': wrongTable(
    { columns: { id: t.date(), n: t.int() } },
    'type-mismatch',
    /'id' is promised as date, but the query returns string/,
    /cast in the query/,
  ),
  'a key of nothing': wrongTable({ key: [] }, 'bad-key', /key names no column/, /identify a row/),
  'a key that is not returned': wrongTable(
    { key: 'who' },
    'unknown-column',
    /does not return column 'who'/,
    /It returns id, n/,
  ),
  'a version that is not returned': wrongTable(
    { key: 'id', version: 'v' },
    'unknown-column',
    /does not return column 'v'/,
    /It returns/,
  ),
  'a flag that is not promised': wrongTable(
    { key: 'id', deleted: 'gone', columns: { id: t.string(), n: t.int() } },
    'unknown-column',
    /deleted names column 'gone'/,
    /./,
    'gone',
  ),
  'a row check': wrongTable(
    { checks: [check.range('n', { min: 1 })] },
    'bad-check',
    /range\(n\) is a row check; tables take dataset checks/,
    /check\.sql/,
  ),
  'a check of a column that is not returned': wrongTable(
    { checks: [check.unique(['id', 'm'])] },
    'unknown-column',
    /unique\(id, m\) names column 'm', which the query does not return/,
    /It returns id, n/,
    'm',
  ),
  'a check of a column that is not promised': wrongTable(
    { columns: { id: t.string(), n: t.int() }, checks: [check.nullFraction('m', { max: 0 })] },
    'unknown-column',
    /null_fraction\(m\)/,
    /./,
    'm',
  ),
  'partitionBy a day it does not have': wrongTable(
    { partitionBy: 'day' },
    'bad-partition',
    /partitionBy 'day' needs a time column/,
    /interval of a table/,
  ),
  'partitionBy the hour of a day': wrongTable(
    { interval: 'day', partitionBy: 'hour', sql: sql`select count(*) as n from ${events}` },
    'bad-partition',
    /column 'day' is date; it cannot be partitioned by hour/,
    /hour takes timestamp/,
    'day',
  ),
  'partitionBy a column that is not returned': wrongTable(
    { partitionBy: { column: 'm', by: 'identity' } satisfies PartitionBy },
    'unknown-column',
    /partitionBy names column 'm'/,
    /It returns id, n/,
    'm',
  ),
}

const GRAPHS: Record<string, Case> = {
  'two datasets of one name': {
    code: 'duplicate-name',
    declare: () => [events, bad(), asTable('first', {})],
    message: /Two datasets are called 'first'; the other stands at .*rules\.test\.ts:\d+/,
    hint: /Rename one/,
  },
  'two endpoints of one name': {
    code: 'duplicate-name',
    declare: () => [endpoint('e', { sql: sql`select 1` }), endpoint('e', { sql: sql`select 2` })],
    message: /Two endpoints are called 'e'/,
    hint: /Rename/,
  },
  'a dataset that is not exported': {
    code: 'not-exported',
    declare: () => [asTable('bad', { sql: sql`select * from ${timeless}` })],
    message: /'bad' refers to 'timeless' \(.*rules\.test\.ts:\d+\), which no project file exports/,
    hint: /export const/,
  },
  'a checked dataset that is not exported': {
    code: 'not-exported',
    declare: () => [events, asTable('bad', { checks: [check.sumEquals('n', timeless, '1')] })],
    message: /refers to 'timeless'/,
    hint: /export const/,
  },
  'a parameter that is not declared': {
    code: 'unknown-parameter',
    declare: () => [
      events,
      endpoint('bad', {
        params: { who: t.string() },
        sql: sql`select * from ${events} where id = ${'who'} or id = ${'woh'}`,
      }),
    ],
    message: /uses \$\{'woh'\}, which is not among params/,
    hint: /'who'/,
    column: 'woh',
  },
  'a parameter that is not used': {
    code: 'unused-parameter',
    declare: () => [events, endpoint('bad', { params: { who: t.string() }, sql: sql`select * from ${events}` })],
    message: /parameter 'who' is not used/,
    hint: /remove it/,
    column: 'who',
  },
  'a parameter of many values': {
    code: 'bad-parameter',
    declare: () => [
      events,
      endpoint('bad', {
        params: { who: t.list(t.string()) as Column<unknown> },
        sql: sql`select * from ${events} where list_contains(${'who'}, id)`,
      }),
    ],
    message: /parameter 'who' is list/,
    hint: /scalar/,
    column: 'who',
  },
  'an endpoint name that is not usable': {
    code: 'bad-name',
    declare: () => [endpoint('Bad name', { sql: sql`select 1` })],
    message: /'Bad name' is not a usable name/,
    hint: /lower-case/,
  },
  'an endpoint that does not bind': {
    code: 'bad-sql',
    declare: () => [events, endpoint('bad', { sql: sql`select idd from ${events}` })],
    message: /endpoint 'bad' .*sql: Binder error: .*idd/,
    hint: /'id'/,
  },
}

describe.each([
  ['a table with', OVERRIDES],
  ['a stream with', STREAMS],
  ['a check with', CHECKS],
  ['a table with', TABLES],
  ['a project with', GRAPHS],
])('%s', (_, cases) => {
  test.each(Object.entries(cases))('%s', async (_name, { code, declare, message, hint, column }) => {
    const declarations = declare()
    const about = declarations.at(-1)!
    const problems = await problemsOf(declarations)
    expect(problems.map((each) => each.code)).toEqual([code])
    const [found] = problems
    expect(found).toBeInstanceOf(MillraceError)
    expect(found!.kind).toBe('invalid')
    // Every message begins with what it is about and where that stands.
    expect(about.place?.file).toBe(HERE)
    expect(
      found!.message.startsWith(`${about.kind} '${about.name}' (${HERE}:${about.place!.line})`),
      found!.message,
    ).toBe(true)
    expect(found!.message).toMatch(message)
    expect(found!.hint, found!.message).toMatch(hint)
    expect(found!.context).toMatchObject({
      dataset: about.name,
      file: HERE,
      line: about.place!.line,
      ...(column === undefined ? {} : { column }),
    })
  })
})

test('everything wrong with a table is found at once, whether or not its query binds', async () => {
  const parts = {
    partitionBy: { column: 'x', by: 'bucket', count: 0 },
    checks: [check.range('n', { min: 1 }), check.rowCount({}), check.nullFraction('x', { max: 2 })],
  } as const
  const messages = async (options: object) =>
    (await problemsOf([events, asTable('bad', { ...parts, ...options })])).map(({ message }) =>
      message.replace(/^table 'bad' \(.*?\)(, sql)?: /, ''),
    )
  const anyway = [
    "column 'x' is partitioned by bucket 0.",
    'check range(n) is a row check; tables take dataset checks.',
    'check row_count has nothing to compare with.',
    'check null_fraction(x) allows 2.',
  ]
  expect(await messages({ sql: sql`select idd from ${events}` })).toEqual([
    'Binder error: Referenced column "idd" not found in FROM clause!',
    ...anyway,
  ])
  expect(await messages({ sql: sql`select id from ${events}` })).toEqual([
    anyway[0],
    "partitionBy names column 'x', which the query does not return.",
    ...anyway.slice(1, 3),
    "check null_fraction(x) names column 'x', which the query does not return.",
    anyway[3],
  ])
  expect(await messages({ columns: { id: t.string() }, sql: sql`select idd as id from ${events}` })).toEqual([
    anyway[0],
    "partitionBy names column 'x', which table 'bad' does not have.",
    ...anyway.slice(1, 3),
    "check null_fraction(x) names column 'x', which table 'bad' does not have.",
    anyway[3],
    'Binder error: Referenced column "idd" not found in FROM clause!',
  ])
})

describe('circles', () => {
  /** A dataset with what it reads put in afterwards, which modules that import each other can do. */
  const late = (about: Declaration, change: object) => Object.assign(about, change)

  test('of tables', async () => {
    const one = asTable('one', {})
    const two = asTable('two', { sql: sql`select * from ${one}` })
    late(one, { sql: sql`select * from ${two}` })
    const problems = await problemsOf([one, two])
    expect(problems.map(({ code, message }) => [code, message.replace(/^.*?: /, '')])).toEqual([
      ['cycle', 'Datasets depend on each other in a circle: one ← two ← one.'],
      ['cycle', 'Datasets depend on each other in a circle: two ← one ← two.'],
    ])
  })

  test.each([
    ['a reference', (other: typeof daily) => check.reference('n', other, 'n')],
    ['a reconciliation', (other: typeof daily) => check.sumEquals('n', other, 'n')],
    ['a query', (other: typeof daily) => check.sql('q', sql`select * from ${other}`)],
    ['a condition', (other: typeof daily) => check.predicate('p', sql`n in (select n from ${other})`)],
  ])('through %s', async (_, rule) => {
    const input = stream('input', { columns, time: 'at' })
    const made = asTable('made', { sql: sql`select n from ${input}` })
    late(input, { checks: [rule(made)] })
    const problems = await problemsOf([input, made])
    expect(problems.map(({ code }) => code)).toContain('cycle')
    expect(problems.find(({ code }) => code === 'cycle')!.hint).toMatch(/Break the circle/)
  })
})

test('what is right has no problems', async () => {
  const full = asTable('full', {
    checks: [
      check.unique('id'),
      check.rowCount({ max: 10 }),
      check.freshness('1 day'),
      check.sumEquals('n', events, 'n'),
    ],
  })
  const keyed = asTable('keyed', { key: 'id', version: 'n', partitionBy: { column: 'id', by: 'bucket', count: 4 } })
  const hourly = table('hourly', {
    interval: 'hour',
    partitionBy: 'day',
    sql: sql`select count(*) as c from ${events}`,
  })
  const top = endpoint('top-ten', {
    params: { from: t.date(), limit: t.int().nullable() },
    sql: sql`select * from ${daily} where day >= ${'from'} limit coalesce(${'limit'}, 10)`,
  })
  expect(await problemsOf([events, timeless, daily, full, keyed, hourly, top])).toEqual([])
})

test('all problems of a project are told, not the first alone', async () => {
  const problems = await problemsOf([
    wrong('one', { time: 'x', unique: ['y'] }),
    wrong('two', { partitions: -1, lateness: '?' }),
    asTable('three', { sql: sql`select x from ${events}` }),
    events,
  ])
  expect(problems.map(({ code, context }) => `${String(context['dataset'])}: ${code}`)).toEqual([
    'one: unknown-column',
    'one: unknown-column',
    'two: bad-duration',
    'two: bad-partitions',
    'three: bad-sql',
  ])
})

describe('values put into SQL', () => {
  test('an undefined dataset says what usually is the cause', () => {
    const nothing = undefined as unknown as typeof events
    expect(() => sql`select * from ${nothing}`).toThrow(
      expect.objectContaining({
        kind: 'invalid',
        code: 'bad-sql-part',
        hint: expect.stringMatching(/import cycle/) as string,
      }) as Error,
    )
  })

  test('a decimal type that is none', () => {
    for (const [precision, scale] of [
      [0, 0],
      [39, 2],
      [10, 11],
      [10, -1],
      [1.5, 0],
    ] as const)
      expect(() => t.decimal(precision, scale)).toThrow(
        expect.objectContaining({ code: 'bad-type', hint: expect.stringMatching(/1 to 38/) as string }) as Error,
      )
  })
})
