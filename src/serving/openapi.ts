import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import type { Platform } from './platform.ts'

/** Collects the routes registered after it. */
export async function registerOpenApi(app: FastifyInstance, platform: Platform): Promise<void> {
  await app.register(swagger, {
    openapi: { openapi: '3.1.0', info: { title: platform.project, version: '1' } },
  })
}

export function openApiRoute(app: FastifyInstance, _platform: Platform): void {
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
}
