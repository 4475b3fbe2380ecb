import type { SparkDataType } from './types.ts'

/** The kinds of `spark.connect.DataType`, in the order of their numbers, from 1. */
const TYPE_NAMES = `null binary boolean byte short integer long float double decimal string char varChar date timestamp
  timestampNtz calendarInterval yearMonthInterval dayTimeInterval array struct map udt unparsed variant geometry geography time`
const TYPES = TYPE_NAMES.split(/\s+/)

/**
 * The part of Spark Connect's protocol that Millrace speaks (`spark/connect/{base,relations,commands,types}.proto` of Spark
 * 4.0 and later, and `google/rpc/{status,error_details}.proto`), as a protobufjs descriptor: names are ours, numbers and types
 * are the protocol's. What is not named here is skipped by the decoder.
 */
export const DESCRIPTOR = {
  nested: {
    UserContext: { fields: { userId: string(1), userName: string(2) } },
    Plan: {
      oneofs: { op: { oneof: ['root', 'command'] } },
      fields: { root: of('Relation', 1), command: of('Command', 2) },
    },
    Relation: { fields: { sql: of('Sql', 10) } },
    Sql: { fields: { query: string(1) } },
    Command: { fields: { sqlCommand: of('SqlCommand', 5) } },
    SqlCommand: { fields: { input: of('Relation', 6) } },
    KeyValue: { fields: { key: string(1), value: string(2) } },

    ExecutePlanRequest: {
      fields: {
        ...request(8),
        operationId: string(6),
        plan: of('Plan', 3),
        clientType: string(4),
        requestOptions: { rule: 'repeated', ...of('RequestOption', 5) },
      },
    },
    RequestOption: { fields: { reattach: of('ReattachOptions', 1) } },
    ReattachOptions: { fields: { reattachable: bool(1) } },
    ReattachExecuteRequest: {
      fields: { ...request(6), operationId: string(3), clientType: string(4), lastResponseId: string(5) },
    },
    ReleaseExecuteRequest: {
      fields: {
        ...request(7),
        operationId: string(3),
        clientType: string(4),
        releaseAll: of('Empty', 5),
      },
    },
    ExecutePlanResponse: {
      fields: {
        serverSideSessionId: string(15),
        responseId: string(13),
        arrowBatch: of('ArrowBatch', 2),
        resultComplete: of('Empty', 14),
      },
    },
    ArrowBatch: { fields: { rowCount: { type: 'int64', id: 1 }, data: { type: 'bytes', id: 2 } } },

    AnalyzePlanRequest: {
      fields: {
        ...request(17),
        clientType: string(3),
        schema: of('PlanOf', 4),
        explain: of('Explain', 5),
        sparkVersion: of('Empty', 10),
      },
    },
    PlanOf: { fields: { plan: of('Plan', 1) } },
    Explain: { fields: { plan: of('Plan', 1), mode: { type: 'int32', id: 2 } } },
    AnalyzePlanResponse: {
      fields: {
        serverSideSessionId: string(15),
        schema: of('SchemaOf', 2),
        explain: of('Text', 3),
        sparkVersion: of('Text', 8),
      },
    },
    SchemaOf: { fields: { schema: of('DataType', 1) } },
    Text: { fields: { text: string(1) } },

    ConfigRequest: { fields: { ...request(8), operation: of('ConfigOperation', 3), clientType: string(4) } },
    ConfigOperation: { fields: { set: of('ConfigSet', 1) } },
    ConfigSet: { fields: { pairs: { rule: 'repeated', ...of('KeyValue', 1) } } },
    ConfigResponse: { fields: { serverSideSessionId: string(4) } },

    InterruptRequest: {
      fields: { ...request(7), clientType: string(3), interruptType: { type: 'int32', id: 4 }, operationId: string(6) },
    },
    ReleaseSessionRequest: {
      fields: { sessionId: string(1), userContext: of('UserContext', 2), clientType: string(3) },
    },
    Empty: { fields: {} },

    FetchErrorDetailsRequest: { fields: { ...request(5), errorId: string(3), clientType: string(4) } },
    FetchErrorDetailsResponse: {
      fields: { rootErrorIdx: { type: 'int32', id: 1 }, errors: { rule: 'repeated', ...of('ErrorDetail', 2) } },
    },
    ErrorDetail: {
      fields: {
        errorTypeHierarchy: { rule: 'repeated', ...string(1) },
        message: string(2),
        causeIdx: { type: 'int32', id: 4 },
        sparkThrowable: of('SparkThrowable', 5),
      },
    },
    SparkThrowable: {
      fields: {
        errorClass: string(1),
        messageParameters: { keyType: 'string', ...string(2) },
        queryContexts: { rule: 'repeated', ...of('QueryContext', 3) },
        sqlState: string(4),
      },
    },
    QueryContext: {
      fields: { startIndex: { type: 'int32', id: 3 }, stopIndex: { type: 'int32', id: 4 }, fragment: string(5) },
    },
    RpcStatus: {
      fields: { code: { type: 'int32', id: 1 }, message: string(2), details: { rule: 'repeated', ...of('Any', 3) } },
    },
    Any: { fields: { typeUrl: string(1), value: { type: 'bytes', id: 2 } } },
    ErrorInfo: { fields: { reason: string(1), domain: string(2), metadata: { keyType: 'string', ...string(3) } } },

    DataType: {
      oneofs: { kind: { oneof: TYPES } },
      fields: Object.fromEntries(TYPES.map((name, i) => [name, of(partsOf(name), i + 1)])),
    },
    DecimalType: { fields: { scale: { type: 'int32', id: 1 }, precision: { type: 'int32', id: 2 } } },
    ArrayType: { fields: { elementType: of('DataType', 1), containsNull: bool(2) } },
    StructType: { fields: { fields: { rule: 'repeated', ...of('StructField', 1) } } },
    StructField: { fields: { name: string(1), dataType: of('DataType', 2), nullable: bool(3) } },
  },
}

