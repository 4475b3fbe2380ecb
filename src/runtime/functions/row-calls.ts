import { assert } from '../../base/errors.ts'
import { rowReader } from '../../engine/duckdb/json-row.ts'
import type { FunctionContext } from '../../project/transform.ts'
import { quarantineLine } from '../../quality/quarantine.ts'
import { Misfit, shown } from '../../quality/row-writer.ts'
import { CallFailed, type Caller, isPromise, reasonOf } from './function-calls.ts'
import { type ApplyTask, type LostRow, type PairTask, TASK_ROWS, type TaskReport } from './function-messages.ts'
import { LineReader, LineWriter } from './line-file.ts'

/** A row that a function is called with. */
export interface InputRow {
  /** Its place in the task. */
  readonly place: number
  readonly partition: number
  readonly offset: number
  /** Place among the rows of the same record, where a flatMap gave several. */
  readonly index: number | undefined
  readonly row: Record<string, unknown>
  /** The row as JSON. */
  readonly json: string
}

/** What became of a row. */
type Outcome<T> = { readonly input: InputRow } & (
  { readonly result: T } | { readonly rule: string; readonly reason: string }
)

export interface RowCalls<T> {
  readonly task: ApplyTask | PairTask
  readonly caller: Caller
  readonly call: (row: unknown, context: FunctionContext) => unknown
  /** Rows given to one call, as a list; undefined for a row as it is. */
  readonly batch: number | undefined
  readonly concurrency: number
  /** Marks rows whose call begins (1) or has ended (0). */
  readonly mark: (row: number, running: 0 | 1) => void
  /** What is kept of a result. Throws `Misfit` when it is not what the function promised. */
  readonly take: (result: unknown, input: InputRow) => T
  /** Gets the results, in the order of their rows. */
  readonly keep: (result: T) => void
}

/**
 * Calls a function for the rows of a task, several calls at once where they wait. Results are kept in the order of the rows,
 * so at most as many are held back as there are calls at once; a row whose call fails is refused and the others go on.
 */
export async function callRows<T>(calls: RowCalls<T>): Promise<TaskReport> {
  const { task, keep } = calls
  const refused = new LineWriter(task.refused)
  const report = { taken: 0, refused: 0 }
  const settle = (outcomes: readonly Outcome<T>[]) => {
    for (const outcome of outcomes) {
      report.taken++
      if ('result' in outcome) keep(outcome.result)
      else refused.write(refusedLine(task, outcome))
      if (!('result' in outcome)) report.refused++
    }
  }
  const concurrency = task.alone ? 1 : calls.concurrency
  const open: (Outcome<T>[] | Promise<Outcome<T>[]>)[] = []
  for (const group of groups(calls)) {
    const outcomes = callGroup(calls, group)
    // Nothing waits, and nothing has to: the commonest case costs no promise.
    if (!isPromise(outcomes) && open.length === 0) {
      settle(outcomes)
      continue
    }
    // Told when its turn comes.
    if (isPromise(outcomes)) outcomes.catch(() => undefined)
    open.push(outcomes)
    if (open.length >= concurrency) settle(await open.shift()!)
  }
  while (open.length > 0) settle(await open.shift()!)
  refused.close()
  return report
}

interface Group {
  readonly rows: readonly InputRow[]
  readonly lost?: LostRow
}

/** Rows as they are given to calls. */
function* groups({ task, batch }: Pick<RowCalls<unknown>, 'task' | 'batch'>): Generator<Group> {
  const lost = new Map(task.lost.map((row) => [row.row, row]))
  const size = task.alone ? 1 : (batch ?? 1)
  let rows: InputRow[] = []
  for (const row of inputRows(task)) {
    const refusal = lost.get(row.place)
    if (refusal) yield { rows: [row], lost: refusal }
    else if (rows.push(row) >= size) {
      yield { rows }
      rows = []
    }
  }
  if (rows.length > 0) yield { rows }
}

