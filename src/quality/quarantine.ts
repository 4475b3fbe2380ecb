import { messageOf } from '../base/errors.ts'
import { quoteLiteral } from '../base/identifier.ts'
import type { Field } from '../project/columns.ts'

/** The columns of every quarantine table: docs/formats/quarantine.md. */
export const QUARANTINE_FIELDS: readonly Field[] = [
  {
    name: 'rule',
    type: { kind: 'string' },
    nullable: false,
    doc: 'The first rule the record failed, such as not_null(order_id).',
  },
  { name: 'reason', type: { kind: 'string' }, nullable: false, doc: 'What is wrong, for people.' },
  {
    name: 'failures',
    type: { kind: 'json' },
    nullable: false,
    doc: 'Every failed rule with its reason, as a list of pairs.',
  },
  { name: 'raw', type: { kind: 'string' }, nullable: true, doc: 'The record as received.' },
  {
    name: 'source',
    type: { kind: 'string' },
    nullable: true,
    doc: 'Name of the source, for records that came from files.',
  },
  { name: 'file', type: { kind: 'string' }, nullable: true, doc: 'File the record came from.' },
  { name: 'line', type: { kind: 'long' }, nullable: true, doc: 'First line of the record in its file.' },
  { name: 'received_at', type: { kind: 'timestamp' }, nullable: false, doc: 'When the record was acknowledged.' },
  { name: 'code', type: { kind: 'string' }, nullable: false, doc: 'Fingerprint of the declaration that refused it.' },
  { name: '_partition', type: { kind: 'int' }, nullable: false, doc: 'Log partition the record came through.' },
  { name: '_offset', type: { kind: 'long' }, nullable: false, doc: 'Offset of the record in its log partition.' },
]

/** A record that was refused. */
export interface QuarantinedRecord {
  rule: string
  reason: string
  failures: readonly (readonly [rule: string, reason: string])[]
  raw: string | null
  source: string | null
  file: string | null
  line: number | null
  receivedAtMs: number
  code: string
  partition: number
  offset: number
}

/** A record as one line of JSON, for `quarantineSelect` to read. */
export function quarantineLine(record: QuarantinedRecord): string {
  return `${JSON.stringify({
    rule: record.rule,
    reason: record.reason,
    failures: JSON.stringify(record.failures),
    raw: record.raw,
    source: record.source,
    file: record.file,
    line: record.line,
    received_at: record.receivedAtMs,
    code: record.code,
    _partition: record.partition,
    _offset: record.offset,
  })}\n`
}

/** Selects quarantine rows from a file of such lines. */
export function quarantineSelect(file: string): string {
  return `SELECT rule, reason, failures, raw, source, file, line, epoch_ms(received_at) AS received_at, code, _partition, _offset FROM read_ndjson(${quoteLiteral(file)}, columns = {rule: 'VARCHAR', reason: 'VARCHAR', failures: 'VARCHAR', raw: 'VARCHAR', source: 'VARCHAR', file: 'VARCHAR', line: 'BIGINT', received_at: 'BIGINT', code: 'VARCHAR', _partition: 'INTEGER', _offset: 'BIGINT'})`
}

/** How much of a string is shown, characters. */
const SHOWN = 120

/** What is wrong with a line before any rule is asked: it is not a JSON object. */
export function malformed(line: string): readonly [rule: string, reason: string] | undefined {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    // V8 quotes a piece of the line, which it may cut in the middle of a character.
    return ['malformed', `not valid JSON: ${messageOf(error).toWellFormed()}`]
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return hasLoneSurrogate(line) ? ['malformed', 'a \\u escape is half of a surrogate pair: no character'] : undefined
  // Text that says why it is text, as what a topic of others holds: docs/kafka.md.
  if (typeof value === 'string' && value !== '')
    return ['malformed', `a JSON string where an object is expected: ${value.slice(0, SHOWN).toWellFormed()}`]
  return [
    'malformed',
    `a JSON ${Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value} where an object is expected`,
  ]
}

/** JavaScript reads such an escape as half a character; it has no UTF-8, so no row can hold it. */
function hasLoneSurrogate(line: string): boolean {
  const escapes = line
    .replaceAll(/\\[^u]/g, '')
    .matchAll(/\\u(d[89ab][0-9a-f]{2})(\\ud[c-f][0-9a-f]{2})?|\\u(d[c-f][0-9a-f]{2})/gi)
  return [...escapes].some(([, , low]) => low === undefined)
}
