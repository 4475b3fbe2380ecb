import http from 'node:http'

/** One server-sent event, as a browser's EventSource would give it. */
export interface LiveEvent {
  readonly event: string
  readonly id: string
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly data: any
}

/** A client of `…/live`: a plain HTTP connection that is read event by event. */
export class Follower {
  readonly events: LiveEvent[] = []
  comments = 0
  /** The last id received, with or without an event. */
  lastId = ''
  status = 0
  headers: http.IncomingHttpHeaders = {}
  /** The answer where it is no stream of events. */
  problem: Record<string, unknown> | undefined
  ended = false
  response: http.IncomingMessage | undefined
  readonly #request: http.ClientRequest
  readonly #waiting = new Set<() => void>()
  #text = ''

  constructor(url: string, headers: Record<string, string> = {}) {
    this.#request = http.get(url, { headers, agent: false }, (response) => {
      this.response = response
      this.status = response.statusCode!
      this.headers = response.headers
      response.setEncoding('utf8')
      response.on('data', (text: string) => this.#take(text))
      response.on('close', () => this.#end())
    })
    this.#request.on('error', () => this.#end())
  }

  /** Resolves once it has seen what is wanted. */
  async until(wanted: (follower: this) => boolean): Promise<this> {
    while (!wanted(this)) {
      if (this.ended) throw new Error(`the connection ended: ${JSON.stringify(this.events)} ${this.#text}`)
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
    return this
  }

  /** Resolves when the connection has ended. */
  async end(): Promise<this> {
    while (!this.ended) await new Promise<void>((resolve) => this.#waiting.add(resolve))
    return this
  }

  close(): void {
    this.#request.destroy()
  }

  /** Rows that came and, where they are gone again, went. */
  // oxlint-disable-next-line typescript/no-explicit-any
  rows(event: 'rows' | 'removed' = 'rows'): any[] {
    return this.events.filter((each) => each.event === event).flatMap((each) => each.data)
  }

  #end(): void {
    if (this.status >= 400 && this.problem === undefined) this.problem = JSON.parse(this.#text)
    this.ended = true
    this.#wake()
  }

  #take(text: string): void {
    this.#text += text
    if (this.status !== 200) return
    const blocks = this.#text.split('\n\n')
    this.#text = blocks.pop()!
    for (const block of blocks) this.#block(block)
    this.#wake()
  }

  #block(block: string): void {
    const fields: Record<string, string> = {}
    for (const line of block.split('\n')) {
      const [, name = '', value = ''] = /^([^:]*):? ?(.*)$/s.exec(line)!
      if (name === '') this.comments++
      else fields[name] = name === 'data' && fields['data'] !== undefined ? `${fields['data']}\n${value}` : value
    }
    if (fields['id'] !== undefined) this.lastId = fields['id']
    if (fields['data'] !== undefined)
      this.events.push({ event: fields['event'] ?? 'message', id: this.lastId, data: JSON.parse(fields['data']) })
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }
}
