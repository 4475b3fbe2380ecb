import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Clock } from '../base/clock.ts'
import { MillraceError, asMillraceError } from '../base/errors.ts'
import { Semaphore } from '../base/queue.ts'
import { typeName } from '../project/columns.ts'
import { Recent } from './cache.ts'
import { EventSink, eventText } from './event-sink.ts'
import type { ServingLimits } from './limits.ts'
import type { ChangesPage, ChangesQuestion, DatasetChanges, Platform } from './platform.ts'
import { fromServer, problemOf } from './problem.ts'
import { liveSelection } from './rows.ts'
import { PROBLEM_RESPONSE } from './schemas.ts'

type Named = FastifyRequest<{ Params: { name: string } }>

/** `GET /v1/datasets/{name}/live`: what is published from now on, or from a place on, as server-sent events. */
export function liveRoute(app: FastifyInstance, platform: Platform, limits: ServingLimits, clock: Clock): void {
  const followers = new Followers(limits, clock)
  app.addHook('preClose', async () => followers.close())
  app.route<{ Params: { name: string } }>({
    method: 'GET',
    url: '/v1/datasets/:name/live',
    schema: {
      operationId: 'followDataset',
      tags: ['Datasets'],
      summary: 'New and changed rows as they are published: server-sent events',
      params: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } },
      headers: {
        type: 'object',
        properties: { 'Last-Event-ID': { type: 'string', description: 'The id of the last event received.' } },
      },
      querystring: {
        type: 'object',
        properties: {
          columns: { type: 'string', description: 'Columns to give, separated by commas.' },
          from: { enum: ['start'], description: 'Begin with all rows of the present snapshot.' },
          after: { type: 'string', description: 'As Last-Event-ID, which outdoes it.' },
        },
      },
      response: {
        200: {
          description: 'Events `begin`, `rows`, `removed`, `reset` and `problem`, until the client goes.',
          content: { 'text/event-stream': { schema: { type: 'string' } } },
        },
        ...PROBLEM_RESPONSE,
      },
    },
    validatorCompiler: () => () => true,
    handler: async (request, reply) => {
      const changes = platform.changes(request.params.name)
      const { searchParams } = new URL(request.url, 'http://millrace')
      const question = {
        ...liveSelection(changes, searchParams),
        rowsMax: limits.livePageRows,
        bytesMax: limits.livePageBytes,
      }
      const place = beginning(request, searchParams, changes)
      const release = followers.admit()
      try {
        reply.hijack()
        await followers.follow(reply.raw, changes, place, question)
      } finally {
        release()
      }
    },
  })
}

/** Where a client begins. Errors, both `invalid`: `bad-value`, `bad-position`. */
function beginning(request: Named, given: URLSearchParams, changes: DatasetChanges): string {
  const from = given.get('from')
  if (from !== null && from !== 'start') {
    throw new MillraceError('invalid', 'bad-value', `from=${from} is not a place to begin.`, {
      hint: 'Give from=start for all rows of the present snapshot, or leave it out to begin with what is published next.',
    })
  }
  // A browser that reconnects sends the header beside the URL it began with.
  const header = request.headers['last-event-id']
  const after = typeof header === 'string' && header !== '' ? header : given.get('after')
  if (after !== null) {
    changes.check(after)
    return after
  }
  return from === null ? changes.present() : changes.start
}

/** The clients that follow datasets: how many there may be, and the pages they share. */
class Followers {
  readonly #limits: ServingLimits
  readonly #clock: Clock
  readonly #pages: Recent<string, Promise<ChangesPage | 'lost' | undefined>>
  readonly #reads: Semaphore
  readonly #closing = new AbortController()
  #connected = 0

  constructor(limits: ServingLimits, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
    this.#pages = new Recent(limits.livePages)
    this.#reads = new Semaphore(limits.liveReads)
  }

