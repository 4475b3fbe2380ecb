import { type Args, type Rule, isConstant, textOf } from './rule.ts'

interface FunctionRule extends Rule {
  /** Which calls it is about; all when left out. */
  readonly when?: (args: Args) => boolean
}

const OVERRIDE = 'write it for Spark too, with sql: { default, spark }'

/** A function that Spark does not have. */
function missing(construct: string, remedy: string, example: string, portable?: string): FunctionRule {
  return { construct, spark: 'refuses', remedy, example, ...(portable === undefined ? {} : { portable }) }
}

/** A function that both have, and mean something else by. */
function other(
  construct: string,
  remedy: string,
  example: string,
  portable?: string,
  when?: FunctionRule['when'],
): FunctionRule {
  return {
    construct,
    spark: 'differs',
    remedy,
    example,
    ...(portable === undefined ? {} : { portable }),
    ...(when === undefined ? {} : { when }),
  }
}

const count =
  (...counts: number[]) =>
  (args: Args) =>
    counts.includes(args.length)

/** Parts of a date that both take from it alike. */
const PARTS = ['year', 'quarter', 'month', 'week', 'day', 'doy', 'hour', 'minute']
const UNITS = ['year', 'quarter', 'month', 'week', 'day', 'hour', 'minute', 'second', 'millisecond']

