import { formatMs } from '../base/duration.ts'
import type { MillraceError } from '../base/errors.ts'
import type { DatasetStatus } from '../project/status.ts'
import { type PlanDocument, ServerChild, type ServerEvent, planInChild } from './child.ts'
import type { Effects } from './effects.ts'
import type { Home } from './home.ts'
import { DEFAULT_INCLUDE } from './load-project.ts'
import { LiveBlock } from './live-block.ts'
import { errorText } from './report-error.ts'
import { runningServer } from './server-client.ts'
import { stateLine, statusTable } from './status-table.ts'
import { visible } from './text-table.ts'
import { changedFiles } from './watch-files.ts'

export interface DevOptions {
  readonly home: Home
  readonly port?: number
  /** Lines of JSON on standard output, and no live status. */
  readonly json: boolean
}

const STATUS_MS = 1_000

/** A project that runs while it is written: each change that is right takes the place of what runs. */
export class DevSession {
  readonly #options: DevOptions
  readonly #effects: Effects
  readonly #block: LiveBlock
  readonly #stopping = new AbortController()
  #child: ServerChild | undefined
  /** The plan of the last version that was right. */
  #plan: PlanDocument | undefined
  /** What the newest version imports, right or not. */
  #files: readonly string[] = []
  #url: string | undefined
  /** Said by a server before it was ready: why it did not become so. */
  #errors: readonly MillraceError[] = []

  constructor(options: DevOptions, effects: Effects) {
    this.#options = options
    this.#effects = effects
    this.#block = new LiveBlock(effects.err)
  }

  /** Runs until `stop`. */
  async run(): Promise<void> {
    const { clock, disk, err } = this.#effects
    const { signal } = this.#stopping
    const status = this.#showStatus()
    const changes = changedFiles({
      root: this.#options.home.project,
      include: () => this.#plan?.include ?? DEFAULT_INCLUDE,
      imported: () => this.#files,
      clock,
      disk,
      signal,
    })
    // Changes made during the first start count: the watch begins before it.
    const first = changes.next()
    await this.#take()
    for (let next = await first; next.done !== true; next = await changes.next()) {
      this.#say({ event: 'changed', files: next.value }, `${err.style('cyan', 'changed')} ${next.value.join(', ')}`)
      await this.#take()
    }
    await status
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#block.end()
    await this.#child?.stop()
    this.#say({ event: 'stopped' }, 'stopped')
  }

  /** Takes the files as they are now: checks them, and lets them replace what runs. */
  async #take(): Promise<void> {
    const { home } = this.#options
    const { document, errors } = await planInChild(['--project', home.project, '--data', home.data])
    if (this.#stopping.signal.aborted) return
    this.#files = document?.files ?? this.#files
    if (errors.length > 0 || document === undefined) return this.#refuse(errors)
    const began = this.#effects.clock.monotonic()
    const old = this.#child
    this.#child = undefined
    await old?.stop()
    if (this.#stopping.signal.aborted) return
    await this.#start(document, began)
  }

  #refuse(errors: readonly MillraceError[]): void {
    const { err } = this.#effects
    const running =
      this.#child === undefined
        ? 'Nothing runs yet; waiting for a change.'
        : 'The last version without problems keeps running.'
    const texts = errors.map((error) => errorText(error, this.#effects).trimEnd())
    this.#say(
      { event: 'problems', problems: errors, running: this.#child !== undefined },
      [...texts, err.style('yellow', running)].join('\n'),
    )
  }

  async #start(plan: PlanDocument, began: number): Promise<void> {
    const { home } = this.#options
    const { clock, err } = this.#effects
    // A free port, once found, is kept: whoever talks to it goes on.
    const port = this.#url === undefined ? this.#options.port : Number(new URL(this.#url).port)
    this.#errors = []
    const ready = Promise.withResolvers<string | undefined>()
    const args = [
      '--project',
      home.project,
      '--data',
      home.data,
      ...(port === undefined ? [] : ['--port', String(port)]),
    ]
    const child = new ServerChild(args, clock, (event) => this.#hear(event, ready.resolve))
    this.#child = child
    void child.ended.then((how) => {
      ready.resolve(undefined)
      if (this.#child !== child || this.#stopping.signal.aborted) return
      this.#child = undefined
      const texts = this.#errors.map((error) => errorText(error, this.#effects).trimEnd())
      this.#block.show([])
      const text = [...texts, err.style('red', `The server has ended (${how}); waiting for a change.`)].join('\n')
      this.#say({ event: 'ended', how, problems: this.#errors }, text)
    })
    const url = await ready.promise
    if (url === undefined) return
    const again = this.#url !== undefined
    this.#url = url
    this.#plan = plan
    const took = formatMs(clock.monotonic() - began)
    const text = again
      ? `${err.style('green', 'running')} the new version, after ${took}`
      : this.#welcome(plan, url, took)
    this.#say({ event: 'running', url }, text)
  }

  #hear(event: ServerEvent, ready: (url: string) => void): void {
    const { err, cwd } = this.#effects
    switch (event.event) {
      case 'ready':
        return ready(event.url)
      case 'error':
        this.#errors = [...this.#errors, ...event.errors]
        return
      case 'state':
        return this.#say({ ...event }, stateLine(event, err, cwd))
      case 'text':
        if (event.text !== '') this.#say({ ...event }, visible(event.text))
    }
  }

  #say(event: Record<string, unknown>, text: string): void {
    if (this.#options.json) this.#effects.out.write(`${JSON.stringify(event)}\n`)
    else this.#block.print(text)
  }

  #welcome(plan: PlanDocument, url: string, took: string): string {
    const { err } = this.#effects
    const streams = plan.datasets.filter(({ kind }) => kind === 'stream').map(({ name }) => name)
    const line = (method: string, path: string) =>
      `  ${err.style('dim', method.padEnd(4))} ${err.style('cyan', url + path)}`
    return [
      `${err.style('bold', plan.project)} runs after ${took}. Edit it: changes are taken up. Ctrl-C stops.`,
      '',
      ...streams.map((name) => line('POST', `/v1/streams/${name}`)),
      ...plan.endpoints.map(({ name, params }) => {
        const needed = params.filter(({ nullable }) => !nullable).map((param) => `${param.name}=…`)
        return line('GET', `/v1/endpoints/${name}${needed.length === 0 ? '' : `?${needed.join('&')}`}`)
      }),
      line('POST', '/v1/sql'),
      line('GET', '/openapi.json'),
      '',
    ].join('\n')
  }

  /** Draws the state of the datasets under everything else. */
  async #showStatus(): Promise<void> {
    const { clock, err } = this.#effects
    const { signal } = this.#stopping
    if (!err.isTerminal || this.#options.json) return
    while (!signal.aborted) {
      await clock.sleep(STATUS_MS, signal)
      if (this.#child === undefined || this.#url === undefined) continue
      try {
        const server = await runningServer(this.#options.home.data)
        const answer = await server?.ask('GET', '/v1/datasets')
        if (answer === undefined || signal.aborted) continue
        const { datasets } = JSON.parse(answer.toString('utf8')) as { datasets: DatasetStatus[] }
        this.#block.show(['', ...statusTable(datasets, err).split('\n')])
      } catch {
        // It is being replaced; the next look will do.
      }
    }
  }
}