  /** Takes a place for one client; gives what releases it. Errors: `unavailable`/`too-many-live`. */
  admit(): () => void {
    const { liveConnections } = this.#limits
    if (this.#connected >= liveConnections) {
      throw new MillraceError(
        'unavailable',
        'too-many-live',
        `${liveConnections} clients follow datasets already, and no more may.`,
        { hint: 'Try again in a moment; let one client follow for many.', context: { limit: liveConnections } },
      )
    }
    this.#connected++
    return () => void this.#connected--
  }

  /** Ends all connections; clients resume where they were when the server is back. */
  close(): void {
    this.#closing.abort()
  }

  /** Sends what comes after a place until the client goes, is cut off, or the server closes. */
  async follow(
    response: ServerResponse,
    changes: DatasetChanges,
    place: string,
    question: ChangesQuestion,
  ): Promise<void> {
    const sink = new EventSink(response, {
      clock: this.#clock,
      stallMs: this.#limits.liveStallMs,
      closing: this.#closing.signal,
    })
    let at = place
    try {
      sink.open()
      const columns = question.columns.map(({ name, type }) => ({ name, type: typeName(type) }))
      await sink.send(
        `retry: ${RETRY_MS}\n${eventText('begin', at, JSON.stringify({ dataset: changes.name, columns }))}`,
      )
      while (!sink.over.aborted) {
        const seen = changes.count()
        const page = await this.#page(changes, at, question)
        if (page === undefined) await this.#wait(sink, changes, seen)
        else if (page === 'lost') {
          at = changes.present()
          await sink.send(eventText('reset', at, JSON.stringify(LOST)))
        } else {
          for (const event of eventsOf(page, this.#limits)) if (!sink.over.aborted) await sink.send(event)
          at = page.next
        }
      }
    } catch (error) {
      await sink.send(eventText('problem', at, JSON.stringify(problemOf(fromServer(asMillraceError(error))))))
    } finally {
      sink.end()
    }
  }

  /** The next page, read once for all who are at the same place with the same question. */
  #page(changes: DatasetChanges, at: string, question: ChangesQuestion): Promise<ChangesPage | 'lost' | undefined> {
    const { columns, conditions, parameters } = question
    const key = JSON.stringify([
      changes.name,
      changes.count(),
      at,
      columns.map(({ name }) => name),
      conditions,
      parameters,
    ])
    const known = this.#pages.get(key)
    if (known) return known
    const page = this.#reads.run(() => changes.page(at, question))
    this.#pages.set(key, page)
    page.catch(() => this.#pages.delete(key))
    return page
  }

  /** Until something is published; or for a while, and then says that the connection lives. */
  async #wait(sink: EventSink, changes: DatasetChanges, seen: number): Promise<void> {
    const over = new AbortController()
    const until = AbortSignal.any([sink.over, over.signal])
    const silent = await Promise.race([
      changes.after(seen, until).then(() => false),
      this.#clock.sleep(this.#limits.liveHeartbeatMs, until).then(() => true),
    ])
    over.abort()
    if (silent && !sink.over.aborted) await sink.send(': \n\n')
  }
}

/** When a client that was cut off may come back. */
const RETRY_MS = 2_000

const LOST = {
  code: 'history-expired',
  detail:
    'What came after the last event can no longer be told: its snapshots have expired, or the dataset was made anew.',
  hint: 'Read the rows again (or begin anew with from=start); the events after this one go on from the present.',
}

/** A page as events: rows gone, rows come, each a list of bounded size with the place after its last row. */
function* eventsOf({ rows, next }: ChangesPage, limits: ServingLimits): Generator<string> {
  let from = 0
  let bytes = 0
  for (const [i, { row, removed, after }] of rows.entries()) {
    bytes += row.length
    const last = i === rows.length - 1
    const ends = last || rows[i + 1]!.removed !== removed
    if (!ends && bytes < limits.liveEventBytes && i - from + 1 < limits.liveEventRows) continue
    const list = `[${rows
      .slice(from, i + 1)
      .map((each) => each.row)
      .join(',')}]`
    yield eventText(removed ? 'removed' : 'rows', last ? next : after, list)
    from = i + 1
    bytes = 0
  }
  // An id alone is taken note of and makes no event.
  if (rows.length === 0) yield `id: ${next}\n\n`
}
