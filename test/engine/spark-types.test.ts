import { expect, test } from 'vitest'
import { quoteName, quoteText } from '../../src/engine/spark/quote.ts'
import { type SparkDataType, castTo, columnList, columnType, sparkType } from '../../src/engine/spark/types.ts'
import { fieldsOf, t, typeName } from '../../src/project/columns.ts'

test.each([
  [t.string(), 'STRING'],
  [t.int(), 'INT'],
  [t.long(), 'BIGINT'],
  [t.double(), 'DOUBLE'],
  [t.boolean(), 'BOOLEAN'],
  [t.date(), 'DATE'],
  [t.timestamp(), 'TIMESTAMP_NTZ'],
  [t.json(), 'STRING'],
  [t.decimal(38, 9), 'DECIMAL(38,9)'],
  [t.list(t.decimal(10, 2)), 'ARRAY<DECIMAL(10,2)>'],
  [t.struct({ a: t.int(), 'odd `name`': t.list(t.date()) }), 'STRUCT<`a`: INT, `odd ``name```: ARRAY<DATE>>'],
])('%o is %s', ({ type }, spark) => expect(sparkType(type)).toBe(spark))

test.each<[SparkDataType, string | undefined]>([
  [{ kind: 'varChar' }, 'string'],
  [{ kind: 'short' }, 'int'],
  [{ kind: 'float' }, 'double'],
  [{ kind: 'timestamp' }, 'timestamp'],
  [{ kind: 'timestampNtz' }, 'timestamp'],
  [{ kind: 'decimal', decimal: { precision: 20, scale: 4 } }, 'decimal(20, 4)'],
  [{ kind: 'array', array: { elementType: { kind: 'long' }, containsNull: true } }, 'list<long>'],
  [{ kind: 'struct', struct: { fields: [{ name: 'x', dataType: { kind: 'date' } }] } }, 'struct<x: date>'],
  [{ kind: 'array', array: { elementType: { kind: 'binary' } } }, undefined],
  [{ kind: 'struct', struct: { fields: [{ name: 'x', dataType: { kind: 'map' } }] } }, undefined],
  [{ kind: 'dayTimeInterval' }, undefined],
])('%o is held by %s', (spark, name) => {
  const type = columnType(spark)
  expect(type && typeName(type)).toBe(name)
})

test('columns are declared, and cast to', () => {
  const fields = fieldsOf({ id: t.long(), note: t.string().nullable() })
  expect(columnList(fields)).toBe('`id` BIGINT NOT NULL, `note` STRING')
  expect(castTo('1 + 1', fields[0]!)).toBe('CAST(1 + 1 AS BIGINT) AS `id`')
})

test('names and texts keep what they hold', () => {
  expect(quoteName('a`b')).toBe('`a``b`')
  expect(quoteText("it's a \\ and a \n")).toBe("'it''s a \\\\ and a \n'")
})
