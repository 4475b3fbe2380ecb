import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { freePort } from '../../scripts/services/free-ports.ts'
import { type Json, Running, folder, project, until } from '../cli/support.ts'
import { LedgerLake } from './ledger-lake.ts'
import { ROW_TEXT, STREAMS } from './ledger-project.ts'
import { type Batch, Ledger } from './ledger.ts'

/** How long a client tries to get a request through. */
const PATIENCE_MS = 60_000
/** How long a process that has to end may take, on a machine with much else to do. */
const ENDING_MS = 30_000

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** A server process that is killed again and again, and clients that go on sending whatever happens to it. */
export class LedgerServer {
  readonly ledger: Ledger
  readonly url: string
  /** What control requests were refused with, by verb and code; a connection that breaks is no refusal. */
  readonly refusals = new Map<string, number>()
  readonly #project: string
  readonly #data: string
  readonly #port: number
  #running: Running | undefined
  #repeated = 0
  #kills = 0
  #broken = 0
  #sending: Promise<void>[] = []
  #pausing = false

  private constructor(ledger: Ledger, data: string, port: number) {
    this.ledger = ledger
    this.#data = data
    this.#port = port
    this.url = `http://127.0.0.1:${port}`
    const declarations = fileURLToPath(new URL('./ledger-project.ts', import.meta.url))
    this.#project = project({
      'datasets.ts': `
import { ledgerProject } from ${JSON.stringify(declarations)}
export const datasets = ledgerProject({ strict: process.env.STRICT === '1' })
`,
    })
  }

  static async make(ledger: Ledger, data = folder()): Promise<LedgerServer> {
    return new LedgerServer(ledger, data, await freePort())
  }

  get summary(): string {
    const refusals = [...this.refusals].map(([what, n]) => `${what} × ${n}`).join(', ') || 'none'
    return `${this.#kills} kills, ${this.ledger.records} records acknowledged, ${this.#broken} broken requests, ${this.#repeated} found done already; refused: ${refusals}`
  }

  start({ strict }: { readonly strict: boolean }): void {
    this.#running = new Running(
      ['start', '--project', this.#project, '--data', this.#data, '--port', String(this.#port)],
      { env: { STRICT: strict ? '1' : '0' } },
    )
  }

  async ready(): Promise<void> {
    await this.#running!.says(/is ready after/)
  }

  /** `kill -9`. Fails when the process has ended by itself. */
  async kill(): Promise<void> {
    const running = this.#running!
    const { code, signal, stderr } = await running.kill('SIGKILL')
    expect({ code, signal }, stderr).toEqual({ code: null, signal: 'SIGKILL' })
    this.#kills++
  }

  async stop(): Promise<void> {
    expect(await this.#running!.kill('SIGTERM')).toMatchObject({ code: 0 })
  }

  /** Clients send until `pause`. */
  send(connections: number): void {
    this.#pausing = false
    this.#sending = Array.from({ length: connections }, () => this.#client())
    for (const client of this.#sending) client.catch(() => undefined)
  }

  /** Ends when all that was sent is acknowledged. Needs a server that is not killed meanwhile. */
  async pause(): Promise<void> {
    this.#pausing = true
    await Promise.all(this.#sending)
  }

  async #client(): Promise<void> {
    const { ledger } = this
    while (!this.#pausing) {
      await this.#deliver(ledger.next(STREAMS[ledger.below(2)]!, 1 + ledger.below(60)))
      await sleep(10 + ledger.below(60))
    }
  }

  /** Sends requests until one is not acknowledged. Returns what was answered to it. */
  async fill(records: number): Promise<string> {
    for (;;) {
      const batch = this.ledger.next(STREAMS[this.ledger.below(2)]!, records)
      const answer = await this.#post(batch).catch(() => undefined)
      if (answer?.status === 202) this.ledger.acknowledged(batch)
      else if (answer?.status !== 429) return JSON.stringify(answer ?? 'no answer')
    }
  }

  /**
   * Waits until the process has ended by itself, in good order, and returns what it has said; undefined for one that goes on and
   * refuses, which is stopped.
   */
  async ended(): Promise<string | undefined> {
    const running = this.#running!
    const ended = await Promise.race([running.ended, sleep(ENDING_MS).then(() => undefined)])
    if (ended === undefined) return void (await running.kill('SIGTERM'))
    const { code, signal, stderr } = ended
    expect({ code, signal }, stderr).toEqual({ code: 1, signal: null })
    return stderr
  }

  /** Sends what nobody has acknowledged yet. */
  async sendPending(): Promise<void> {
    for (const batch of this.ledger.pending) await this.#deliver(batch)
  }

  async #post({ stream, key, records }: Batch): Promise<{ status: number; body: Json }> {
    const answer = await fetch(`${this.url}/v1/streams/${stream}`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson', 'idempotency-key': key },
      body: records.map(({ line }) => `${line}\n`).join(''),
      signal: AbortSignal.timeout(PATIENCE_MS),
    })
    return { status: answer.status, body: await answer.json() }
  }

  /** Sends a request until somebody has acknowledged it. */
  async #deliver(batch: Batch): Promise<void> {
    let last = 'no answer'
    for (const began = Date.now(); Date.now() - began < PATIENCE_MS; await sleep(20)) {
      try {
        const { status, body } = await this.#post(batch)
        if (status === 202) {
          expect(body.received).toBe(batch.records.length)
          if (body.repeated) this.#repeated++
          return this.ledger.acknowledged(batch)
        }
        last = JSON.stringify(body)
        expect([429, 503], last).toContain(status)
      } catch (error) {
        if (!(error instanceof TypeError)) throw error
        this.#broken++
      }
    }
    throw new Error(`${batch.key} was not taken: ${last}\n${this.#running!.output}`)
  }

  /** Has a verb carried out. undefined when the connection broke. */
  async control(verb: string, input: object): Promise<Json> {
    let lines: string[]
    try {
      const { token } = JSON.parse(readFileSync(`${this.#data}/server.json`, 'utf8')) as { token: string }
      const answer = await fetch(`${this.url}/v1/control/${verb}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify(input),
      })
      lines = (await answer.text()).trim().split('\n')
    } catch {
      return undefined
    }
    const last = JSON.parse(lines.at(-1)!)
    if (last.result !== undefined) return last.result
    if (last.progress !== undefined) return undefined
    const { code, detail, title } = (last.problem ?? last) as Record<string, string>
    const what = `${verb}: ${code} (${detail ?? title})`
    this.refusals.set(what, (this.refusals.get(what) ?? 0) + 1)
    return undefined
  }

  /** Something that works on the whole stream or lake, picked at random. */
  async disturb(): Promise<void> {
    const { ledger } = this
    const stream = STREAMS[ledger.below(2)]!
    const verbs: readonly (readonly [string, object])[] = [
      ['maintain', { minFiles: 2, orphanAgeMs: 3_600_000 }],
      ['maintain', { minFiles: 2, orphanAgeMs: 3_600_000 }],
      ['replay', { stream, fromOffset: ledger.below(ledger.records + 1) }],
      ['replay', { stream }],
      ['quarantine-replay', { stream }],
      ['quarantine-replay', { stream: 'payments' }],
      ['verify', { datasets: [stream] }],
      ['run', {}],
    ]
    const [verb, input] = verbs[ledger.below(verbs.length)]!
    await this.control(verb, input)
  }

  /** Stops sending, lets in what strict code held back, and compares everything with the ledger. Needs a server that is ready. */
  async expectRight(where: string): Promise<void> {
    await this.pause()
    const asked = async (verb: string, input: object) => {
      const result = await this.control(verb, input)
      expect(result, `${where}: ${verb}: ${this.summary}`).toBeDefined()
      return result
    }
    await asked('run', {})
    for (const stream of STREAMS) await asked('quarantine-replay', { stream })
    await asked('run', {})
    const statuses = await until(
      async () => ((await (await fetch(`${this.url}/v1/datasets`)).json()) as Json).datasets as Json[],
      (datasets) => datasets.every(({ state, lag }) => state === 'ok' && lag === 0),
    )
    const lake = new LedgerLake(this.#data)
    for (const stream of STREAMS) {
      const expected = this.ledger.expected(stream)
      const { received, accepted, duplicates, quarantined } = statuses.find(({ name }) => name === stream)
      expect({ received, accepted, duplicates, quarantined }, `${where}: ${stream}`).toEqual(expected.counts)
      expect(await this.#digest(`select ${ROW_TEXT[stream]} as text from ${stream}`)).toEqual(digestOf(expected.rows))
      expect(await this.#digest(`select raw as text from ${stream}__quarantine`)).toEqual(digestOf(expected.refused))
      this.ledger.expectSettled(stream, await lake.found(stream), where)
    }
    await lake.expectTablesRight(where)
    for (const compared of (await asked('verify', { datasets: [] })) as Json[])
      expect(compared, `${where}: verify`).toMatchObject({ equal: true, missing: 0, extra: 0 })
  }

  /** Number and digest of texts, as the API gives them. */
  async #digest(texts: string): Promise<unknown> {
    const sql = `select count(*) as n, md5(coalesce(string_agg(text, chr(10) order by text), '')) as digest from (${texts})`
    const answer = await fetch(`${this.url}/v1/sql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ sql }),
    })
    const { rows, detail } = (await answer.json()) as Json
    expect(rows, detail).toBeDefined()
    return rows[0]
  }
}

