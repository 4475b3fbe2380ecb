/** JSON with 64-bit integers kept exact: Iceberg's ids do not fit a double. */

export type Json = null | boolean | number | bigint | string | readonly Json[] | { readonly [key: string]: Json }

/** Keys of Iceberg's metadata whose values are 64-bit ids; always bigint, so that code need not ask. */
const LONG_KEYS = new Set([
  'snapshot-id',
  'parent-snapshot-id',
  'current-snapshot-id',
  'sequence-number',
  'last-sequence-number',
])

// Stage 3 "JSON.parse source text access", in V8 since 11.4; TypeScript's library does not declare it yet.
const exact = JSON as unknown as {
  parse(text: string, reviver: (key: string, value: unknown, context: { source?: string }) => unknown): unknown
  rawJSON(text: string): object
}

/**
 * Parses JSON. Integers under the keys of Iceberg's 64-bit ids, and any integer that a double cannot hold, become
 * bigint. Throws SyntaxError.
 */
export function parseJson(text: string): Json {
  return exact.parse(text, (key, value, { source }) => {
    if (typeof value !== 'number' || source === undefined) return value
    if (LONG_KEYS.has(key)) return BigInt(source)
    return !Number.isSafeInteger(value) && /^-?\d+$/.test(source) ? BigInt(source) : value
  }) as Json
}

/** The inverse of parseJson: bigint is written as a plain integer. */
export function stringifyJson(value: unknown, indent?: number): string {
  return JSON.stringify(
    value,
    (_key, part: unknown) => (typeof part === 'bigint' ? exact.rawJSON(String(part)) : part),
    indent,
  )
}
