import type { ServerResponse } from 'node:http'
import type { Clock } from '../base/clock.ts'

/**
 * Sends server-sent events (WHATWG HTML, 9.2) as fast as the client takes them: the next is asked for when the one before
 * has left, so what waits is one event. A client that takes nothing for `stallMs` is cut off.
 */
export class EventSink {
  readonly #response: ServerResponse
  readonly #clock: Clock
  readonly #stallMs: number
  readonly #gone = new AbortController()
  /** Aborts when there is nobody to send to any more: the client is gone, or was cut off, or the server closes. */
  readonly over: AbortSignal

  constructor(
    response: ServerResponse,
    options: { readonly clock: Clock; readonly stallMs: number; readonly closing: AbortSignal },
  ) {
    this.#response = response
    this.#clock = options.clock
    this.#stallMs = options.stallMs
    this.over = AbortSignal.any([this.#gone.signal, options.closing])
    response.once('close', () => this.#gone.abort())
    // What a client that went away leaves behind is told by `close`.
    response.on('error', () => this.#gone.abort())
  }

  /** Begins the answer. */
  open(): void {
    this.#response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      // A proxy that gathers answers would hold events back.
      'x-accel-buffering': 'no',
    })
  }

  /** Sends text, and waits until the client has taken it where it lags behind. */
  async send(text: string): Promise<void> {
    const response = this.#response
    if (this.over.aborted || response.write(text)) return
    const taken = new AbortController()
    const drained = () => taken.abort()
    response.once('drain', drained)
    await this.#clock.sleep(this.#stallMs, AbortSignal.any([taken.signal, this.over]))
    response.off('drain', drained)
    if (!taken.signal.aborted) response.destroy()
  }

  end(): void {
    this.#response.end()
  }
}

/** One event. The data may hold line breaks. */
export function eventText(name: string, id: string, data: string): string {
  return `event: ${name}\nid: ${id}\ndata: ${data.replaceAll(/\r\n|\r|\n/g, '\ndata: ')}\n\n`
}