function digestOf(sorted: readonly string[]): unknown {
  return [sorted.length, createHash('md5').update(sorted.join('\n')).digest('hex')]
}

/** Records that are acknowledged before the last comparison. */
const RECORDS_MIN = 500

/**
 * Kills a server at random instants, while clients send and whole streams are replayed, verified and compacted beside them: also
 * during its start and recovery. Compares everything with the ledger so many times, the last time at the end.
 */
export async function killLoop(options: {
  readonly kills: number
  readonly checkpoints: number
  readonly seed: number
}): Promise<LedgerServer> {
  const ledger = new Ledger(options.seed)
  const server = await LedgerServer.make(ledger)
  const between = Math.ceil(options.kills / options.checkpoints)
  server.start({ strict: false })
  server.send(4)
  for (let kill = 1; kill <= options.kills; kill++) {
    let disturbing: Promise<void> | undefined
    if (ledger.random() < 0.3) await sleep(ledger.below(1_200))
    else {
      await server.ready()
      if (ledger.random() < 0.7) disturbing = server.disturb()
      await sleep(ledger.below(1_500))
    }
    await server.kill()
    await disturbing
    const isCheckpoint = kill % between === 0 || kill === options.kills
    server.start({ strict: !isCheckpoint && ledger.random() < 0.3 })
    if (!isCheckpoint) continue
    await server.ready()
    // However slow the machine is, there is enough to compare.
    while (kill === options.kills && ledger.records <= RECORDS_MIN) await sleep(20)
    await server.expectRight(`after ${kill} kills, seed ${options.seed}`)
    server.send(4)
  }
  await server.pause()
  await server.stop()
  return server
}
