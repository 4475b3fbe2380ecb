import { text } from 'node:stream/consumers'
import { styleText } from 'node:util'
import type { Clock } from '../base/clock.ts'
import { systemClock } from '../base/clock.ts'
import type { Disk } from '../storage/disk.ts'
import { systemDisk } from '../storage/disk.ts'

export type Style = Parameters<typeof styleText>[0]

/** Somewhere text goes: a terminal, a pipe, a file. */
export interface Output {
  write(text: string | Uint8Array): void
  /** A person watches: lines may be drawn again. */
  readonly isTerminal: boolean
  /** Width in characters; Infinity when it is not a terminal. */
  readonly columns: number
  /** Lines; Infinity when it is not a terminal. */
  readonly rows: number
  /** Text in a style, or plain where NO_COLOR, FORCE_COLOR or the kind of output say so. */
  style(style: Style, text: string): string
}

/** What commands touch of the world. */
export interface Effects {
  readonly clock: Clock
  readonly disk: Disk
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** Results. */
  readonly out: Output
  /** Progress, notes and errors. */
  readonly err: Output
  /** All of standard input as text. */
  readInput(): Promise<string>
}

export function systemEffects(): Effects {
  return {
    clock: systemClock,
    disk: systemDisk,
    env: process.env,
    cwd: process.cwd(),
    out: outputOf(process.stdout),
    err: outputOf(process.stderr),
    readInput: () => text(process.stdin),
  }
}

function outputOf(stream: NodeJS.WriteStream): Output {
  return {
    write: (text) => void stream.write(text),
    isTerminal: stream.isTTY === true,
    get columns() {
      // A terminal that does not know its size says 0.
      return (stream.isTTY && stream.columns) || Infinity
    },
    get rows() {
      return (stream.isTTY && stream.rows) || Infinity
    },
    style: (style, plain) => styleText(style, plain, { stream }),
  }
}
