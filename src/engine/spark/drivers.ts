import type * as grpc from '@grpc/grpc-js'
import type * as arrow from 'apache-arrow'
import type protobuf from 'protobufjs'
import { MillraceError } from '../../base/errors.ts'

/** What the client needs beside itself. It is imported when a client is opened: most projects have no Spark. */
export interface Drivers {
  readonly grpc: typeof grpc
  readonly protobuf: typeof protobuf
  readonly arrow: typeof arrow
}

let drivers: Promise<Drivers> | undefined

/** Throws `invalid` / `driver-missing` with what to install. */
export function loadDrivers(): Promise<Drivers> {
  return (drivers ??= load())
}

async function load(): Promise<Drivers> {
  try {
    const [grpc, protobuf, arrow] = await Promise.all([
      import('@grpc/grpc-js'),
      import('protobufjs'),
      import('apache-arrow'),
    ])
    return { grpc, protobuf: protobuf.default, arrow }
  } catch (cause) {
    throw new MillraceError('invalid', 'driver-missing', 'The drivers for Spark are not installed.', {
      hint: 'Run npm install @grpc/grpc-js protobufjs apache-arrow.',
      cause,
    })
  }
}