/** The message with the parts of a type, of those that have parts and a place in a table. */
function partsOf(name: string): string {
  return { decimal: 'DecimalType', array: 'ArrayType', struct: 'StructType' }[name] ?? 'Empty'
}

function string(id: number) {
  return { type: 'string', id }
}

function bool(id: number) {
  return { type: 'bool', id }
}

function of(type: string, id: number) {
  return { type, id }
}

/** What every request of a session has. */
function request(observedId: number) {
  return {
    sessionId: string(1),
    userContext: of('UserContext', 2),
    clientObservedServerSideSessionId: string(observedId),
  }
}

/** A plan of one statement: `root` asks for the rows of a query, `command` runs a statement for what it does. */
export type Plan =
  | { readonly root: { readonly sql: { readonly query: string } } }
  | { readonly command: { readonly sqlCommand: { readonly input: { readonly sql: { readonly query: string } } } } }

export interface ExecutePlanResponse {
  readonly serverSideSessionId?: string
  readonly responseId?: string
  readonly arrowBatch?: { readonly rowCount?: number; readonly data: Uint8Array }
  readonly resultComplete?: object
}

export interface AnalyzePlanResponse {
  readonly serverSideSessionId?: string
  readonly schema?: { readonly schema: SparkDataType }
  readonly explain?: { readonly text?: string }
  readonly sparkVersion?: { readonly text?: string }
}

export interface ErrorDetail {
  readonly errorTypeHierarchy?: readonly string[]
  readonly message?: string
  /** Place of its cause among the errors. */
  readonly causeIdx?: number
  readonly sparkThrowable?: {
    readonly errorClass?: string
    readonly messageParameters?: Readonly<Record<string, string>>
    readonly queryContexts?: readonly {
      readonly startIndex?: number
      readonly stopIndex?: number
      readonly fragment?: string
    }[]
    readonly sqlState?: string
  }
}

/** Methods of `spark.connect.SparkConnectService`, and what they answer. */
export interface Answers {
  readonly Config: { readonly serverSideSessionId?: string }
  readonly AnalyzePlan: AnalyzePlanResponse
  readonly Interrupt: object
  readonly ReleaseExecute: object
  readonly ReleaseSession: object
  readonly FetchErrorDetails: { readonly rootErrorIdx?: number; readonly errors?: readonly ErrorDetail[] }
  readonly ExecutePlan: ExecutePlanResponse
  readonly ReattachExecute: ExecutePlanResponse
}

/** The messages of each method. Where the answer tells nothing that is needed, it is read as empty. */
export const MESSAGES: Readonly<Record<keyof Answers, readonly [request: string, answer: string]>> = {
  Config: ['ConfigRequest', 'ConfigResponse'],
  AnalyzePlan: ['AnalyzePlanRequest', 'AnalyzePlanResponse'],
  Interrupt: ['InterruptRequest', 'Empty'],
  ReleaseExecute: ['ReleaseExecuteRequest', 'Empty'],
  ReleaseSession: ['ReleaseSessionRequest', 'Empty'],
  FetchErrorDetails: ['FetchErrorDetailsRequest', 'FetchErrorDetailsResponse'],
  ExecutePlan: ['ExecutePlanRequest', 'ExecutePlanResponse'],
  ReattachExecute: ['ReattachExecuteRequest', 'ExecutePlanResponse'],
}
