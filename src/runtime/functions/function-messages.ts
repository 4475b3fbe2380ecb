import type { SerializedError } from '../../base/errors.ts'
import type { Field } from '../../project/columns.ts'
import type { Project } from '../../project/project.ts'

/** What a thread needs to find functions: given when it starts. */
export interface FunctionThreadOptions {
  /** URL of a module that is a `ProjectLoader`. */
  readonly loader: string
  /** The project's folder. */
  readonly directory: string
  /** Counts what happens in the thread: `PROGRESS`. */
  readonly progress: SharedArrayBuffer
}

/** The module that loads a project into a thread. The composition root names it: it knows how project files are loaded. */
export interface ProjectLoader {
  loadProject(directory: string): Promise<Project>
}

/** Rows of one task at most: a line of input is no shorter than `TASK_BYTES / TASK_ROWS`. */
export const TASK_ROWS = 65_536
/** Bytes of input given to a thread at once: what is done again when one ends. */
export const TASK_BYTES = 1024 ** 2

/**
 * Shared memory: a count that grows whenever the thread does anything at all, by which one that hangs is told, and for each
 * row of the task whether its call is under way.
 */
export const PROGRESS = {
  bytes: 4 + TASK_ROWS,
  beats: (shared: SharedArrayBuffer) => new Int32Array(shared, 0, 1),
  running: (shared: SharedArrayBuffer) => new Uint8Array(shared, 4, TASK_ROWS),
} as const

/** A part of a file of lines: begins and ends where lines do. */
export interface LineRange {
  readonly path: string
  readonly from: number
  readonly to: number
}

interface TableTask {
  readonly table: string
  /** The file that declares the table, where it is known, and the digest of its text when the project was started. */
  readonly file: string | undefined
  readonly digest: string
}

interface CallTask extends TableTask {
  /** Lines of `{_partition, _offset, _index?, row}`. */
  readonly input: LineRange
  readonly fields: readonly Field[]
  /** Where results go, and refused rows as lines of quarantine. */
  readonly output: string
  readonly refused: string
  readonly code: string
  readonly nowMs: number
  /** One call at a time, of one row: to find the row that ends the thread. */
  readonly alone: boolean
  /** Rows, by their place in the task, that are refused without a call. */
  readonly lost: readonly LostRow[]
  /** The first call that fails opens the circuit again. */
  readonly trial: boolean
}

export interface LostRow {
  readonly row: number
  readonly rule: string
  readonly reason: string
}

/** Calls `map`, `flatMap` or `filter` of a table. */
export interface ApplyTask extends CallTask {
  readonly kind: 'apply'
}

/** Calls the `map` of a mapReduce; results are pairs. */
export interface PairTask extends CallTask {
  readonly kind: 'pair'
}

/** Calls `reduce` for the keys whose pairs begin in a range of a sorted file. */
export interface ReduceTask extends TableTask {
  readonly kind: 'reduce'
  readonly input: LineRange
  readonly output: string
}

export type FunctionTask = ApplyTask | PairTask | ReduceTask

/** What a task did: rows (or keys) taken and refused. */
export interface TaskReport {
  readonly taken: number
  readonly refused: number
}

export type FunctionRequest = FunctionTask & { readonly id: number }
export type FunctionResponse =
  { readonly id: number; readonly report: TaskReport } | { readonly id: number; readonly error: SerializedError }
