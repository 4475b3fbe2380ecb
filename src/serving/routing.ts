import type { FastifyInstance } from 'fastify'
import { MillraceError } from '../base/errors.ts'
import { didYouMean } from '../base/suggest.ts'

/** Answers requests that no route takes: 405 with Allow where the path has other methods, else 404. Call before adding routes. */
export function refuseUnknown(app: FastifyInstance): void {
  const methodsByPattern = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    const methods = methodsByPattern.get(url) ?? new Set<string>()
    for (const each of [method].flat()) methods.add(each)
    methodsByPattern.set(url, methods)
  })
  app.setNotFoundHandler((request) => {
    const path = request.url.replace(/\?.*$/s, '')
    for (const [pattern, methods] of methodsByPattern) {
      if (!matches(pattern, path)) continue
      const allow = [...methods].join(', ')
      throw new MillraceError('invalid', 'method-not-allowed', `${request.method} is not possible on ${path}.`, {
        hint: `Use ${allow}.`,
        context: { allow },
      })
    }
    throw new MillraceError('invalid', 'no-such-page', `There is nothing at ${path}.`, {
      hint: `${didYouMean(path, [...methodsByPattern.keys()])} All of it is described at /openapi.json.`,
    })
  })
}

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/')
  const given = path.split('/')
  return (
    wanted.length === given.length &&
    wanted.every((part, i) => (part.startsWith(':') ? given[i] !== '' : part === given[i]))
  )
}
