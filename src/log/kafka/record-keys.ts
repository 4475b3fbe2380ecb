import { keyText, keyValues } from '../route.ts'

const QUOTE = 0x22
const COLON = 0x3a
const COMMA = 0x2c
const BACKSLASH = 0x5c
const OPEN_OBJECT = 0x7b
const OPEN_ARRAY = 0x5b
const CLOSE_OBJECT = 0x7d
const NEWLINE = 10

/**
 * Kafka keys of lines: the text by which partitions are chosen; undefined for a line that is not a JSON object or has no value in
 * any of the columns. Members are looked for in the bytes, which takes a fraction of the time that parsing does; only
 * where one is an object, or something is escaped, the line is parsed. What a line that is not JSON gets does not matter: the key is for other readers.
 */
export function keysOfLines(lines: Buffer, columns: readonly string[]): (Buffer | undefined)[] {
  const names = columns.map((column) => Buffer.from(column))
  const keys: (Buffer | undefined)[] = []
  for (let from = 0; from < lines.length;) {
    const to = lines.indexOf(NEWLINE, from)
    const texts = findTexts(lines, from, to, names) ?? parsedTexts(lines.toString('utf8', from, to), columns)
    keys.push(texts?.some((text) => text !== undefined) ? Buffer.from(texts.join('\u001f')) : undefined)
    from = to + 1
  }
  return keys
}

type Texts = (string | undefined)[]

function parsedTexts(line: string, columns: readonly string[]): Texts | undefined {
  return keyValues(line, columns)?.map((value) => (value === undefined || value === null ? undefined : keyText(value)))
}

/** Texts of an object's members, by name; undefined where only parsing can tell. */
function findTexts(lines: Buffer, from: number, to: number, names: readonly Buffer[]): Texts | undefined {
  const texts: Texts = names.map(() => undefined)
  let left = names.length
  let at = skipSpace(lines, from)
  if (lines[at++] !== OPEN_OBJECT) return undefined
  for (at = skipSpace(lines, at); at < to && lines[at] === QUOTE; at = skipSpace(lines, at + 1)) {
    const nameEnd = endOfText(lines, at + 1, to)
    if (nameEnd === -1) return undefined
    const name = names.findIndex((own) => own.length === nameEnd - at - 1 && own.compare(lines, at + 1, nameEnd) === 0)
    at = skipSpace(lines, nameEnd + 1)
    if (lines[at] !== COLON) return undefined
    const value = skipSpace(lines, at + 1)
    const end = endOfValue(lines, value, to)
    if (end === -1) return undefined
    if (name !== -1) {
      texts[name] = textOf(lines, value, end)
      if (--left === 0) return texts
    }
    at = skipSpace(lines, end)
    if (lines[at] !== COMMA) break
  }
  return lines[at] === CLOSE_OBJECT ? texts : undefined
}

function textOf(lines: Buffer, from: number, to: number): string | undefined {
  if (lines[from] === QUOTE) return keyText(lines.toString('utf8', from + 1, to - 1))
  const literal = lines.toString('latin1', from, to)
  return literal === 'null' ? undefined : keyText(literal)
}

/** Position behind a text, a number or a word; -1 for what is nested, escaped or cut off. */
function endOfValue(lines: Buffer, from: number, to: number): number {
  const first = lines[from]!
  if (first === QUOTE) return endOfText(lines, from + 1, to) + 1 || -1
  if (first === OPEN_OBJECT || first === OPEN_ARRAY) return -1
  let at = from
  while (at < to && lines[at] !== COMMA && lines[at] !== CLOSE_OBJECT && lines[at]! > 0x20) at++
  return at === from ? -1 : at
}

/** Position of the closing quote; -1 when something is escaped before it, or there is none. */
function endOfText(lines: Buffer, from: number, to: number): number {
  for (let at = from; at < to; at++) {
    const byte = lines[at]
    if (byte === QUOTE) return at
    if (byte === BACKSLASH) return -1
  }
  return -1
}

function skipSpace(lines: Buffer, from: number): number {
  let at = from
  while (lines[at] === 0x20 || lines[at] === 9) at++
  return at
}
