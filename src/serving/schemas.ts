import type { FastifyInstance } from 'fastify'

/** Schemas of the OpenAPI document. They describe; what is checked of a request is its `body`, nothing else. */

const COLUMNS = {
  type: 'array',
  items: {
    type: 'object',
    required: ['name', 'type'],
    properties: { name: { type: 'string' }, type: { type: 'string', examples: ['string', 'decimal(10, 2)'] } },
  },
}

const STATUS_PROPERTIES = {
  name: { type: 'string' },
  kind: { enum: ['stream', 'table'] },
  state: { enum: ['ok', 'blocked', 'failed', 'held', 'empty'] },
  reason: { type: 'string' },
  snapshot: { type: ['string', 'null'], description: 'Newest snapshot, published or not.' },
  published: { type: ['string', 'null'] },
  rows: { type: 'integer' },
  received: { type: 'integer' },
  accepted: { type: 'integer' },
  duplicates: { type: 'integer' },
  quarantined: { type: 'integer' },
  refuses: { type: 'boolean', description: 'Whether it has a quarantine.' },
  lag: { type: ['integer', 'null'], description: 'Null where this process does not see the log.' },
  freshness_ms: { type: ['integer', 'null'] },
  handlers: {
    type: 'array',
    description: 'Code of the project that is called with its changes, where there is any.',
    items: {
      type: 'object',
      required: ['name', 'state', 'lag', 'failures'],
      properties: {
        name: { type: 'string' },
        state: { enum: ['ok', 'failed'] },
        lag: { type: 'integer', description: 'Published changes that were not delivered whole.' },
        failures: { type: 'integer', description: 'Failed calls in a row.' },
        last_error: { type: 'string' },
      },
    },
  },
  watermark: { type: ['string', 'null'], format: 'date-time' },
}

const SCHEMAS = [
  {
    $id: 'Problem',
    description: 'RFC 9457. `code` is stable; `hint` says what to do.',
    type: 'object',
    required: ['type', 'title', 'status', 'detail', 'code'],
    properties: {
      type: { type: 'string', format: 'uri' },
      title: { type: 'string' },
      status: { type: 'integer' },
      detail: { type: 'string' },
      code: { type: 'string' },
      hint: { type: 'string' },
    },
  },
  {
    $id: 'Table',
    description: 'An answer with each row as a list of values.',
    type: 'object',
    required: ['columns', 'rows'],
    properties: {
      columns: COLUMNS,
      rows: { type: 'array', items: { type: 'array' } },
      truncated: { const: true, description: 'There were more rows than the limit.' },
    },
  },
  {
    $id: 'Rows',
    description: 'An answer with each row as an object.',
    type: 'object',
    required: ['columns', 'rows'],
    properties: {
      columns: COLUMNS,
      rows: { type: 'array', items: { type: 'object' } },
      next: { type: 'string', description: 'Path of the next page.' },
      truncated: { const: true, description: 'There were more rows than the limit.' },
    },
  },
  {
    $id: 'Received',
    type: 'object',
    required: ['received'],
    properties: { received: { type: 'integer' }, repeated: { const: true } },
  },
  { $id: 'DatasetStatus', type: 'object', properties: STATUS_PROPERTIES },
  {
    $id: 'DatasetDetail',
    type: 'object',
    properties: {
      ...STATUS_PROPERTIES,
      doc: { type: 'string' },
      fields: { type: 'array', items: { type: 'object' } },
      inputs: { type: 'array', items: { type: 'string' } },
      outputs: { type: 'array', items: { type: 'string' } },
      checks: { type: 'array', items: { type: 'object' } },
      files: { type: 'integer' },
      bytes: { type: 'integer' },
      sql: { type: 'string' },
    },
  },
  {
    $id: 'Run',
    type: 'object',
    required: ['id', 'kind', 'holder', 'started_at', 'ended_at', 'outcome'],
    properties: {
      id: { type: 'string' },
      kind: { type: 'string', description: '`refresh`: a step of a table.' },
      dataset: { type: 'string' },
      holder: { type: 'string', description: 'The process.' },
      started_at: { type: 'string', format: 'date-time' },
      ended_at: {
        type: ['string', 'null'],
        format: 'date-time',
        description: 'Null while it runs, and for one whose process ended before it did.',
      },
      outcome: { enum: ['succeeded', 'failed', 'stopped', null] },
      counts: {
        type: 'object',
        additionalProperties: { type: 'integer' },
        description: '`rows` of the table afterwards, of these `added`, and `removed`; `intervals` that were computed.',
      },
      error: {
        type: 'object',
        properties: { code: { type: 'string' }, message: { type: 'string' }, hint: { type: 'string' } },
      },
    },
  },
]

export type SchemaName = 'Problem' | 'Table' | 'Rows' | 'Received' | 'DatasetStatus' | 'DatasetDetail'

export function addSchemas(app: FastifyInstance): void {
  for (const schema of SCHEMAS) app.addSchema(schema)
}

/** The responses of a route that answers in JSON: one success, and problem documents for all else. */
export function jsonResponses(status: number, description: string, schema: SchemaName | Record<string, unknown>) {
  const shape = typeof schema === 'string' ? { $ref: `${schema}#` } : schema
  return { [status]: { description, content: { 'application/json': { schema: shape } } }, ...PROBLEM_RESPONSE }
}

/** The responses of a route that answers in JSON, CSV or Parquet. */
export function tableResponses(description: string, schema: SchemaName) {
  return {
    200: {
      description,
      content: {
        'application/json': { schema: { $ref: `${schema}#` } },
        'text/csv': { schema: { type: 'string' } },
        'application/vnd.apache.parquet': { schema: { type: 'string', format: 'binary' } },
      },
    },
    ...PROBLEM_RESPONSE,
  }
}

/** Of a URL that takes no parameters. */
export const NO_PARAMETERS = { type: 'object', additionalProperties: false, properties: {} }

/** The parameter that outdoes Accept. */
export const FORMAT = {
  enum: ['json', 'csv', 'parquet'],
  description: 'Form of the answer; without it Accept decides.',
}

export const PROBLEM_RESPONSE = {
  default: {
    description: 'What is wrong and what to do.',
    content: { 'application/problem+json': { schema: { $ref: 'Problem#' } } },
  },
}
