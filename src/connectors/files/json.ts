import { MillraceError, messageOf } from '../../base/errors.ts'
import type { FilesSource } from '../../project/source.ts'
import type { FileVersion } from '../files.ts'
import { FieldNames } from './fields.ts'
import type { Framer } from './framer.ts'
import type { RecordWriter } from './records.ts'
import { INVALID } from './text.ts'

const QUOTE = 0x22
const COMMA = 0x2c
const BACKSLASH = 0x5c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d

/** Frames newline-delimited JSON: one object a line; blank lines are none. */
export class NdjsonFramer implements Framer {
  readonly #records: ObjectRecords
  readonly #writer: RecordWriter
  #text = ''
  #line = 1
  /** Within a line too long to hold. */
  #skipping = false

  constructor(source: FilesSource, writer: RecordWriter) {
    this.#records = new ObjectRecords(source, writer)
    this.#writer = writer
  }

  push(piece: string): void {
    const text = this.#text + piece
    let at = 0
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', at)) {
      if (!this.#skipping) this.#records.add(this.#line, text.slice(at, end))
      this.#skipping = false
      this.#line++
      at = end + 1
    }
    this.#text = this.#skipping ? '' : text.slice(at)
    if (this.#text.length > this.#writer.recordLimit) {
      this.#records.add(this.#line, this.#text)
      this.#skipping = true
      this.#text = ''
    }
  }

  end(): void {
    if (!this.#skipping) this.#records.add(this.#line, this.#text)
  }
}

/**
 * Frames a JSON document: the objects of its top-level array, or its top-level objects, one after another. Only the
 * object being read is held, so the size of the document does not matter.
 */
export class JsonFramer implements Framer {
  readonly #source: FilesSource
  readonly #file: FileVersion
  readonly #records: ObjectRecords
  readonly #writer: RecordWriter
  #text = ''
  /** How far the text has been looked at. */
  #at = 0
  #line = 1
  #inArray = false
  /** A comma, or the array's end, must come before the next value. */
  #afterValue = false
  /** Within a value: its depth, its first line, and whether a string is open. */
  #depth = 0
  #valueLine = 0
  #inString = false
  #huge = false

  constructor(source: FilesSource, file: FileVersion, writer: RecordWriter) {
    this.#source = source
    this.#file = file
    this.#records = new ObjectRecords(source, writer)
    this.#writer = writer
  }

