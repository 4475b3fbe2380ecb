import { isUtf8 } from 'node:buffer'

const NEWLINE = 10
const RETURN = 13
const SPACE = 32

/** Whether a value can be a line of the log as it is: UTF-8, no line break, and not blank. */
export function isLine(value: Buffer): boolean {
  return isUtf8(value) && !value.includes(NEWLINE) && !value.includes(RETURN) && !isBlank(value)
}

/**
 * A value as one line, without loss, newline excluded. JSON over several lines becomes JSON on one: its line breaks lie between
 * tokens, where a space means the same. Anything else that cannot be a line becomes a JSON string, which the gate
 * refuses as no object and quarantine keeps: the text itself, or the bytes in base64 where they are no text.
 */
export function lineOf(value: Buffer): Buffer {
  if (isLine(value)) return value
  if (!isUtf8(value)) return Buffer.from(JSON.stringify(`not UTF-8, in base64: ${value.toString('base64')}`))
  const text = value.toString('utf8')
  if (!isJson(text)) return Buffer.from(JSON.stringify(text))
  return Buffer.from(value.map((byte) => (byte === NEWLINE || byte === RETURN ? SPACE : byte)))
}

/** White space as DuckDB sees it, which passes over such a line. */
export function isBlank(value: Uint8Array): boolean {
  return value.every((byte) => byte === SPACE || (byte >= 9 && byte <= RETURN))
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