const ROW_MARK = '"row":'

function* inputRows({ input, fields }: ApplyTask | PairTask): Generator<InputRow> {
  const read = rowReader(fields)
  const lines = new LineReader(input)
  try {
    for (let place = 0; lines.inRange; place++) {
      assert(place < TASK_ROWS, 'a task has no more rows than there are marks')
      const line = lines.next()!
      const parsed = JSON.parse(line) as {
        _partition: number
        _offset: number
        _index?: number
        row: Record<string, unknown>
      }
      yield {
        place,
        partition: parsed._partition,
        offset: parsed._offset,
        index: parsed._index,
        row: read ? read(parsed.row) : parsed.row,
        // Only numbers stand before it.
        json: line.slice(line.indexOf(ROW_MARK) + ROW_MARK.length, -1),
      }
    }
  } finally {
    lines.close()
  }
}

function callGroup<T>(calls: RowCalls<T>, { rows, lost }: Group): Outcome<T>[] | Promise<Outcome<T>[]> {
  if (lost) return [{ input: rows[0]!, rule: lost.rule, reason: lost.reason }]
  const { caller, call, batch, mark } = calls
  const given = batch === undefined ? rows[0]!.row : rows.map(({ row }) => row)
  for (const { place } of rows) mark(place, 1)
  const ended = <R>(result: R): R => {
    for (const { place } of rows) mark(place, 0)
    return result
  }
  try {
    const results = caller.call((context) => call(given, context))
    if (!isPromise(results)) return ended(taken(calls, rows, results))
    return results.then(
      (settled) => ended(taken(calls, rows, settled)),
      (error: unknown) => failed(calls, rows, ended(error)),
    )
  } catch (error) {
    return failed(calls, rows, ended(error))
  }
}

/** A batch that failed is tried row by row: one bad row takes no other with it. */
function failed<T>(
  calls: RowCalls<T>,
  rows: readonly InputRow[],
  error: unknown,
): Outcome<T>[] | Promise<Outcome<T>[]> {
  if (!(error instanceof CallFailed)) throw error
  if (rows.length === 1) return [{ input: rows[0]!, rule: error.rule, reason: error.message }]
  return (async () => {
    const outcomes: Outcome<T>[] = []
    for (const row of rows) outcomes.push(...(await callGroup(calls, { rows: [row] })))
    return outcomes
  })()
}

function taken<T>({ batch, take }: RowCalls<T>, rows: readonly InputRow[], results: unknown): Outcome<T>[] {
  if (batch === undefined) return [takeOne(take, rows[0]!, results)]
  if (Array.isArray(results) && results.length === rows.length)
    return rows.map((input, i) => takeOne(take, input, results[i]))
  const found = Array.isArray(results) ? `${results.length} results` : shown(results)
  const reason = `the function returned ${found} for ${rows.length} rows`
  return rows.map((input) => ({ input, rule: 'result', reason }))
}

function takeOne<T>(take: RowCalls<T>['take'], input: InputRow, result: unknown): Outcome<T> {
  try {
    return { input, result: take(result, input) }
  } catch (error) {
    // What is not a misfit was thrown by a generator or a getter of the function.
    return error instanceof Misfit
      ? { input, rule: error.rule, reason: error.message }
      : { input, rule: 'function', reason: reasonOf(error) }
  }
}

function refusedLine(
  { nowMs, code }: ApplyTask | PairTask,
  { input, rule, reason }: { readonly input: InputRow; readonly rule: string; readonly reason: string },
): string {
  const { index, json, partition, offset } = input
  return quarantineLine({
    rule,
    reason,
    failures: [[rule, reason.split('\n')[0]!]],
    // With it the row is found again among those of its record.
    raw: index === undefined ? json : `{"_index":${index},${json.slice(1)}`,
    source: null,
    file: null,
    line: null,
    receivedAtMs: nowMs,
    code,
    partition,
    offset,
  })
}