  push(piece: string): void {
    this.#text += piece
    while (this.#depth > 0 ? this.#goThroughValue() : this.#goToValue());
    if (this.#depth === 0) {
      this.#line += countLines(this.#text.slice(0, this.#at))
      this.#text = this.#text.slice(this.#at)
      this.#at = 0
    } else if (this.#text.length > this.#writer.recordLimit && !this.#huge) {
      this.#huge = true
      this.#writer.reject(this.#valueLine, `the record is larger than ${this.#writer.recordLimit} bytes`, this.#text)
    }
    if (this.#huge && this.#depth > 0) this.#forget(this.#at)
  }

  end(): void {
    this.push(' ')
    if (this.#depth > 0 || this.#inArray) {
      const line = this.#depth > 0 ? this.#valueLine : this.#line
      throw this.#malformed(line, 'the document ends too early; the file is not complete')
    }
    if (this.#text !== '') throw this.#malformed(this.#line, 'this is not JSON')
  }

  /** Between values: false when the text is used up. */
  #goToValue(): boolean {
    const next = /[^\s\ufeff]/g
    next.lastIndex = this.#at
    const found = next.exec(this.#text)
    if (found === null) {
      this.#at = this.#text.length
      return false
    }
    this.#forget(found.index)
    switch (found[0]) {
      case '{':
        return this.#open()
      case '[':
        if (this.#inArray) return this.#open()
        this.#inArray = true
        this.#afterValue = false
        this.#at++
        return true
      case ',':
        if (!this.#inArray || !this.#afterValue)
          throw this.#malformed(this.#line, 'a comma stands where a value is expected')
        this.#afterValue = false
        this.#at++
        return true
      case ']':
        if (!this.#inArray) throw this.#malformed(this.#line, "']' stands where no array is open")
        this.#inArray = false
        this.#afterValue = false
        this.#at++
        return true
      default:
        return this.#scalar()
    }
  }

  #open(): boolean {
    this.#expectSeparated()
    this.#depth = 1
    this.#valueLine = this.#line
    this.#at++
    return true
  }

  /** A value that is no object or array: rejected within an array, the end of the matter outside. */
  #scalar(): boolean {
    if (!this.#inArray) throw this.#malformed(this.#line, 'this is not a JSON array of objects')
    const scalar = /"(?:[^"\\]|\\[^])*"|[^\s,[\]{}"]+(?=[\s,\]])/y
    const found = scalar.exec(this.#text)
    if (found === null) {
      if (this.#text.length <= this.#writer.recordLimit) return false
      throw this.#malformed(this.#line, 'this is not JSON')
    }
    this.#expectSeparated()
    this.#records.add(this.#line, found[0])
    this.#afterValue = true
    this.#at += found[0].length
    return true
  }

  #expectSeparated(): void {
    if (this.#inArray && this.#afterValue) throw this.#malformed(this.#line, 'a comma is missing between two values')
  }

  /** Within an object or array: false when the text is used up. */
  #goThroughValue(): boolean {
    const mark = this.#inString ? /["\\]/g : /["{}[\]]/g
    mark.lastIndex = this.#at
    const found = mark.exec(this.#text)
    if (found === null) {
      this.#at = this.#text.length
      return false
    }
    this.#at = found.index + 1
    switch (found[0]) {
      case '"':
        this.#inString = !this.#inString
        return true
      case '\\':
        // What is escaped may not have come yet.
        if (this.#at === this.#text.length) {
          this.#at--
          return false
        }
        this.#at++
        return true
      case '{':
      case '[':
        this.#depth++
        return true
      default:
        if (--this.#depth === 0) this.#close()
        return true
    }
  }

  #close(): void {
    const value = this.#text.slice(0, this.#at)
    if (!this.#huge) this.#records.add(this.#valueLine, value)
    this.#forget(this.#at)
    this.#huge = false
    this.#afterValue = true
  }

  /** Drops the text before a position. */
  #forget(position: number): void {
    this.#line += countLines(this.#text.slice(0, position))
    this.#text = this.#text.slice(position)
    this.#at -= position
    if (this.#at < 0) this.#at = 0
  }

  #malformed(line: number, what: string): MillraceError {
    return new MillraceError('invalid', 'bad-json', `${this.#file.file}, line ${line}: ${what}.`, {
      hint: "Deliver the file again as one JSON array of objects, or declare format: 'ndjson' when each line is an object.",
      context: { source: this.#source.name, file: this.#file.file, line },
    })
  }
}

/** Writes JSON objects as records: values exactly as they stand, so that no digit of a number is lost. */
class ObjectRecords {
  readonly #writer: RecordWriter
  readonly #names: FieldNames
  readonly #encoding: string
  /** The keys of the latest object, and what stands for each in its record; undefined for an excluded one. */
  #keys: readonly string[] = []
  #prefixes: readonly (string | undefined)[] = []

  constructor(source: FilesSource, writer: RecordWriter) {
    this.#writer = writer
    this.#names = new FieldNames(source)
    this.#encoding = source.encoding ?? 'utf-8'
  }

  add(line: number, text: string): void {
    const json = text.trim()
    if (json === '') return
    const limit = this.#writer.recordLimit
    if (json.includes(INVALID)) return this.#writer.reject(line, `bytes that are not valid ${this.#encoding}`, json)
    if (json.length > limit) return this.#writer.reject(line, `the record is larger than ${limit} bytes`, json)
    const problem = problemOf(json)
    if (problem !== undefined) return this.#writer.reject(line, problem, json)
    const members = membersOf(json)
    if (!sameKeys(members, this.#keys)) this.#setKeys(members.map(({ key }) => key))
    let record = ''
    for (let i = 0; i < members.length; i++) {
      const prefix = this.#prefixes[i]
      if (prefix !== undefined) record += (record === '' ? '' : ',') + prefix + members[i]!.value
    }
    this.#writer.record(line, record)
  }

  /** Names fields; most objects of a file have the same ones. */
  #setKeys(keys: readonly string[]): void {
    const names = this.#names.name(keys.map((key) => JSON.parse(key) as string))
    this.#keys = keys
    this.#prefixes = names.map((name) => (name === undefined ? undefined : `${JSON.stringify(name)}:`))
  }
}

interface Member {
  /** In JSON, as it stands. */
  readonly key: string
  readonly value: string
}

function sameKeys(members: readonly Member[], keys: readonly string[]): boolean {
  if (members.length !== keys.length) return false
  for (let i = 0; i < keys.length; i++) if (members[i]!.key !== keys[i]) return false
  return true
}

/** Why a text is not one JSON object. The parser's own message quotes the text, which may hold an excluded value. */
function problemOf(json: string): string | undefined {
  try {
    JSON.parse(json)
  } catch (error) {
    const position = /position (\d+)/.exec(messageOf(error))?.[1]
    return `malformed JSON${position === undefined ? '' : ` at character ${Number(position) + 1}`}`
  }
  return json.startsWith('{') ? undefined : 'a JSON object is expected'
}

/** The members of a valid JSON object, values as they stand but without line breaks (which only white space can hold). */
function membersOf(json: string): Member[] {
  const members: Member[] = []
  const hasBreaks = /[\r\n]/.test(json)
  for (let at = skipSpace(json, 1); json.charCodeAt(at) === QUOTE;) {
    const keyEnd = stringEnd(json, at)
    const start = skipSpace(json, skipSpace(json, keyEnd) + 1)
    const end = valueEnd(json, start)
    const value = json.slice(start, end)
    members.push({ key: json.slice(at, keyEnd), value: hasBreaks ? value.replace(/[\r\n]+/g, ' ') : value })
    at = skipSpace(json, end)
    if (json.charCodeAt(at) === COMMA) at = skipSpace(json, at + 1)
  }
  return members
}

function skipSpace(json: string, from: number): number {
  let at = from
  while (json.charCodeAt(at) <= 0x20) at++
  return at
}

/** The position after the string that begins at `from`. */
function stringEnd(json: string, from: number): number {
  for (let at = from + 1; ;) {
    const end = json.indexOf('"', at)
    let escapes = 0
    while (json.charCodeAt(end - 1 - escapes) === BACKSLASH) escapes++
    if (escapes % 2 === 0) return end + 1
    at = end + 1
  }
}

/** The position after the value that begins at `from`. */
function valueEnd(json: string, from: number): number {
  const first = json.charCodeAt(from)
  if (first === QUOTE) return stringEnd(json, from)
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return nestedEnd(json, from)
  for (let at = from; ; at++) {
    const code = json.charCodeAt(at)
    if (code === COMMA || code === CLOSE_BRACE || code <= 0x20) return at
  }
}

function nestedEnd(json: string, from: number): number {
  for (let at = from, depth = 0; ; at++) {
    const code = json.charCodeAt(at)
    if (code === QUOTE) at = stringEnd(json, at) - 1
    else if (code === OPEN_BRACE || code === OPEN_BRACKET) depth++
    else if ((code === CLOSE_BRACE || code === CLOSE_BRACKET) && --depth === 0) return at + 1
  }
}

function countLines(text: string): number {
  let count = 0
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) count++
  return count
}
