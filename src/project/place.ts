import { fileURLToPath } from 'node:url'

/** Where a declaration stands, for messages. */
export interface Place {
  readonly file: string
  readonly line: number
}

const SDK_FOLDER = fileURLToPath(new URL('.', import.meta.url))

/** The first caller outside the SDK itself, read from a stack trace; undefined when the stack tells nothing. */
export function callerPlace(): Place | undefined {
  const lines = new Error().stack?.split('\n').slice(1) ?? []
  for (const line of lines) {
    const match = /(?:\(|at )(?:async )?((?:file:\/\/)?\/[^()]+):(\d+):\d+\)?$/.exec(line.trim())
    if (!match) continue
    const file = match[1]!.startsWith('file://') ? fileURLToPath(match[1]!.replace(/\?.*$/, '')) : match[1]!
    if (file.startsWith(SDK_FOLDER)) continue
    return { file, line: Number(match[2]) }
  }
  return undefined
}