/** Functions and operators that mean something else to Spark, or nothing; each was tried on both engines. */
export const FUNCTIONS: Readonly<Record<string, FunctionRule>> = {
  '//': missing('//', 'cast(floor(a / b) as bigint)', 'select 7 // 2 as x', 'select cast(floor(7 / 2) as bigint) as x'),
  '^': other('^', 'pow(a, b)', 'select 2 ^ 3 as x', 'select pow(2, 3) as x'),
  '**': missing('**', 'pow(a, b)', 'select 2 ** 3 as x', 'select pow(2, 3) as x'),
  '->>': missing('->>', `${OVERRIDE}: get_json_object(j, '$.a')`, `select '{"a":1}' ->> '$.a' as x`),
  '~~~': missing('glob', 'like', `select 'abc' glob 'a*' as x`, `select 'abc' like 'a%' as x`),
  '^@': missing('^@', `like 'x%'`, `select 'abc' ^@ 'a' as x`, `select 'abc' like 'a%' as x`),
  regexp_full_match: missing(
    '~ and similar to',
    `regexp_extract(a, '^(pattern)$', 0) <> ''`,
    `select 'abc' ~ 'a.c' as x`,
    `select regexp_extract('abc', '^(a.c)$', 0) <> '' as x`,
  ),
  regexp_matches: missing(
    'regexp_matches',
    `regexp_extract(a, 'pattern', 0) <> ''`,
    `select regexp_matches('abc', 'b') as x`,
    `select regexp_extract('abc', 'b', 0) <> '' as x`,
  ),
  regexp_extract: {
    ...missing(
      'regexp_extract without a group',
      'tell the group: 0 for the whole match',
      `select regexp_extract('a12', '[0-9]+') as x`,
      `select regexp_extract('a12', '[0-9]+', 0) as x`,
    ),
    when: (args) => args.length !== 3 || !isConstant(args[2]),
  },
  regexp_replace: other(
    'regexp_replace',
    `${OVERRIDE}: Spark replaces every match, DuckDB the first unless told 'g'`,
    `select regexp_replace('a1b2', '[0-9]', 'x') as x`,
  ),
  concat: other(
    'concat',
    'a || b: of nulls too it gives null',
    `select concat('a', null) as x`,
    `select coalesce('a' || null, 'a') as x`,
  ),
  dayofweek: other('dayofweek', `${OVERRIDE}: dayofweek(d) - 1`, `select dayofweek(date '2026-01-04') as x`),
  weekday: other('weekday', `${OVERRIDE}: dayofweek(d) - 1`, `select weekday(date '2026-01-04') as x`),
  isodow: missing('isodow', `${OVERRIDE}: weekday(d) + 1`, `select isodow(date '2026-01-04') as x`),
  dayname: other('dayname', `${OVERRIDE}: date_format(d, 'EEEE')`, `select dayname(date '2026-01-04') as x`),
  monthname: other('monthname', `${OVERRIDE}: date_format(d, 'MMMM')`, `select monthname(date '2026-01-04') as x`),
  date_part: other(
    'extract of dow, second, epoch and rarer parts',
    OVERRIDE,
    `select extract(dow from date '2026-01-04') as x`,
    undefined,
    (args) => !PARTS.includes(textOf(args[0])),
  ),
  date_trunc: {
    ...missing(
      'date_trunc to a decade and longer',
      OVERRIDE,
      `select date_trunc('decade', timestamp '2026-01-04') is null as x`,
    ),
    spark: 'differs',
    when: (args) => !UNITS.includes(textOf(args[0])),
  },
  datediff: missing(
    'datediff',
    `${OVERRIDE}: datediff(day, a, b)`,
    `select datediff('day', date '2026-01-01', date '2026-01-31') as x`,
  ),
  date_diff: missing(
    'date_diff',
    `${OVERRIDE}: datediff(day, a, b)`,
    `select date_diff('day', date '2026-01-01', date '2026-01-31') as x`,
  ),
  date_sub: missing('date_sub', OVERRIDE, `select date_sub('day', date '2026-01-01', date '2026-01-31') as x`),
  date_add: missing(
    'date_add',
    'd + interval 1 day, cast to the type that is wanted',
    `select date_add(date '2026-01-31', interval 1 day) as x`,
    `select cast(date '2026-01-31' + interval 1 day as timestamp) as x`,
  ),
  strftime: missing(
    'strftime',
    `${OVERRIDE}: date_format(t, 'yyyy-MM-dd')`,
    `select strftime(timestamp '2026-01-01', '%Y') as x`,
  ),
  strptime: missing(
    'strptime',
    `cast(a as timestamp) for ISO 8601; else ${OVERRIDE}`,
    `select strptime('2026-01-02', '%Y-%m-%d') as x`,
    `select cast('2026-01-02' as timestamp) as x`,
  ),
  epoch_ms: missing(
    'epoch_ms',
    `${OVERRIDE}: unix_millis(cast(t as timestamp_ltz))`,
    `select epoch_ms(timestamp '2026-01-01') as x`,
  ),
  epoch_us: missing(
    'epoch_us',
    `${OVERRIDE}: unix_micros(cast(t as timestamp_ltz))`,
    `select epoch_us(timestamp '2026-01-01') as x`,
  ),
  epoch: missing(
    'epoch',
    `${OVERRIDE}: unix_seconds(cast(t as timestamp_ltz))`,
    `select epoch(timestamp '2026-01-01') as x`,
  ),
  to_timestamp: missing('to_timestamp', `${OVERRIDE}: timestamp_seconds(s)`, `select to_timestamp(1767225600) as x`),
  make_timestamp: {
    ...missing(
      'make_timestamp of microseconds',
      `${OVERRIDE}: timestamp_micros(n)`,
      `select make_timestamp(1767225600000000) as x`,
    ),
    when: count(1),
  },
  timezone: missing(
    'at time zone',
    'leave it out: timestamps are UTC',
    `select timestamp '2026-01-01' at time zone 'UTC' is null as x`,
  ),
  time_bucket: missing(
    'time_bucket',
    'date_trunc, or let the table have a window of that size',
    `select time_bucket(interval 1 hour, timestamp '2026-01-01 05:06:07') as x`,
    `select date_trunc('hour', timestamp '2026-01-01 05:06:07') as x`,
  ),
  arg_max: missing(
    'arg_max',
    'max_by',
    'select arg_max(a, b) as x from (values (1, 2), (3, 1)) t(a, b)',
    'select max_by(a, b) as x from (values (1, 2), (3, 1)) t(a, b)',
  ),
  arg_min: missing(
    'arg_min',
    'min_by',
    'select arg_min(a, b) as x from (values (1, 2), (3, 1)) t(a, b)',
    'select min_by(a, b) as x from (values (1, 2), (3, 1)) t(a, b)',
  ),
  max: { ...missing('max of several', OVERRIDE, 'select max(a, 2) as x from (values (1), (2)) t(a)'), when: count(2) },
  min: { ...missing('min of several', OVERRIDE, 'select min(a, 2) as x from (values (1), (2)) t(a)'), when: count(2) },
  list: missing(
    'list',
    'array_agg',
    'select list(a) as x from (values (1)) t(a)',
    'select array_agg(a) as x from (values (1)) t(a)',
  ),
  list_value: missing('[a, b]', `${OVERRIDE}: array(a, b)`, 'select [1, 2] as x'),
  struct_pack: missing("{'a': 1}", `${OVERRIDE}: named_struct('a', 1)`, `select {'a': 1} as x`),
  row: missing('(a, b) as a value', `${OVERRIDE}: struct(a, b)`, 'select row(1, 2) as x'),
  map: missing("map {'a': 1}", `${OVERRIDE}: map('a', 1)`, `select map {'a': 1} as x`),
  unnest: missing('unnest', `${OVERRIDE}: explode(a)`, 'select unnest(array_agg(a)) as x from (values (1)) t(a)'),
  generate_series: missing(
    'generate_series',
    'from range(a, b) for whole numbers',
    'select * from generate_series(1, 2)',
    'select * from range(1, 3)',
  ),
  filter: missing('filter', OVERRIDE, 'select filter(array_agg(a), lambda v: v > 1) as x from (values (1)) t(a)'),
  reduce: missing('reduce', OVERRIDE, 'select reduce(array_agg(a), lambda v, w: v + w) as x from (values (1)) t(a)'),
  aggregate: missing('aggregate', OVERRIDE, `select aggregate(array_agg(a), 'min') as x from (values (1)) t(a)`),
  array_prepend: missing(
    'array_prepend',
    OVERRIDE,
    'select array_prepend(2, array_agg(a)) as x from (values (1)) t(a)',
  ),
  array_position: other(
    'array_position',
    OVERRIDE,
    'select array_position(array_agg(a), 2) as x from (values (1)) t(a)',
  ),
  array_sort: other('array_sort', OVERRIDE, 'select array_sort(array_agg(a)) as x from (values (1), (null)) t(a)'),
  strpos: missing('strpos', 'instr', `select strpos('abc', 'b') as x`, `select instr('abc', 'b') as x`),
  starts_with: missing(
    'starts_with',
    `like 'x%'`,
    `select starts_with('abc', 'a') as x`,
    `select 'abc' like 'a%' as x`,
  ),
  suffix: missing('suffix', `like '%x'`, `select suffix('abc', 'c') as x`, `select 'abc' like '%c' as x`),
  strlen: missing('strlen', `${OVERRIDE}: octet_length(a)`, `select strlen('abc') as x`),
  split: other(
    'split by what is not a plain text',
    'split_part for one of the parts: to Spark’s split the separator is a regular expression',
    `select split('a.b', '.') as x`,
    undefined,
    (args) => !/^[\w ,;:/\-=@#%&]+$/.test(textOf(args[1])),
  ),
  string_split: missing(
    'string_split',
    'split, by a plain text',
    `select string_split('a,b', ',') as x`,
    `select split('a,b', ',') as x`,
  ),
  trim: other('trim of characters', OVERRIDE, `select trim('xax', 'x') as x`, undefined, count(2)),
  ltrim: other('ltrim of characters', OVERRIDE, `select ltrim('xax', 'x') as x`, undefined, count(2)),
  rtrim: other('rtrim of characters', OVERRIDE, `select rtrim('xax', 'x') as x`, undefined, count(2)),
  log: other('log of one number', 'log10 or ln', 'select log(100) as x', 'select log10(100) as x', count(1)),
  trunc: missing(
    'trunc',
    'cast(floor(a) as bigint) of what is not negative',
    'select trunc(2.7) as x',
    'select cast(floor(2.7) as decimal(2, 0)) as x',
  ),
  quantile_cont: missing(
    'quantile_cont',
    'percentile_cont(0.5) within group (order by a)',
    'select quantile_cont(a, 0.5) as x from (values (1), (2)) t(a)',
    'select percentile_cont(0.5) within group (order by a) as x from (values (1), (2)) t(a)',
  ),
  approx_count_distinct: other(
    'approx_count_distinct',
    'count(distinct a)',
    'select approx_count_distinct(a) as x from (select * from range(100000)) t(a)',
    'select count(distinct a) as x from (values (1), (2)) t(a)',
  ),
  kurtosis: other('kurtosis', OVERRIDE, 'select kurtosis(a) as x from (values (1), (2), (4), (9)) t(a)'),
  skewness: other('skewness', OVERRIDE, 'select skewness(a) as x from (values (1), (2), (4), (9)) t(a)'),
  hash: other('hash', 'md5, of a text', `select hash('a') as x`, `select md5('a') as x`),
  sha256: missing('sha256', `md5, or ${OVERRIDE}: sha2(a, 256)`, `select sha256('a') as x`),
  typeof: other('typeof', OVERRIDE, `select typeof('a') as x`),
  url_encode: other('url_encode', OVERRIDE, `select url_encode('a b') as x`),
  to_json: missing('to_json', OVERRIDE, `select cast(to_json('a') as string) as x`),
  xor: missing('xor', '(a | b) - (a & b)', 'select xor(5, 3) as x', 'select (5 | 3) - (5 & 3) as x'),
}

/** What both engines have by one name and mean alike; each was tried on both. Operators, functions, aggregates, functions over windows. */
export const SAME: ReadonlySet<string> = new Set(
  `+ - * / % || & | << >> ~ ~~ !~~ ~~* !~~* like_escape not_like_escape
  abs acos acosh any_value array_agg array_append array_contains ascii asin asinh atan atan2 atanh avg
  bit_and bit_count bit_length bit_or bit_xor bool_and bool_or cbrt ceil ceiling char_length character_length chr concat_ws
  contains corr cos cosh cot count count_if count_star covar_pop covar_samp cume_dist current_date current_timestamp
  date_part date_trunc datepart day dayofmonth dayofyear degrees dense_rank exp first first_value floor greatest hex hour
  instr isnan lag last last_day last_value lcase lead least left len length levenshtein ln log log10 log2 lower lpad ltrim
  make_date make_timestamp max max_by md5 mean median min min_by minute mod mode month now nth_value ntile nullif
  percent_rank pi position pow power printf quantile_cont quarter radians random range rank regexp_extract
  regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy repeat replace reverse right
  round row_number rpad rtrim second sha1 sign sin sinh split split_part sqrt stddev stddev_pop stddev_samp string_agg substr
  substring sum tan tanh translate trim ucase upper uuid var_pop var_samp variance weekofyear year`.split(/\s+/),
)
