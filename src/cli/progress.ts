import type { Clock } from '../base/clock.ts'
import { formatMs } from '../base/duration.ts'
import type { Progress } from './verbs/progress.ts'
import type { Effects, Output } from './effects.ts'
import { grouped } from './text-table.ts'

/** Shows how far work is, on the terminal: one line drawn again and again. Elsewhere a line now and then. */
export interface ProgressView {
  show(event: Progress): void
  /** Takes the line away. */
  end(): void
}

export const SILENT: ProgressView = { show: () => undefined, end: () => undefined }

const DRAW_MS = 80
const LINE_MS = 10_000
const BAR_WIDTH = 24

export function progressView({ err, clock }: Effects, json: boolean): ProgressView {
  if (json) return SILENT
  return err.isTerminal ? new ProgressLine(err, clock) : new ProgressLog(err, clock)
}

class ProgressLine implements ProgressView {
  readonly #out: Output
  readonly #clock: Clock
  readonly #meter: Meter
  #drawnMs = -Infinity
  #phase: string | undefined

  constructor(out: Output, clock: Clock) {
    this.#out = out
    this.#clock = clock
    this.#meter = new Meter(clock)
  }

  show(event: Progress): void {
    const text = this.#meter.describe(event, this.#out)
    const now = this.#clock.monotonic()
    const phase = phaseOf(event)
    if (now - this.#drawnMs < DRAW_MS && phase === this.#phase) return
    this.#phase = phase
    this.#drawnMs = now
    this.#out.write(`\r\u001b[K${text}`)
  }

  end(): void {
    if (this.#drawnMs !== -Infinity) this.#out.write('\r\u001b[K')
    this.#drawnMs = -Infinity
  }
}

class ProgressLog implements ProgressView {
  readonly #out: Output
  readonly #clock: Clock
  readonly #meter: Meter
  #writtenMs: number

  constructor(out: Output, clock: Clock) {
    this.#out = out
    this.#clock = clock
    this.#meter = new Meter(clock)
    this.#writtenMs = clock.monotonic()
  }

  show(event: Progress): void {
    const text = this.#meter.describe(event, this.#out)
    if (this.#clock.monotonic() - this.#writtenMs < LINE_MS) return
    this.#writtenMs = this.#clock.monotonic()
    this.#out.write(`${text}\n`)
  }

  end(): void {}
}

/** Turns progress into a line with rate and time left, both over the whole phase. */
class Meter {
  readonly #clock: Clock
  #phase: string | undefined
  #startedMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  describe(event: Progress, out: Output): string {
    const phase = phaseOf(event)
    const now = this.#clock.monotonic()
    if (phase !== this.#phase) {
      this.#phase = phase
      this.#startedMs = now
    }
    const seconds = Math.max(0.001, (now - this.#startedMs) / 1000)
    switch (event.phase) {
      case 'load': {
        const share = event.bytesTotal === 0 ? 1 : Math.min(1, event.bytes / event.bytesTotal)
        const parts = [
          `${grouped(event.records)} rows`,
          `${(event.bytes / 1e6 / seconds).toFixed(1)} MB/s`,
          ...timeLeft(share, seconds),
          `file ${Math.min(event.files + 1, event.filesTotal)} of ${event.filesTotal}`,
        ]
        return fitted(`loading ${event.stream}`, share, parts, out)
      }
      case 'process': {
        const share = event.total === 0 ? 1 : Math.min(1, event.done / event.total)
        const parts = [
          `${grouped(event.done)} of ${grouped(event.total)} records`,
          `${grouped(Math.round(event.done / seconds))}/s`,
          ...timeLeft(share, seconds),
        ]
        return fitted(`processing ${event.stream}`, share, parts, out)
      }
      case 'refresh':
        return `refreshing ${event.dataset ?? 'tables'} …`
      case 'deliver':
        return 'calling handlers …'
      case 'verify':
        return `verifying ${event.dataset ?? ''} …`
      case 'maintain':
        return 'maintaining …'
    }
  }
}

function phaseOf(event: Progress): string {
  return `${event.phase} ${'stream' in event ? event.stream : (event.dataset ?? '')}`
}

function timeLeft(share: number, seconds: number): string[] {
  return share > 0.01 && share < 1 ? [`${formatMs((seconds * 1000 * (1 - share)) / share)} left`] : []
}

/** The line, with as much of it as the terminal is wide. */
function fitted(title: string, share: number, parts: readonly string[], out: Output): string {
  const full = Math.round(share * BAR_WIDTH)
  const bar = `${out.style('cyan', '━'.repeat(full))}${out.style('dim', '─'.repeat(BAR_WIDTH - full))}`
  const percent = `${String(Math.floor(share * 100)).padStart(3)} %`
  let rest = parts.join(' · ')
  const room = out.columns - title.length - BAR_WIDTH - percent.length - 6
  if (rest.length > room) rest = rest.slice(0, Math.max(0, room))
  return `${title}  ${bar} ${percent}  ${rest}`
}
