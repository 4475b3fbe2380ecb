import type { Client, Metadata, ServiceError } from '@grpc/grpc-js'
import type { Type } from 'protobufjs'
import type { Clock } from '../../base/clock.ts'
import type { SparkAddress } from './address.ts'
import type { Drivers } from './drivers.ts'
import { type Answers, DESCRIPTOR, MESSAGES } from './protocol.ts'

/** A call that failed, as gRPC and `google.rpc.Status` tell it. */
export class RpcError extends Error {
  override readonly name = 'RpcError'
  /** Status of gRPC. */
  readonly status: RpcStatus
  /** Class, error id and SQLSTATE that a Spark server sends beside its message. */
  readonly info: Readonly<Record<string, string>>

  constructor(status: RpcStatus, message: string, info: Readonly<Record<string, string>>, cause: unknown) {
    super(message, { cause })
    this.status = status
    this.info = info
  }
}

export type RpcStatus = 'cancelled' | 'deadline' | 'denied' | 'exhausted' | 'unavailable' | 'unimplemented' | 'failed'

/** One answer is at most this large. The server sends results in batches of about 4 MiB. */
const ANSWER_BYTES_MAX = 128 * 1024 ** 2

/** The connection to one server: calls by name, messages as plain objects. */
export class Rpc {
  readonly #client: Client
  readonly #clock: Clock
  readonly #metadata: Metadata
  readonly #types = new Map<string, Type>()
  readonly #statuses: ReadonlyMap<number, RpcStatus>
  readonly #root: InstanceType<Drivers['protobuf']['Root']>

  constructor(address: SparkAddress, clock: Clock, { grpc, protobuf }: Drivers) {
    this.#clock = clock
    this.#root = protobuf.Root.fromJSON(DESCRIPTOR)
    const credentials = address.tls ? grpc.credentials.createSsl() : grpc.credentials.createInsecure()
    const host = address.host.includes(':') ? `[${address.host}]` : address.host
    this.#client = new grpc.Client(`${host}:${address.port}`, credentials, {
      'grpc.max_receive_message_length': ANSWER_BYTES_MAX,
      // After a server comes back it should be found soon.
      'grpc.max_reconnect_backoff_ms': 2_000,
      'grpc.enable_retries': 0,
    })
    this.#metadata = new grpc.Metadata()
    if (address.token !== undefined) this.#metadata.set('authorization', `Bearer ${address.token}`)
    const { status } = grpc
    this.#statuses = new Map([
      [status.CANCELLED, 'cancelled'],
      [status.DEADLINE_EXCEEDED, 'deadline'],
      [status.UNAUTHENTICATED, 'denied'],
      [status.PERMISSION_DENIED, 'denied'],
      [status.RESOURCE_EXHAUSTED, 'exhausted'],
      [status.UNAVAILABLE, 'unavailable'],
      [status.UNIMPLEMENTED, 'unimplemented'],
    ])
  }

  /** One answer to one request. Throws RpcError; `deadline` after `timeoutMs`. */
  call<M extends keyof Answers>(method: M, request: object, timeoutMs: number): Promise<Answers[M]> {
    const { encode, decode } = this.#codec(method)
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        pathOf(method),
        encode,
        decode,
        request,
        this.#metadata,
        { deadline: this.#clock.now() + timeoutMs },
        (error, answer) => (error ? reject(this.#error(error)) : resolve(answer as Answers[M])),
      )
    })
  }

  /** Answers as they come. Whoever stops reading cancels the call; that ends nothing on the server. */
  async *stream<M extends 'ExecutePlan' | 'ReattachExecute'>(
    method: M,
    request: object,
    timeoutMs: number,
  ): AsyncGenerator<Answers[M]> {
    const { encode, decode } = this.#codec(method)
    const options = { deadline: this.#clock.now() + timeoutMs }
    const call = this.#client.makeServerStreamRequest(pathOf(method), encode, decode, request, this.#metadata, options)
    try {
      for await (const answer of call) yield answer as Answers[M]
    } catch (error) {
      throw this.#error(error as ServiceError)
    } finally {
      call.cancel()
    }
  }

  close(): void {
    this.#client.close()
  }

  #codec(method: keyof Answers): { encode: (message: object) => Buffer; decode: (bytes: Buffer) => object } {
    const [request, answer] = MESSAGES[method].map((name) => this.#type(name)) as [Type, Type]
    return {
      encode: (message) => Buffer.from(request.encode(request.fromObject(message)).finish()),
      decode: (bytes) => read(answer, bytes),
    }
  }

  #type(name: string): Type {
    let type = this.#types.get(name)
    if (!type) this.#types.set(name, (type = this.#root.lookupType(name)))
    return type
  }

  #error(error: ServiceError): RpcError {
    const status = this.#statuses.get(error.code) ?? 'failed'
    return new RpcError(status, error.details || error.message, this.#infoOf(error), error)
  }

  /** `google.rpc.ErrorInfo` among the details of a status, which travels in a trailer. */
  #infoOf({ metadata }: ServiceError): Record<string, string> {
    const [bytes] = metadata?.get('grpc-status-details-bin') ?? []
    if (!(bytes instanceof Uint8Array)) return {}
    const { details = [] } = read(this.#type('RpcStatus'), bytes) as {
      details?: { typeUrl?: string; value?: Uint8Array }[]
    }
    const detail = details.find(({ typeUrl }) => typeUrl?.endsWith('/google.rpc.ErrorInfo'))
    if (!detail?.value) return {}
    const info = read(this.#type('ErrorInfo'), detail.value) as { reason?: string; metadata?: Record<string, string> }
    return { ...info.metadata, ...(info.reason === undefined ? {} : { reason: info.reason }) }
  }
}

function pathOf(method: string): string {
  return `/spark.connect.SparkConnectService/${method}`
}

function read(type: Type, bytes: Uint8Array): object {
  return type.toObject(type.decode(bytes), { longs: Number, oneofs: true })
}
