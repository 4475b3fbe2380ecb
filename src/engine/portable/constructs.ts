import type { Rule } from './rule.ts'

const OVERRIDE = 'write it for Spark too, with sql: { default, spark }'

function refuses(construct: string, remedy: string, example: string, portable?: string): Rule {
  return { construct, spark: 'refuses', remedy, example, ...(portable === undefined ? {} : { portable }) }
}

function differs(construct: string, remedy: string, example: string, portable?: string): Rule {
  return { construct, spark: 'differs', remedy, example, ...(portable === undefined ? {} : { portable }) }
}

const T = '(values (1, 2), (3, 1)) t(a, b)'
const N = '(values (1), (null)) t(a)'

/** What is no function. */
export const CONSTRUCTS = {
  qualify: refuses(
    'qualify',
    'a subquery with the window function, and where around it',
    `select a from ${T} qualify row_number() over (order by b desc) = 1`,
    `select a from (select a, row_number() over (order by b desc) as place from ${T}) where place = 1`,
  ),
  distinctOn: refuses(
    'distinct on',
    'row_number() in a subquery, or max_by',
    `select distinct on (a) a from ${T}`,
    `select distinct a from ${T}`,
  ),
  limitPercent: refuses('limit in percent', OVERRIDE, `select a from ${T} limit 100 percent`),
  sample: refuses('using sample', OVERRIDE, `select a from ${T} using sample 10 rows`),
  asof: refuses(
    'asof join',
    'row_number() over a join of all that came before',
    `select a from ${T} asof join (values (1)) r(c) on a >= c`,
  ),
  positional: refuses('positional join', OVERRIDE, `select a from ${T} positional join (values (1), (2)) r(c)`),
  unionByName: refuses(
    'union by name',
    'name the columns in one order',
    `select a from ${T} union all by name select 1 as a`,
    `select a from ${T} union all select 1 as a`,
  ),
  exclude: refuses('* exclude', 'name the columns', `select * exclude (b) from ${T}`, `select a from ${T}`),
  replace: refuses(
    '* replace',
    'name the columns',
    `select * replace (1 as b) from ${T}`,
    `select a, 1 as b from ${T}`,
  ),
  columns: refuses('columns(…)', 'name the columns', `select columns('a') from ${T}`, `select a from ${T}`),
  pivot: refuses(
    'pivot',
    'aggregates with filter (where …)',
    `select * from (pivot ${T.replace(' t(a, b)', ' t(a, b)')} on a in (1, 3) using sum(b))`,
  ),
  aliasInWhere: refuses(
    'a select list’s alias in where',
    'the expression itself, or a subquery',
    `select a + 1 as c from ${T} where c > 2`,
    `select a + 1 as c from ${T} where a + 1 > 2`,
  ),
  nulls: differs(
    'order by without nulls first or last',
    'nulls last: DuckDB puts nulls at the end, Spark at the beginning of ascending order',
    `select a from ${N} order by a limit 1`,
    `select a from ${N} order by a nulls last limit 1`,
  ),
  orderedAggregate: refuses(
    'order by within an aggregate',
    OVERRIDE,
    `select string_agg(a, ',' order by a) as x from (values ('b'), ('a')) t(a)`,
  ),
  ignoreNulls: refuses(
    'ignore nulls within the parentheses',
    `${OVERRIDE}: lag(a) ignore nulls over (…)`,
    `select lag(a ignore nulls) over (order by a nulls last) as x from ${N}`,
  ),
  exclusion: refuses(
    'exclude in a window frame',
    OVERRIDE,
    `select sum(a) over (order by a rows between 1 preceding and 1 following exclude ties) as x from ${T}`,
  ),
  groups: refuses(
    'groups in a window frame',
    OVERRIDE,
    `select sum(a) over (order by a groups between 1 preceding and current row) as x from ${T}`,
  ),
  distinctWindow: refuses(
    'distinct in a window function',
    OVERRIDE,
    `select count(distinct a) over (partition by b) as x from ${T}`,
  ),
  index: differs(
    'a[i]',
    'split_part for parts of a text; of lists, Spark counts from 0: sql: { default, spark }',
    `select split('a,b', ',')[1] as x`,
    `select split_part('a,b', ',', 1) as x`,
  ),
  slice: refuses('a[i:j]', `${OVERRIDE}: slice(a, i, n)`, `select split('a,b', ',')[1:1] as x`),
  arrow: refuses(
    '-> and lambda',
    `${OVERRIDE}: get_json_object(j, '$.a') for JSON, x -> … for lists`,
    `select cast('{"a":1}' as json) -> 'a' as x`,
  ),
  type: refuses(
    'cast to a type of DuckDB alone',
    'the nearest of boolean, int, bigint, double, decimal(p, s), string, date, timestamp',
    'select cast(5 as hugeint) as x',
    'select cast(5 as decimal(38, 0)) as x',
  ),
  varchar: refuses('varchar and text', 'string', `select cast(5 as varchar) as x`, `select cast(5 as string) as x`),
  alias: refuses(
    'a name of a type that DuckDB alone has',
    'int, bigint, smallint, float, double, boolean, timestamp',
    'select cast(5 as int8) as x',
    'select cast(5 as bigint) as x',
  ),
  digits: differs(
    'decimal without digits',
    'decimal(18, 3)',
    'select cast(2.5 as decimal) as x',
    'select cast(2.5 as decimal(18, 3)) as x',
  ),
  rounding: differs(
    'cast of a fraction to a whole number',
    'cast(floor(a) as bigint) or cast(round(a) as bigint): DuckDB rounds, Spark cuts off',
    'select cast(7 / 4 as int) as x',
    'select cast(round(7 / 4) as int) as x',
  ),
  interval: refuses(
    'interval (expression) unit',
    'expression * interval 1 unit',
    `select timestamp '2026-01-01' + interval (a) hour as x from ${T}`,
    `select timestamp '2026-01-01' + a * interval 1 hour as x from ${T}`,
  ),
  tableFunction: refuses('a table function other than range', OVERRIDE, `select * from repeat('a', 2)`),
  materialized: refuses(
    'materialized',
    'leave it out',
    'with c as materialized (select 1 as a) select a from c',
    'with c as (select 1 as a) select a from c',
  ),
  position: refuses('#1', 'the column’s name', `select #1 as x from ${T}`),
  collate: refuses(
    'collate nocase',
    'lower(a)',
    `select 'a' collate nocase = 'A' as x`,
    `select lower('a') = lower('A') as x`,
  ),
  backslash: differs(
    'a backslash in a text',
    'a class such as [0-9] in patterns, chr(92) elsewhere: to Spark a backslash begins an escape',
    String.raw`select regexp_extract('a1d', '\d', 0) as x`,
    `select regexp_extract('a1d', '[0-9]', 0) as x`,
  ),
  escapes: refuses(
    "e'…'",
    'chr(10) for a line feed, chr(9) for a tab',
    `select e'a\\nb' as x`,
    `select 'a' || chr(10) || 'b' as x`,
  ),
  dollars: refuses('$$…$$', "'…'", 'select $$a$$ as x', `select 'a' as x`),
  number: refuses('1_000', '1000', 'select 1_000 as x', 'select 1000 as x'),
  comma: refuses('a comma before from', 'leave it out', `select a, from ${T}`, `select a from ${T}`),
} as const satisfies Readonly<Record<string, Rule>>
