/** For each function that the lint lets pass, a query that both engines answer alike. */
export const SAME_EXAMPLES: Readonly<Record<string, string>> = {
  '+': 'select 7 + 2 as x',
  '-': 'select 7 - 2 as x',
  '*': 'select 7 * 2 as x',
  '/': 'select 7 / 2 as x',
  '%': 'select 7 % 2 as x',
  '&': 'select 7 & 2 as x',
  '|': 'select 7 | 2 as x',
  '<<': 'select 7 << 2 as x',
  '>>': 'select 7 >> 2 as x',
  '||': "select 'a' || 1 || s as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  '~': "select ~a as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  '~~': "select s like 'a%' as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  '!~~':
    "select s not like 'a%' as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  '~~*':
    "select s ilike 'A%' as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  '!~~*':
    "select s not ilike 'A%' as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  like_escape:
    "select s like 'a!%' escape '!' as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  not_like_escape:
    "select s not like 'a!%' escape '!' as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  abs: "select abs(d), abs(-d) as y, abs(cast(-2.5 as decimal(4, 2))) as z from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  ceil: "select ceil(d), ceil(-d) as y, ceil(cast(-2.5 as decimal(4, 2))) as z from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  ceiling:
    "select ceiling(d), ceiling(-d) as y, ceiling(cast(-2.5 as decimal(4, 2))) as z from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  floor:
    "select floor(d), floor(-d) as y, floor(cast(-2.5 as decimal(4, 2))) as z from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  sign: "select sign(d), sign(-d) as y, sign(cast(-2.5 as decimal(4, 2))) as z from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  round:
    "select round(d), round(-d) as y, round(cast(-2.5 as decimal(4, 2))) as z from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  acos: "select acos(0.5) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  asin: "select asin(0.5) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  atanh:
    "select atanh(0.5) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  acosh:
    "select acosh(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  asinh:
    "select asinh(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  atan: "select atan(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  cbrt: "select cbrt(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  cos: "select cos(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  cosh: "select cosh(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  cot: "select cot(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  degrees:
    "select degrees(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  exp: "select exp(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  ln: "select ln(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  log10:
    "select log10(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  log2: "select log2(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  radians:
    "select radians(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  sin: "select sin(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  sinh: "select sinh(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  sqrt: "select sqrt(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  tan: "select tan(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  tanh: "select tanh(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  atan2:
    "select atan2(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  pow: "select pow(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  power:
    "select power(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  any_value: 'select any_value(a) as x from (values (1), (1)) t(a)',
  first: 'select first(a) as x from (values (1), (1)) t(a)',
  last: 'select last(a) as x from (values (1), (1)) t(a)',
  avg: "select avg(a), avg(d) as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  mean: "select mean(a), mean(d) as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  sum: "select sum(a), sum(d) as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  min: "select min(a), min(d) as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  max: "select max(a), max(d) as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  median:
    "select median(a), median(d) as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  stddev:
    "select stddev(a), stddev(d) as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  stddev_pop:
    "select stddev_pop(a), stddev_pop(d) as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  stddev_samp:
    "select stddev_samp(a), stddev_samp(d) as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  var_pop:
    "select var_pop(a), var_pop(d) as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  var_samp:
    "select var_samp(a), var_samp(d) as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  variance:
    "select variance(a), variance(d) as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  bit_and:
    "select bit_and(a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  bit_or:
    "select bit_or(a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  bit_xor:
    "select bit_xor(a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  count:
    "select count(a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  bool_and:
    "select bool_and(b) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  bool_or:
    "select bool_or(b) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  count_if:
    "select count_if(b) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  count_star:
    "select count(*) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  mode: 'select mode(a) as x from (values (1), (2), (2)) t(a)',
  corr: "select corr(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  covar_pop:
    "select covar_pop(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  covar_samp:
    "select covar_samp(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  regr_avgx:
    "select regr_avgx(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  regr_avgy:
    "select regr_avgy(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  regr_count:
    "select regr_count(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  regr_intercept:
    "select regr_intercept(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  regr_r2:
    "select regr_r2(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  regr_slope:
    "select regr_slope(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  regr_sxx:
    "select regr_sxx(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  regr_sxy:
    "select regr_sxy(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  regr_syy:
    "select regr_syy(d, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  max_by:
    "select max_by(s, d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  min_by:
    "select min_by(s, d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  quantile_cont:
    "select percentile_cont(0.3) within group (order by d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  array_agg: 'select array_agg(a) as x from (values (1)) t(a)',
  string_agg: "select string_agg(s, ',') as x from (values ('a')) t(s)",
  array_append: 'select array_append(array_agg(a), 2) as x from (values (1)) t(a)',
  mod: "select mod(-7, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  array_contains: 'select array_contains(array_agg(a), 1) as x from (values (1)) t(a)',
  ascii:
    "select ascii(s) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  bit_length:
    "select bit_length(s), bit_length(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  char_length:
    "select char_length(s), char_length(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  character_length:
    "select character_length(s), character_length(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  length:
    "select length(s), length(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  len: "select len(s), len(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  lcase:
    "select lcase(s), lcase(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  lower:
    "select lower(s), lower(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  ucase:
    "select ucase(s), ucase(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  upper:
    "select upper(s), upper(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  md5: "select md5(s), md5(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  sha1: "select sha1(s), sha1(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  reverse:
    "select reverse(s), reverse(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  trim: "select trim(s), trim(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  ltrim:
    "select ltrim(s), ltrim(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  rtrim:
    "select rtrim(s), rtrim(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  hex: "select hex(s), hex(' Añ1 ') as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  bit_count:
    "select bit_count(a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  chr: "select chr(64 + a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  concat_ws:
    "select concat_ws('-', s, null, 'x') as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  contains:
    "select contains(s, 'b') as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  instr:
    "select instr(s, 'b') as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  left: "select left(s, 2) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  right:
    "select right(s, 2) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  levenshtein:
    "select levenshtein(s, 'bc') as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  log: "select log(10, 100) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  lpad: "select lpad(s, 5, '*-') as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  rpad: "select rpad(s, 5, '*-') as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  position:
    "select position('b' in s) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  printf:
    "select printf('%d-%s', a, s) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  repeat:
    "select repeat(s, a) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  replace:
    "select replace(s, 'b', 'x') as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  split:
    "select split('a,b', ',') as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  split_part:
    "select split_part('a,b', ',', 2) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  substr:
    "select substr(s, 2, 1), substr(s, -1) as y from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  substring:
    "select substring(s from 2) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  translate:
    "select translate(s, 'ab', 'x') as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  regexp_extract:
    "select regexp_extract(s, '(a)(b[a-z]?)', 2) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  isnan:
    "select isnan(d) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  nullif:
    "select nullif(a, 2) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  greatest:
    "select greatest(a, 2, null) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  least:
    "select least(a, 2, null) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  pi: "select pi() as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  year: "select year(d), year(t) as y from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  quarter:
    "select quarter(d), quarter(t) as y from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  month:
    "select month(d), month(t) as y from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  weekofyear:
    "select weekofyear(d), weekofyear(t) as y from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  day: "select day(d), day(t) as y from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  dayofmonth:
    "select dayofmonth(d), dayofmonth(t) as y from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  dayofyear:
    "select dayofyear(d), dayofyear(t) as y from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  hour: "select hour(t) as x from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  minute:
    "select minute(t) as x from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  second:
    "select second(t) as x from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  last_day:
    "select last_day(d) as x from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  date_part:
    "select extract(year from d), extract(week from t) as y, date_part('doy', d) as z, date_part('hour', t) as w, extract(minute from t) as m, extract(quarter from d) as q, extract(day from d) as k, extract(month from t) as n from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  datepart:
    "select datepart('month', d) as x from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  date_trunc:
    "select date_trunc('week', t), date_trunc('quarter', d) as y, date_trunc('year', t) as z, date_trunc('month', t) as m, date_trunc('day', d) as k, date_trunc('hour', t) as h, date_trunc('minute', t) as i, date_trunc('second', t) as s, date_trunc('millisecond', t) as u from (values (date '2026-01-04', timestamp '2026-01-04 05:06:07.125'), (date '2024-12-30', timestamp '1969-12-31 23:59:59')) t(d, t)",
  make_date:
    "select make_date(2026, a, 1) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  make_timestamp:
    "select make_timestamp(2026, a, 1, 2, 3, 4.5) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  current_date: "select current_date > date '2026-01-01' as x",
  current_timestamp: 'select current_timestamp is null as x',
  now: 'select now() is null as x',
  random: 'select random() < 2 as x',
  uuid: 'select uuid() is null as x',
  range: 'select * from range(2, 5)',
  row_number:
    "select row_number() over (order by a desc) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  rank: "select rank() over (order by a desc) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  dense_rank:
    "select dense_rank() over (order by a desc) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  percent_rank:
    "select percent_rank() over (order by a desc) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  cume_dist:
    "select cume_dist() over (order by a desc) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  ntile:
    "select ntile(2) over (order by a desc) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  first_value:
    "select first_value(a) over (order by a desc) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  last_value:
    "select last_value(a) over (order by a desc) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  lag: "select lag(a) over (order by a desc) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  lead: "select lead(a) over (order by a desc) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
  nth_value:
    "select nth_value(a, 2) over (order by a desc) as x from (values (1, 2.5e0, 'ab', true), (2, 1.5e0, 'b', false), (4, 9.5e0, 'abc', true)) t(a, d, s, b)",
}
